"""Classifiers of cells that are learned while objects are followed."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.target_model import TargetModel

SIZE = 24, 32


def looks(ids: Tensor, seed: int = 0) -> Tensor:
    """(16, h, w) features that depend on the object in each cell, with noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(16, 4, generator=torch.Generator().manual_seed(9))
    return kinds[:, ids] + 0.8 * torch.randn(16, *ids.shape, generator=generator)


def masks(ids: Tensor, count: int) -> Tensor:
    return torch.nn.functional.one_hot(ids, count).permute(2, 0, 1).float()


def scene(left: int = 8, ids: tuple[int, ...] = (1,)) -> Tensor:
    """(h, w) objects in a row."""
    made = torch.zeros(SIZE, dtype=torch.int64)
    for place, index in enumerate(ids):
        made[8:16, left + 8 * place : left + 8 * place + 6] = index
    return made


def agreed(model: TargetModel, ids: Tensor, count: int, weight: float = 3.0) -> float:
    """Share of the cells whose label it finds where copied labels say nothing."""
    nothing = torch.full((count, *SIZE), 1 / count)
    refined = model.refine(looks(ids, seed=5), nothing, weight)
    torch.testing.assert_close(refined.sum(0), torch.ones(SIZE))
    return float((refined.argmax(0) == ids).float().mean())


def test_it_tells_objects_from_what_surrounds_them() -> None:
    first = scene(ids=(1, 2))
    model = TargetModel()
    assert torch.equal(model.refine(looks(first), masks(first, 3), 1.0), masks(first, 3))
    model.learn(looks(first), masks(first, 3))
    assert agreed(model, scene(left=11, ids=(1, 2)), 3) > 0.95
    assert torch.equal(model.refine(looks(first), masks(first, 3), 9.0), masks(first, 3))


def test_labels_that_begin_later_are_learned_from_their_frame() -> None:
    first, later = scene(), scene(ids=(1, 2))
    model = TargetModel()
    model.learn(looks(first), masks(first, 3))
    assert agreed(model, later, 3) < 0.95
    model.learn(looks(later, 1), masks(later, 3), [2])
    assert agreed(model, later, 3) > 0.95
    for time in range(2, 40):  # while the first one is hidden
        model.learn(looks(scene(ids=(0, 2)), time), masks(scene(ids=(0, 2)), 3))
    assert agreed(model, later, 3) > 0.95


def test_it_learns_how_looks_change() -> None:
    still, moved = TargetModel(), TargetModel()
    ids = scene()
    for step in range(30):
        features = looks(ids, step)
        features = torch.where(ids > 0, features + 0.1 * step, features)
        for model in [moved] if step else [still, moved]:
            model.learn(features, masks(ids, 2))
    nothing = torch.full((2, *SIZE), 0.5)
    right = [
        (model.refine(features, nothing, 3.0).argmax(0) == ids).float().mean()
        for model in (still, moved)
    ]
    assert right[1] > 0.97
    assert right[1] > right[0] + 0.02


def propagator(weight: float) -> LabelPropagator:
    return LabelPropagator(target_weight=weight, long_term=[], recent=1, radius=4, temperature=0.2)


def followed(tool: LabelPropagator, frames: range) -> Tensor:
    for time in frames:
        found = tool.step(looks(scene(8 + time), time))
        tool.store(found)
    return found


def test_masks_have_one_which_finds_lost_parts_again_and_points_have_none() -> None:
    ids = scene()
    found = {}
    for kind, labels in (("masks", masks(ids, 2)), ("points", torch.rand(2, *SIZE))):
        for weight in (0.0, 0.5):
            tool = propagator(weight)
            tool.start(looks(ids), labels)
            tool.step(looks(ids, 1))
            labels = labels.clone()
            labels[:, :11] = torch.tensor([1.0, 0.0])[:, None, None]  # the upper part is lost
            tool.store(labels)
            found[kind, weight] = followed(tool, range(2, 10))
    assert torch.equal(found["points", 0.0], found["points", 0.5])
    inside = scene(17) > 0
    shares = [float(found["masks", weight][1, inside].mean()) for weight in (0.0, 0.5)]
    assert shares[0] < 0.7
    assert shares[1] > 0.9
    assert "target model 0.5" in str(propagator(0.5))
    assert "target" not in str(propagator(0.0))


def test_a_fork_goes_on_alike() -> None:
    ids = scene()
    tool = propagator(0.5)
    tool.start(looks(ids), masks(ids, 2))
    followed(tool, range(1, 5))
    fork, light = tool.fork([0, 2], 3), tool.lightened()
    assert tool.bytes_kept > propagator(0.0).bytes_kept
    light.refill({ago: looks(scene(8 + 4 - ago), 4 - ago) for ago in light.wanted})
    expected = followed(tool, range(5, 7))
    torch.testing.assert_close(followed(fork, range(5, 7))[[0, 2]], expected)
    torch.testing.assert_close(followed(light, range(5, 7)), expected)
