"""CRW's walks, what is dropped when, and that it learns."""

from __future__ import annotations

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.crw import CRW, CRWView
from selfsup_motion.methods.crw.walk import (
    drop_edges,
    palindromes,
    transitions,
    walk_accuracies,
    walk_losses,
)
from selfsup_motion.models.undilated_resnet import UndilatedResNet

VIEW = {"size": 48, "patch": 24, "step": 12}


def method(**options) -> CRW:
    torch.manual_seed(0)
    defaults = {"encoder": UndilatedResNet(10, 8, 4), "patch": 24, "dim": 16, "radius": 3}
    return CRW(optimizer=partial(torch.optim.Adam, lr=1e-3), **{**defaults, **options})


def data(**options) -> ClipDataModule:
    return ClipDataModule(
        **{
            "source": ToyWorld(10_000, size=48),
            "val_source": ToyWorld(4, split="val", size=48),
            "sampler": RandomClips(4, stride=1),
            "val_sampler": UniformClips(4, stride=1),
            "view": CRWView(**VIEW),
            "val_view": CRWView(**VIEW, train=False),
            "batch_size": 4,
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


def some_nodes(frames: int = 5, count: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(2, 16, frames, count, generator=generator), dim=1)


def batch(model: CRW, **options) -> dict[str, torch.Tensor]:
    datamodule = data(**options)
    datamodule.setup("fit")
    return next(iter(datamodule.val_dataloader()))


def test_in_a_still_clip_every_walk_returns():
    still = some_nodes(frames=1).expand(-1, -1, 6, -1)
    walks = palindromes(*transitions(still, 0.02))
    assert walk_accuracies(walks).tolist() == [1.0] * 4
    assert walk_losses(walks).max() < 1e-3


def test_at_a_high_temperature_a_walk_ends_anywhere():
    losses = walk_losses(palindromes(*transitions(some_nodes(), 1e6)))
    assert losses.tolist() == pytest.approx([math.log(9)] * 3, abs=1e-4)


def test_a_walk_is_a_distribution_and_each_is_two_steps_longer():
    forward, backward = transitions(some_nodes(), 0.1)
    walks = palindromes(forward, backward)
    assert len(walks) == 3
    out = torch.eye(9)
    for k, walk in enumerate(walks, start=1):
        ends = walk.ends()
        torch.testing.assert_close(ends.sum(-1), torch.ones(2, 9))
        torch.testing.assert_close(walk.returned(), ends.diagonal(dim1=-2, dim2=-1))
        out = torch.eye(9)
        for t in range(k + 1):
            out = out @ forward[t]
        for t in range(k, -1, -1):
            out = out @ backward[t]
        torch.testing.assert_close(ends, out)


def test_dropped_edges_are_not_taken_and_a_node_without_edges_goes_anywhere():
    uniform = torch.rand((4, 2, 9, 9), generator=torch.Generator().manual_seed(1))
    uniform[0, 0, 3] = 0.0
    edges = drop_edges(uniform, 0.3, shared=True)
    forward, backward = transitions(some_nodes(frames=3), 0.1, edges)
    assert (
        backward[edges.forward.mT] == 0
    ).float().mean() > 0.9  # but where a whole row is dropped
    kept = ~edges.forward
    kept[0, 0, 3] = True
    assert (forward[~kept] == 0).all()
    torch.testing.assert_close(forward[0, 0, 3], torch.full((9,), 1 / 9))
    apart = drop_edges(uniform, 0.3, shared=False)
    assert apart.backward.sum() < edges.backward.sum()


def test_nothing_is_dropped_at_rate_zero():
    nodes = some_nodes()
    edges = drop_edges(torch.rand(8, 2, 9, 9), 0.0, shared=True)
    for one, other in zip(transitions(nodes, 0.1, edges), transitions(nodes, 0.1), strict=True):
        assert torch.equal(one, other)


def test_edges_are_dropped_in_training_only_unless_asked_for():
    samples = batch(method())
    losses: dict[bool, list[float]] = {}
    for asked in (False, True):
        model = method(edge_dropout=0.5, edge_dropout_in_validation=asked).eval()
        for seed in (0, 1):
            torch.manual_seed(seed)
            with torch.no_grad():
                model.validation_step(samples, 0)
            losses.setdefault(asked, []).append(float(model.val_loss.compute()))
            model.val_loss.reset()
    assert losses[False][0] == losses[False][1]
    assert losses[True][0] != losses[True][1]
    assert min(losses[True]) > losses[False][0]


def test_published_statistics_are_those_of_training_only():
    images = torch.rand(1, 3, 2, 3, 24, 24)
    ours, theirs = (method(statistics=name) for name in ("encoder", "cifar"))
    assert not torch.allclose(ours._normalised(images), theirs._normalised(images))
    assert torch.equal(ours.eval()._normalised(images), theirs.eval()._normalised(images))


def test_cells_of_whole_frames_can_be_the_nodes():
    view = CRWView(**VIEW, nodes="cells", train=False)
    model = method().eval()
    with torch.no_grad():
        nodes = model.nodes(batch(model, val_view=view))
    assert nodes.shape == (4, 16, 4, 144)
    torch.testing.assert_close(nodes.norm(dim=1), torch.ones(4, 4, 144))


def test_the_published_order_of_steps_is_another_walk():
    nodes = some_nodes()
    ours, theirs = method().walk(nodes), method(flip=True).walk(nodes)
    assert not torch.allclose(ours[0].ends(), theirs[0].ends())
    # with the same transitions both ways there is no difference
    ours, theirs = (
        method(flip=flip).walk(nodes[:, :, :1].expand(-1, -1, 4, -1)) for flip in (0, 1)
    )
    torch.testing.assert_close(ours[1].ends(), theirs[1].ends())


def test_two_frames_are_refused():
    with pytest.raises(UserError, match=r"walks through at least 3 frames, got 2: set data.length"):
        method().walk(some_nodes(frames=2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edge_dropout": 1.0}, "method.edge_dropout=1.0"),
        ({"temperature": 0.0}, "method.temperature=0.0"),
        ({"radius": 0}, "method.radius=0"),
        ({"statistics": "imagenet"}, "method.statistics=imagenet"),
        ({"dim": 0}, "method.dim=0"),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(UserError, match=words):
        method(**options)


def test_training_brings_walks_home_and_the_table_names_what_does_not_learn():
    model, datamodule = method(head_depth=1), data()
    before = trainer(inference_mode=False).validate(model, datamodule, verbose=False)[0]
    loop = trainer(max_steps=25, val_check_interval=25, log_every_n_steps=25)
    loop.fit(model, datamodule)
    after = {name: float(value) for name, value in loop.callback_metrics.items()}
    assert after["val/accuracy"] > before["val/accuracy"] + 0.1
    assert after["val/loss"] < 0.9 * before["val/loss"]
    assert {"train/loss_k1", "train/accuracy_k2", "val/accuracy_k2"} <= set(after)
    assert "val/accuracy_k3" not in after
    untrained = {name.replace("val/", "untrained/"): value for name, value in before.items()}
    columns, rows = model.report(after | untrained)
    assert [row[0] for row in rows] == [
        "nothing moves", "raw Lab colour", "patches of Lab colours", "untrained network",
        "CRW network",
    ]  # fmt: skip
    assert rows[-1] == ["CRW network", f"{after['val/accuracy']:.3f}", f"{after['val/j']:.3f}"]
    assert len(columns) == 3
    drawn = model.eval().figures(batch(model))["clips"]
    assert drawn.dtype == "uint8"
    assert drawn.std() > 10


def test_half_precision_trains():
    loop = trainer(max_steps=1, limit_val_batches=1, val_check_interval=1, precision="bf16-mixed")
    loop.fit(method(), data(batch_size=1))
    assert torch.isfinite(loop.callback_metrics["train/loss"])
