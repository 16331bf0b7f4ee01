"""Clips made of images: where the windows are, what stays still, which label a mirror asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfsup_motion.ops.activation_map import located, motion_map
from selfsup_motion.ops.motion_classes import MotionClasses
from selfsup_motion.ops.motion_pictures import captioned, confusion_picture, overlay_heat
from selfsup_motion.ops.pseudo_motion import PseudoMotion, pseudo_motion
from selfsup_motion.ops.sliding_windows import window_path, windows
from selfsup_motion.ops.standard_size import crop_size, published_resize

SMALL = {
    "speeds": 5,
    "axes": "xy",
    "decoupled": True,
    "zero": True,
    "length": 6,
    "size": 16,
    "distance_jitter": (1.0, 1.0),
    "subpixel": False,
    "mask": 1.0,
    "mask_size": (0.3, 0.5),
    "mask_frame": None,
    "motions_per_image": None,
}


def recipe(**changes) -> PseudoMotion:
    return PseudoMotion(**{**SMALL, **changes})


def images(count: int = 2, side: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def drawn(motion: PseudoMotion, count: int = 2, side: int = 40, *, seed: int = 0, train=True):
    """Draws of `count` images, stacked."""
    room = side - motion.size, side - motion.size
    each = [motion.draw(np.random.default_rng([seed, i]), room, train=train) for i in range(count)]
    return {k: torch.from_numpy(np.stack([d[k] for d in each])) for k in each[0]}


def rendered(motion: PseudoMotion, source: Tensor, draws: dict[str, Tensor], **more) -> Tensor:
    return motion.render(source, draws["corners"], draws["box"], draws["frozen"], **more)


def by_hand(motion: PseudoMotion, image: np.ndarray, draws: dict[str, Tensor], b: int, c: int):
    """(T, size, size, 3) floats: one clip, frame by frame."""
    size = motion.size
    frames = []
    for x, y in draws["corners"][b, c].tolist():
        frames.append(image[y : y + size, x : x + size].astype(np.float32) / 255)
    left, top, width, height = draws["box"][b, c].tolist()
    still = frames[int(draws["frozen"][b, c])]
    out = [still.copy() for _ in frames]
    inside = slice(top, top + height), slice(left, left + width)
    for made, frame in zip(out, frames, strict=True):
        made[inside] = frame[inside]
    return np.stack(out)


@given(
    seed=st.integers(0, 999),
    mask=st.sampled_from([0.0, 0.5, 1.0]),
    decoupled=st.booleans(),
    speeds=st.sampled_from([3, 5]),
)
@settings(max_examples=25, deadline=None)
def test_clips_are_windows_with_a_frozen_surround(seed, mask, decoupled, speeds):
    motion = recipe(mask=mask, decoupled=decoupled, speeds=speeds)
    source = images()
    draws = drawn(motion, seed=seed)
    clips = rendered(motion, source, draws)
    for b, image in enumerate(source.permute(0, 2, 3, 1).numpy()):
        for c in range(len(motion.classes)):
            expected = by_hand(motion, image, draws, b, c).transpose(3, 0, 1, 2)
            np.testing.assert_allclose(clips[b, c].numpy(), expected, atol=1e-6)


def test_normalisation_is_that_of_the_finished_clip():
    motion, source = recipe(), images()
    draws = drawn(motion)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    plain = rendered(motion, source, draws)
    shape = (3, 1, 1, 1)
    torch.testing.assert_close(
        rendered(motion, source, draws, mean=mean, std=std),
        (plain - mean.view(shape)) / std.view(shape),
    )


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_memory_of_an_earlier_call_is_written_to(mask):
    motion, source = recipe(mask=mask), images()
    first = rendered(motion, source, drawn(motion))
    expected = rendered(motion, source, drawn(motion, seed=1))
    again = rendered(motion, source, drawn(motion, seed=1), out=first)
    assert again.data_ptr() == first.data_ptr()
    assert torch.equal(again, expected)
    assert first.flatten(0, 1).is_contiguous(memory_format=torch.channels_last_3d)
    with pytest.raises(ValueError, match="not the result"):
        rendered(motion, source, drawn(motion), out=first.contiguous())


def test_only_the_rectangle_moves_and_in_the_frozen_frame_nothing_is_seen_of_it():
    motion, source = recipe(), images()
    draws = drawn(motion)
    clips = rendered(motion, source, draws)
    plain = rendered(recipe(mask=0.0), source, draws | {"box": full_box(draws)})
    for b in range(2):
        for c in range(9):
            changes = (clips[b, c] - clips[b, c][:, :1]).abs().amax((0, 1)) > 0
            x, y, width, height = draws["box"][b, c].tolist()
            changes[y : y + height, x : x + width] = False
            assert not changes.any()
            frozen = int(draws["frozen"][b, c])
            assert torch.equal(clips[b, c][:, frozen], plain[b, c][:, frozen])


def full_box(draws: dict[str, Tensor]) -> Tensor:
    box = torch.zeros_like(draws["box"])
    box[..., 2:] = SMALL["size"]
    return box


def test_mask_options_are_followed():
    draws = drawn(recipe(mask_size=(0.25, 0.25), mask_frame=3), count=20)
    assert set(draws["box"][..., 2:].flatten().tolist()) == {4}
    assert set(draws["frozen"].flatten().tolist()) == {3}
    assert (draws["box"][..., :2] >= 0).all()
    assert (draws["box"][..., :2].max()) == 12
    share = (drawn(recipe(mask=0.3), count=100)["box"][..., 2] < 16).float().mean()
    assert 0.25 < share < 0.35


def test_a_mirrored_source_shows_the_mirrored_motion():
    """Why `flip=source` keeps labels right, and what the published flip does to them."""
    motion = recipe(mask=0.0)
    source = images(1)
    draws = drawn(motion, 1, train=False)
    mirrored = rendered(motion, source.flip(-1), draws)
    partner = motion.classes.mirrored()
    clips = rendered(motion, source, draws)
    for c in (0, 3, 4, 7, 8):  # the fastest, whose way back is the same
        place = draws["corners"][0, c, :, 0] + draws["corners"][0, partner[c], :, 0]
        if (place == 24).all():
            assert torch.equal(mirrored[0, c].flip(-1), clips[0, partner[c]])
    assert partner.tolist() == [3, 2, 1, 0, 4, 5, 6, 7, 8]
    flipped = rendered(motion, source, draws, flip=torch.ones(1, 9, dtype=torch.bool))
    assert torch.equal(flipped, clips.flip(-1))


def test_flipped_clips_have_their_rectangle_where_it_was_drawn():
    motion, source = recipe(), images()
    draws = drawn(motion)
    flip = torch.arange(18).view(2, 9) % 2 == 0
    clips = rendered(motion, source, draws, flip=flip)
    plain = rendered(recipe(mask=0.0), source, draws | {"box": full_box(draws)}, flip=flip)
    for b in range(2):
        for c in range(9):
            x, y, width, height = draws["box"][b, c].tolist()
            inside = (..., slice(y, y + height), slice(x, x + width))
            assert torch.equal(clips[b, c][inside], plain[b, c][inside])


def test_one_change_of_colour_per_clip_is_the_same_in_all_its_frames():
    motion = recipe(mask=0.0)
    flat = torch.full((1, 3, 40, 40), 90, dtype=torch.uint8)
    flat[:, 0] = 140
    draws = drawn(motion, 1)
    color = torch.tensor([1.2, 0.7, 1.3, 0.1]).expand(1, 9, 1, 4)
    clips = rendered(motion, flat, draws, color=color)
    assert (clips - clips[:, :, :, :1, :1, :1]).abs().max() < 1e-6
    each = color.repeat(1, 1, 6, 1)
    each[..., 0] = torch.linspace(0.5, 1.5, 6)
    clips = rendered(motion, flat, draws, color=each)
    levels = clips[0, 0, 1].mean((1, 2))
    assert (levels.diff() > 0.01).all()


def test_colour_shows_no_seam_in_the_frozen_frame():
    motion, source = recipe(), images()
    draws = drawn(motion)
    color = torch.tensor([1.1, 0.6, 0.8, 0.05]).expand(2, 9, 1, 4)
    clips = rendered(motion, source, draws, color=color)
    plain = rendered(recipe(mask=0.0), source, draws | {"box": full_box(draws)}, color=color)
    for b in range(2):
        for c in range(9):
            frozen = int(draws["frozen"][b, c])
            torch.testing.assert_close(
                clips[b, c][:, frozen], plain[b, c][:, frozen], atol=1e-5, rtol=0
            )


@given(seed=st.integers(0, 999), train=st.booleans(), jitter=st.sampled_from([(1, 1), (0.6, 1.4)]))
@settings(max_examples=40, deadline=None)
def test_windows_stay_inside_and_move_as_their_class_says(seed, train, jitter):
    for subpixel in (False, True):
        motion = recipe(distance_jitter=jitter, subpixel=subpixel)
        corners = drawn(motion, seed=seed, train=train)["corners"]
        assert corners.min() >= 0
        assert corners.max() <= 24
        way = (corners[:, :, -1] - corners[:, :, 0]).sign().int()
        expected = torch.tensor(motion.classes.table).sign().int().expand_as(way)
        assert torch.equal(way, expected)


def test_subpixel_windows_are_interpolated():
    ramp = torch.arange(40).float().mul(4).byte().expand(1, 3, 40, 40)
    cut = windows(ramp, torch.tensor([[3.25, 7.0]]), 16)
    torch.testing.assert_close(cut[0, 0, 5], 4 * (3.25 + torch.arange(16.0)))
    edge = windows(ramp, torch.tensor([[24.0, 24.0]]), 16)
    torch.testing.assert_close(edge[0, 0, 0], 4 * (24 + torch.arange(16.0)))
    motion = recipe(subpixel=True, mask=0.0)
    clips = rendered(motion, ramp, drawn(motion, 1, train=False))
    torch.testing.assert_close(clips[0, 0, 0, :, 0, 0].diff(), torch.full((5,), -4 * 24 / 5 / 255))


def test_sampled_motions_are_different_and_all_take_part():
    motion = recipe(motions_per_image=4)
    draws = drawn(motion, 200)
    assert draws["motion"].shape == (200, 4)
    assert all(len(set(row)) == 4 for row in draws["motion"].tolist())
    counts = draws["motion"].flatten().bincount(minlength=9)
    assert counts.min() > 60
    assert drawn(motion, 1, train=False)["motion"].tolist() == [list(range(9))]
    way = draws["corners"][:, :, -1] - draws["corners"][:, :, 0]
    speeds = torch.tensor(motion.classes.table)[draws["motion"]]
    assert torch.equal(way.sign(), speeds.sign())


def test_plain_pseudo_motion_slides_a_centred_window():
    source = images(2)
    clips = pseudo_motion(source, torch.tensor([[1.0, 0.0], [0.0, -0.5]]), length=5, size=16)
    assert clips.shape == (2, 5, 3, 16, 16)
    assert torch.equal(clips[0, 0], source[0, :, 12:28, :16])
    assert torch.equal(clips[0, -1], source[0, :, 12:28, 24:])
    assert torch.equal(clips[1, 0], source[1, :, 18:34, 12:28])
    started = pseudo_motion(
        source[:1], torch.zeros(1, 2), length=2, size=16, start=torch.tensor([[3.0, 5.0]])
    )
    assert torch.equal(started[0, 1], source[0, :, 5:21, 3:19])
    with pytest.raises(ValueError, match=r"speed must be in \[-1, 1\], got 0 to 2"):
        pseudo_motion(source[:1], torch.tensor([[2.0, 0.0]]), length=5, size=16)


def test_opposite_directions_are_cut_off_alike_but_not_mirrored():
    forth = window_path(np.array([0.0]), np.array([208.0]), 16, 208)[:, 0]
    back = window_path(np.array([208.0]), np.array([0.0]), 16, 208)[:, 0]
    assert forth[:3].tolist() == [0, 13, 27]
    assert back[:3].tolist() == [208, 194, 180]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speeds": 4}, r"speeds=4: expected an odd number .* \(use 5\)"),
        ({"speeds": 1}, "speeds=1"),
        ({"axes": "z"}, "axes=z: choose"),
        ({"axes": "x", "decoupled": False}, "set motion.axes=xy"),
        ({"zero": False, "decoupled": False}, "set motion.zero=true"),
        ({"distance_jitter": (0.0, 1.0)}, "distance_jitter"),
        ({"distance_jitter": (0.6, 2.5)}, "at most 2"),
        ({"mask": 1.5}, "mask=1.5"),
        ({"mask_size": (0.5, 0.3)}, "mask_size"),
        ({"mask_size": (0.01, 0.3)}, "at least a pixel"),
        ({"mask_frame": 6}, "frames 0 to 5"),
        ({"length": 1}, "length=1"),
        ({"motions_per_image": 10}, "9 motions"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        windows(images(1, 12), torch.zeros(1, 2).long(), 16)
    with pytest.raises(ValueError, match="cannot move"):
        recipe().draw(np.random.default_rng(0), (0, 24), train=True)


def test_names_tell_axis_and_speed():
    classes = MotionClasses(speeds=3, axes="xy", decoupled=False, zero=True)
    assert classes.names[0] == "x-1 y-1"
    assert classes.names[4] == "still"
    assert classes.names[7] == "x+1"


def test_standard_size_keeps_the_published_rounding():
    image = torch.zeros(3, 33, 71, dtype=torch.uint8)
    assert published_resize(image, 40).shape == (3, 40, int(40 / 33 * 71))
    assert published_resize(image.transpose(1, 2), 40).shape == (3, int(40 / 33 * 71), 40)
    assert published_resize(image[:, :5, :5], 40).shape == (3, 40, 40)
    assert crop_size(320, 1.25) == (256, 320)
    assert crop_size(320, 0.5) == (320, 160)


def test_activation_map_is_grad_cam_behind_an_average_and_a_linear_layer():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 4, 4, requires_grad=True)
    layer = torch.nn.Linear(5, 7)
    chosen = torch.tensor([3, 6])
    layer(features.mean((2, 3, 4))).gather(1, chosen[:, None]).sum().backward()
    weights = features.grad.mean((2, 3, 4))
    cam = (weights[:, :, None, None, None] * features).sum(1).relu()
    ours = motion_map(features, layer.weight[chosen])
    scale = 3 * 4 * 4  # Grad-CAM's mean gradient is the layer's row over the number of places
    torch.testing.assert_close(ours / scale, cam / 1.0, atol=1e-6, rtol=1e-4)


def test_energy_and_peak_are_found_in_the_rectangle():
    maps = torch.zeros(3, 4, 4)
    maps[0, 1, 2] = 1.0
    maps[1, 3, 0] = 1.0
    box = torch.tensor([[16, 4, 16, 12]] * 3)
    found = located(maps, box, 32)
    assert found["hits"].tolist() == [1.0, 0.0, 0.0]
    assert found["energy"][0] > 0.7
    assert found["energy"][1:].tolist() == [0.0, 0.0]
    assert found["area"].tolist() == [16 * 12 / 32**2] * 3


def test_pictures_have_the_expected_sizes_and_colours():
    picture = confusion_picture(np.array([[3, 1], [0, 4]]), ["x+1", "still"])
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8
    with pytest.raises(ValueError, match="2x2"):
        confusion_picture(np.zeros((3, 3), np.int64), ["a", "b"])
    grey = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:, 4:] = 1
    shown = overlay_heat(grey, heat)
    assert shown[0, 0].tolist() == [35, 35, 35]
    assert shown[0, 7, 0] > 160
    assert captioned(grey, ["a long line of text"]).shape[0] == 8 + 22
