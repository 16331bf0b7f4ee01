"""CycleTime's geometry, what its view chooses, and that it learns."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cycletime import CycleTime, CycleTimeView
from selfsup_motion.methods.cycletime.geometry import (
    affinity,
    crop,
    cut_patch,
    grid_distance,
    soft_inliers,
    surprise,
    transformation,
)
from selfsup_motion.methods.cycletime.tracker import Localiser, Tracker
from selfsup_motion.methods.cycletime.view import motion_energy
from selfsup_motion.models.undilated_resnet import UndilatedResNet

VIEW = {"size": 84, "short_side": None, "frames": 2, "target": 2}
THETA = torch.tensor([[0.4, -0.3, 0.3], [-0.2, 0.5, -0.6]])


def method(**options) -> CycleTime:
    torch.manual_seed(0)
    encoder = UndilatedResNet(10, 8, 4, layer4=False, out_channels=16)
    defaults = {"encoder": encoder, "size": 84, "temperature": 0.1, "radius": 3}
    return CycleTime(optimizer=partial(torch.optim.Adam, lr=1e-3), **{**defaults, **options})


def data(**options) -> ClipDataModule:
    return ClipDataModule(
        **{
            "source": ToyWorld(10_000, size=84),
            "val_source": ToyWorld(2, split="val", size=84),
            "sampler": RandomClips(4, stride=2),
            "val_sampler": UniformClips(5, stride=2),
            "view": CycleTimeView(**VIEW),
            "val_view": CycleTimeView(**VIEW, train=False),
            "batch_size": 2,
            **options,
        }
    )


def trainer(**options) -> pl.Trainer:
    quiet = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "max_epochs": -1,
        "check_val_every_n_epoch": None, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return pl.Trainer(**{**quiet, **options})


def batch(model: CycleTime) -> dict[str, torch.Tensor]:
    datamodule = data()
    datamodule.setup("fit")
    return next(iter(datamodule.train_dataloader()))


def clip(frames: int = 4, size: int = 90) -> Clip:
    """A bar that moves on the right."""
    noise = np.random.default_rng(0).integers(0, 60, (3, size, size))
    images = np.stack([noise] * frames).astype(np.uint8)
    for t in range(frames):
        images[t, :, 5:85, 62 + 4 * t : 72 + 4 * t] = 255
    masks = (images[:, 0] == 255).astype(np.uint8)
    return Clip(frames=images, key="bar", labels={"masks": masks})


def test_a_transformation_is_at_no_distance_from_itself():
    theta = transformation(THETA)
    assert grid_distance(theta, theta).tolist() == [0.0, 0.0]
    moved = theta + torch.tensor([[0, 0, 0.3], [0, 0, 0.4]])
    torch.testing.assert_close(grid_distance(theta, moved), torch.full((2,), 0.25))


def test_the_true_transformation_finds_the_patch_in_linear_features():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 90), torch.linspace(-1, 1, 90), indexing="ij")
    images = torch.stack([x, y, 2 * x - y])[None].expand(2, -1, -1, -1)
    theta = transformation(THETA)
    patch = cut_patch(images, theta, 30, align_corners=True)
    found = crop(images, theta, 30, translation=1.0, align_corners=True)
    torch.testing.assert_close(found, patch, rtol=0, atol=1e-5)


def test_affinities_count_the_cells_of_the_image_column_by_column():
    image = F.normalize(torch.eye(12).view(1, 12, 3, 4), dim=1)  # cell k has feature k, row by row
    patch = image[:, :, 1:2, 2:3]  # row 1, column 2
    affinities = affinity(patch, image, 0.01)
    assert affinities.shape == (1, 12, 1, 1)
    assert int(affinities.argmax()) == 2 * 3 + 1
    torch.testing.assert_close(affinities.sum(1), torch.ones(1, 1, 1))


def test_affinities_surprise_least_where_the_cells_of_the_patch_are():
    """A patch of 4 x 4 cells that lie on cells of the image, with nothing in between."""
    theta = transformation(torch.tensor([[0.0, 1 / 3, 0.0]]))  # rows 6 to 9, columns 4 to 7
    affinities = torch.full((1, 144, 4, 4), 0.2 / 143)
    for y in range(4):
        for x in range(4):
            affinities[0, (4 + x) * 12 + 6 + y, y, x] = 0.8
    close = {"rtol": 0, "atol": 1e-4}
    expected = torch.tensor([0.8]).log().neg()
    torch.testing.assert_close(surprise(theta, affinities, (12, 12)), expected, **close)
    assert float(surprise(theta + 0.1, affinities, (12, 12))) > 0.5
    outside = transformation(torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.isfinite(surprise(outside, affinities, (12, 12))).all()


@pytest.mark.parametrize("align_corners", [False, True])
def test_soft_inliers_equal_warped_indicators_of_every_cell(align_corners):
    torch.manual_seed(0)
    height, width, patch = 6, 5, 4
    affinities = torch.rand(2, width * height, patch, patch).softmax(1)
    theta = transformation(THETA) * 1.3  # partly outside
    options = {"translation": 1.1, "align_corners": align_corners}
    indicators = torch.zeros(width * height, height, width)
    for x in range(width):
        for y in range(height):
            indicators[x * height + y, y, x] = 1
    warped = crop(indicators.expand(2, -1, -1, -1), theta, patch, **options)
    weights = warped / (warped + 1e-5).sum((1, 2, 3), keepdim=True)
    slow = (weights * affinities).sum((1, 2, 3))
    torch.testing.assert_close(soft_inliers(theta, affinities, (height, width), **options), slow)


def test_gradients_of_the_short_cycle_are_those_of_differences():
    """Double precision; long cycles are too ill-conditioned to compare."""
    torch.manual_seed(0)
    localiser = Localiser(100, 7, (6, 4)).double()
    torch.nn.init.normal_(localiser.linear.weight, 0, 0.3)
    localiser.forward = lambda a: transformation(  # without rounding to single precision
        localiser.linear(localiser.convolutions(a).flatten(1))
    )
    tracker = Tracker(localiser, 0.2, 1.08, True)
    inputs = [torch.rand(shape, dtype=torch.float64) for shape in ((1, 3, 7, 7), (1, 1, 3, 10, 10))]
    target = torch.rand((1, 3, 10, 10), dtype=torch.float64)

    def loss(patch, frames):
        cycles = tracker(patch, frames, target)
        return grid_distance(cycles.skip[0], cycles.long[0].new_zeros(1, 2, 3)) - cycles.inliers[0]

    for x in inputs:
        x.requires_grad_()
    assert torch.autograd.gradcheck(loss, tuple(inputs), eps=1e-7, atol=1e-4, fast_mode=True)


def test_cycles_share_their_ways_back_and_are_looked_for_together():
    model = method()
    calls = []
    model.tracker.localiser.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    torch.manual_seed(0)
    patch, clip, target = (
        torch.rand(2, *size) for size in ((4, 7, 7), (3, 4, 21, 21), (4, 21, 21))
    )
    with torch.no_grad():
        torch.nn.init.normal_(model.tracker.localiser.linear.weight)
        cycles = model.tracker(patch, clip, target)
        # 3 back, 1 + 2 + 3 forth; and the skips of 3 frames; all for each of 2 clips
        assert calls == [2, 2, 2, 2, 4, 6, 6, 6]
        track, patch = model.tracker.track, F.normalize(patch, dim=1)
        for back, found in enumerate(cycles.long, start=1):
            here = patch
            for frame in [*range(2, 2 - back, -1), *range(4 - back, 3)]:
                here = track(here, clip[:, frame])
            torch.testing.assert_close(found, model.tracker.locate(here, target)[0])


def test_the_patch_is_looked_for_where_it_was_cut_from_if_asked_for():
    plain, asked = method(), method(still_weight=2.0, localiser_widths=[6, 4])
    assert asked.tracker.localiser.convolutions[2].weight.shape[:2] == (4, 6)
    samples = batch(plain)
    with torch.no_grad():
        assert "still" not in plain.losses(plain.cycles(samples), samples["theta"])
        cycles = asked.cycles(samples)
        losses = asked.losses(cycles, samples["theta"])
    found, affinities = cycles.still
    distance = grid_distance(found, samples["theta"]).mean()
    entropy = surprise(samples["theta"], affinities, (21, 21)).mean()
    torch.testing.assert_close(losses["still"], 0.1 * distance + entropy)
    total = asked._total({**losses, "still": 0 * losses["still"]}) + 2 * losses["still"]
    torch.testing.assert_close(asked._total(losses), total)


def test_gradients_reach_the_first_layer_unless_the_localiser_warms_up():
    for steps, reached in ((0, True), (5, False)):
        model = method(localiser_warmup_steps=steps)
        model.trainer = trainer(max_steps=10)
        samples = batch(model)
        losses = model.losses(model.cycles(samples), samples["theta"])
        model._total(losses).backward()
        assert bool(model.encoder.conv1.weight.grad.abs().max() > 0) == reached
        assert model.tracker.localiser.linear.weight.grad.abs().max() > 0


def test_the_patch_is_where_much_moves():
    energy = motion_energy(clip().frames[2:].transpose(0, 2, 3, 1))
    assert energy.shape == (7, 7)
    assert np.unravel_index(energy.argmax(), (7, 7))[1] == 6
    sample = CycleTimeView(size=90, short_side=None, frames=2, target=2, train=False)(
        clip(), np.random.default_rng(0)
    )
    assert sample["theta"][0, 2] == pytest.approx(2 / 3)
    torch.testing.assert_close(sample["theta"][:, :2], torch.eye(2) / 3)
    assert sample["frames"].shape == (4, 3, 90, 90)
    assert torch.equal(sample["target"], sample["frames"][2])
    assert torch.equal(sample["masks"] > 0, sample["frames"][:, 0] == 255)


@pytest.mark.parametrize("published", [False, True])
def test_in_mirrored_clips_the_patch_moves_along_unless_as_published(published):
    options = {"size": 90, "short_side": None, "frames": 2, "target": 2, "rotation": 0.0}
    view = CycleTimeView(**options, published_flip=published)
    on_bar = {False: [], True: []}
    for seed in range(40):
        sample = view(clip(), np.random.default_rng(seed))
        column = int((sample["target"].float().amin(0) == 255).any(0).nonzero().float().mean())
        mirrored = column < 45
        x = float(sample["theta"][0, 2]) * 45 + 45
        on_bar[mirrored].append(abs(x - column) < 40)
    assert np.mean(on_bar[False]) > 0.9
    assert (np.mean(on_bar[True]) > 0.9) != published


def test_short_clips_and_wrong_sizes_are_refused():
    with pytest.raises(UserError, match=r"at least 9 frames .* but bar has 4: .* data.length=9"):
        CycleTimeView(size=90)(clip(), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"view.size=90: expected a multiple of 12"):
        method(size=90)
    with pytest.raises(UserError, match=r"at least 7 x 7 cells, got 5 x 5"):
        method(size=60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 100}, "view.size=100: expected a multiple of 3"),
        ({"target": 3}, "view.frames=4, view.target=3"),
        ({"rotation": 200.0}, "view.rotation=200.0"),
        ({"short_side": 1}, "view.short_side=1"),
    ],
)
def test_wrong_settings_of_the_view_are_named(options, words):
    with pytest.raises(UserError, match=words):
        CycleTimeView(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "method.temperature=0.0"),
        ({"skip_weight": -1.0}, "method.skip_weight=-1.0"),
        ({"localiser_widths": [32]}, r"method.localiser_widths=\[32\]"),
        ({"localiser_warmup_steps": -1}, "method.localiser_warmup_steps=-1"),
        ({"radius": 0}, "method.radius=0"),
    ],
)
def test_wrong_settings_of_the_method_are_named(options, words):
    with pytest.raises(UserError, match=words):
        method(**options)


def test_a_few_clips_are_learned_and_the_table_names_what_does_not_learn():
    model, datamodule = method(), data()
    loop = trainer(max_steps=1, val_check_interval=1)
    loop.fit(model, datamodule)
    metrics = {name: float(value) for name, value in loop.callback_metrics.items()}
    columns, rows = model.report(metrics)
    assert [row[0] for row in rows] == [
        "nothing moves", "raw Lab colour", "patches of Lab colours",
        "patch guessed in the middle", "CycleTime network",
    ]  # fmt: skip
    assert all(len(row) == len(columns) for row in rows)
    assert rows[-1][2] == f"{metrics['val/j']:.3f}"
    # the middle is found at first: the localiser begins there
    assert metrics["val/off"] == pytest.approx(metrics["val/off_middle"], rel=0.2)

    samples = batch(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    totals = []
    for _ in range(20):
        loss = model._total(model.losses(model.cycles(samples), samples["theta"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.7 * totals[0]
