"""Any image becomes one of standard size with the draws for its clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.errors import UserError
from selfsup_motion.methods.mosi.view import MoSIView
from selfsup_motion.ops.pseudo_motion import PseudoMotion

MOTION = PseudoMotion(
    speeds=5,
    axes="xy",
    decoupled=True,
    zero=True,
    length=8,
    size=48,
    distance_jitter=(1.0, 1.0),
    subpixel=False,
    mask=1.0,
    mask_size=(0.3, 0.5),
    mask_frame=None,
    motions_per_image=None,
)
OPTIONS = {
    "motion": MOTION,
    "field": 96,
    "short_side": None,
    "aspect": (1.0, 1.0),
    "published_resize": False,
    "flip": "source",
    "color": "clip",
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "hue": 0.25,
    "grey": 0.3,
    "train": True,
}


def view(**changes) -> MoSIView:
    return MoSIView(**{**OPTIONS, **changes})


def clip(height: int = 120, width: int = 160) -> Clip:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    image = np.broadcast_to(ramp, (3, height, width))
    return Clip(frames=image[None].copy(), key="ramp")


def test_a_sample_is_one_image_and_the_draws_of_its_clips():
    sample = view()(clip(), sample_rng(0, 0, 0))
    shapes = {name: tuple(value.shape) for name, value in sample.items()}
    assert shapes == {
        "image": (3, 96, 96),
        "motion": (9,),
        "corners": (9, 8, 2),
        "box": (9, 4),
        "frozen": (9,),
        "color": (9, 1, 4),
    }
    assert sample["image"].dtype == torch.uint8
    again = view()(clip(), sample_rng(0, 0, 0))
    assert all(torch.equal(sample[name], again[name]) for name in sample)


def test_colour_is_per_clip_per_frame_or_none_and_never_in_validation():
    rng = np.random.default_rng(0)
    assert view(color="frame")(clip(), rng)["color"].shape == (9, 8, 4)
    assert "color" not in view(color="none")(clip(), rng)
    assert "color" not in view(train=False)(clip(), rng)
    grey = view(color="frame", grey=1.0)(clip(), rng)["color"]
    assert (grey[..., 2] == 0).all()


def test_the_source_is_mirrored_in_training_and_clips_only_as_published():
    rightwards = []
    for index in range(40):
        sample = view(color="none")(clip(), sample_rng(0, 0, index))
        assert "flip" not in sample
        row = sample["image"][0, 0].int()
        rightwards.append(bool(row[-1] > row[0]))
    assert 8 < sum(rightwards) < 32
    for index in range(10):
        kept = view(train=False)(clip(), sample_rng(0, 0, index))["image"][0, 0].int()
        assert kept[-1] > kept[0]
    published = view(flip="published")
    flips = torch.stack([published(clip(), sample_rng(0, 0, i))["flip"] for i in range(30)])
    assert 0.35 < flips.float().mean() < 0.65
    assert "flip" in view(flip="published", train=False)(clip(), sample_rng(0, 0, 0))
    assert "flip" not in view(flip="none")(clip(), sample_rng(0, 0, 0))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (48, 48), (77, 77), (96, 96), (200, 60), (1, 300)])
def test_images_of_any_size_fill_the_area(size, published):
    sample = view(published_resize=published, train=False)(
        Clip(frames=np.full((1, 3, *size), 200, np.uint8), key="x"), np.random.default_rng(0)
    )
    assert (sample["image"] >= 199).all()


def test_areas_of_other_proportions_stay_in_their_corner():
    made = view(aspect=(1.3, 1.3))
    sample = made(clip(), np.random.default_rng(0))
    assert sample["image"][:, 73:].max() == 0  # int(96 / 1.3) = 73 rows
    assert (sample["corners"][..., 1] <= 73 - 48).all()
    assert sample["corners"][..., 0].max() == 96 - 48


def test_short_sides_are_drawn_from_their_range():
    scales = set()
    for index in range(20):
        image = view(short_side=(96, 192), flip="none", color="none")(
            clip(), sample_rng(0, 0, index)
        )["image"][0, 0].int()
        scales.add(int(image[-1] - image[0]))  # how much of the ramp is in the area
    assert max(scales) > 1.5 * min(scales)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": 48}, "motion.size=48 pixels cannot move"),
        ({"aspect": (0.5, 2.0)}, "cannot move in an area of 48"),
        ({"aspect": (2.0, 1.0)}, "view.aspect"),
        ({"short_side": (80, 96)}, "view.short_side"),
        ({"flip": "always"}, "view.flip=always"),
        ({"color": "often"}, "view.color=often"),
        ({"grey": 2.0}, "view.grey"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(changes, message):
    with pytest.raises(UserError, match=message):
        view(**changes)


def write(folder, name, array, **options):
    Image.fromarray(array).save(folder / name, **options)


def test_grey_transparent_deep_and_turned_photos_become_samples(tmp_path):
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (60, 80), dtype=np.uint8)
    write(tmp_path, "a_grey.png", levels)
    write(tmp_path, "b_alpha.png", rng.integers(0, 256, (60, 80, 4), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "c_deep.png"), levels.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    colours = np.zeros((60, 80, 3), np.uint8)
    colours[:, :40, 0] = 255
    write(tmp_path, "d_turned.jpg", colours, exif=exif)
    source = ImageFolder(tmp_path)
    made = view(train=False)
    samples = [made(source.read(i, [0]), np.random.default_rng(0)) for i in range(len(source))]
    assert len(samples) == 4
    assert all(sample["image"].shape == (3, 96, 96) for sample in samples)
    assert torch.equal(samples[0]["image"], samples[2]["image"])
    turned = samples[3]["image"][0].float()
    assert turned[:40].mean() > 200 > 50 > turned[56:].mean()  # red is above after turning
