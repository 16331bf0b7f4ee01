"""Following a flow in small steps."""

import math

import torch

from selfsup_motion.ops.stream import fill_from_still, follow, origins, share_of_motion
from selfsup_motion.ops.warp import backward_warp


def rotation(size: int, radians: float) -> torch.Tensor:
    """Velocity field of a rotation about the centre."""
    axis = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return radians * torch.stack([-y, x])[None]


def test_a_rotation_stays_one_where_scaling_would_blow_it_up():
    flow = rotation(65, math.pi / 3)
    (moved,) = follow(flow, [1.0], max_step=0.25)
    x, y = 12.0, 0.0  # right of the centre
    angle = math.pi / 3
    expected = torch.tensor([math.cos(angle) * 12 - x, math.sin(angle) * 12 - y])
    assert (moved[0, :, 32, 44] - expected).norm() < 0.4
    assert (flow[0, :, 32, 44] - expected).norm() > 5


def test_back_and_forth_ends_where_it_began():
    flow = rotation(33, 0.4)
    there, back = follow(flow, [1.0, -1.0])
    returned = there + backward_warp(back, there, padding="border")
    assert returned[..., 10:23, 10:23].norm(dim=1).max() < 0.15


def test_times_come_in_the_order_asked_for():
    flow = torch.full((1, 2, 9, 9), 2.0)
    half, none, whole, before = follow(flow, [0.5, 0.0, 1.0, -0.5])
    torch.testing.assert_close(whole, flow)
    torch.testing.assert_close(half, flow / 2)
    torch.testing.assert_close(before, -flow / 2)
    assert not none.any()


def block(shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright square that moves right over a still dark ground: image and flow."""
    image, flow = torch.zeros(1, 1, 40, 80), torch.zeros(1, 2, 40, 80)
    image[..., 12:28, 10:26] = 1.0
    flow[:, 0, 12:28, 10:26] = shift
    return image, flow


def moved_block(shift: float) -> torch.Tensor:
    image, flow = block(shift)
    (moved,) = follow(flow, [1.0])
    places, gap = origins(moved)
    frame = backward_warp(image, places, padding="border")
    seen = backward_warp(share_of_motion(moved), places, padding="border")
    return fill_from_still(frame, seen, gap)[0, 0]


def test_a_thing_leaves_its_place_as_a_whole_and_no_copy_behind():
    frame = moved_block(30.0)
    assert frame[14:26, 42:54].min() > 0.9  # arrived, not squeezed into its old outline
    frame[11:29, 39:57] = 0
    assert frame.max() < 0.1


def test_the_image_is_stretched_where_the_motion_parts():
    _, flow = block(8.0)
    (moved,) = follow(flow, [1.0])
    places = origins(moved)[0][0, 0] + torch.arange(80)
    behind = places[20, 2:30]
    assert behind.diff().min() > -1.5  # from left to right: hardly a jump back
    assert behind.diff().max() < 3.0


def test_no_motion_is_followed_to_nowhere():
    (moved,) = follow(torch.zeros(1, 2, 6, 7), [1.0])
    assert not moved.any()
    places, gap = origins(moved)
    assert not places.any()
    assert not gap.any()


def test_holes_are_filled_from_what_is_still():
    image = torch.tensor([0.2, 0.2, 9.0, 0.7, 0.7, 0.7]).expand(1, 1, 6, 6)
    hole, motion = (torch.zeros(1, 1, 6, 6) for _ in range(2))
    hole[..., 2] = 1.0
    motion[..., 3:] = 1.0
    filled = fill_from_still(image, motion, hole)
    assert abs(float(filled[0, 0, 3, 2]) - 0.2) < 0.05
    torch.testing.assert_close(filled[..., 3:], image[..., 3:])
