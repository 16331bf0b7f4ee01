"""Motion that ends at edges of the image, and the ground behind what moves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.ops.background import background
from selfsup_motion.ops.motion_refinement import refine_motion


def scene(side: int = 120) -> tuple[Tensor, Tensor]:
    """A textured disc on a textured ground, and where it is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - side / 2, y - side / 2) < side / 4
    image = rng.normal(70, 8, (3, side, side))
    image[0, disc] += 110
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8)), torch.from_numpy(disc)


def blurred(disc: Tensor, reach: int = 15) -> Tensor:
    wide = disc[None, None].float()
    return torch.nn.functional.avg_pool2d(wide, reach, 1, reach // 2, count_include_pad=False)[0, 0]


POINT, RIGHT = torch.tensor([[60.0, 60.0]]), torch.tensor([[6.0, 0.0]])


def test_a_faded_motion_ends_at_the_edge() -> None:
    image, disc = scene()
    flow = torch.stack([6 * blurred(disc), torch.zeros(disc.shape)])
    refined = refine_motion(flow, image, POINT, RIGHT)
    wrong_before = ((flow[0] > 3) != disc).sum()
    wrong = ((refined[0] > 3) != disc).sum()
    assert wrong < 0.6 * wrong_before
    assert (refined.norm(dim=0) == 0).sum() > 0.9 * (~disc).sum()
    assert torch.allclose(refined[0, 50:70, 50:70], torch.tensor(6.0), atol=0.5)


def test_slower_things_are_measured_by_their_own_arrows() -> None:
    image, disc = scene()
    wide = torch.cat([image, image], 2)
    slow, fast = 2 * blurred(disc), 8 * blurred(disc)
    flow = torch.stack([torch.cat([slow, fast], 1), torch.zeros(120, 240)])
    points = torch.tensor([[60.0, 60.0], [180.0, 60.0]])
    refined = refine_motion(flow, wide, points, torch.tensor([[2.0, 0.0], [8.0, 0.0]]))
    assert refined[0, 60, 60] > 1.5
    assert refined[0, 60, 180] > 7


def test_nothing_to_refine_is_left_as_it_is() -> None:
    image, _ = scene()
    still, whole = torch.zeros(2, 120, 120), torch.ones(2, 120, 120)
    assert refine_motion(still, image, POINT, RIGHT) is still
    assert refine_motion(whole, image, POINT, torch.zeros(1, 2)) is whole
    assert refine_motion(6 * whole, image, POINT, RIGHT).eq(6).all()


def test_the_ground_is_continued_behind_what_moves() -> None:
    image, disc = scene()
    ground = background(image, disc)
    assert ground is not None
    away = ~blurred(disc, 21).bool()
    assert torch.equal(ground[:, away], image[:, away].float())
    assert (ground[:, disc].mean() - 70).abs() < 6  # of the thing, which is 107, nothing is left
    assert torch.equal(ground, background(image, disc))


def test_without_ground_there_is_nothing_to_continue() -> None:
    image, _ = scene()
    assert background(image, torch.ones(120, 120, dtype=torch.bool)) is None
    nothing = background(image, torch.zeros(120, 120, dtype=torch.bool))
    assert nothing is not None
    assert torch.equal(nothing, image.float())
