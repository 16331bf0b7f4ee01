"""Every method's training step on devices that are not there: faults that only a GPU would show.

`FakeTensorMode` has no backward pass on CUDA without a driver; that is run on `meta`, which knows
shapes and types but no devices.
"""

import pytest
import torch
from pretended import (
    first_step,
    in_half_precision,
    on_meta,
    on_pretended_cuda,
    pretended_cuda,
)
from torch import nn

from selfsup_motion.ops.color import unit_lab
from selfsup_motion.ops.dominant_motion import dominant_motion
from selfsup_motion.ops.guidance import rasterize_guidance
from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
from selfsup_motion.ops.moving_flow import MovingFlow
from selfsup_motion.ops.stream import follow
from selfsup_motion.ops.tracks import sparse_to_points
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options

NEED_FILES = {"dense_ulearn_videos"}
SLIM = {
    "cmp": ["encoder.width=8", "method.propagation.width=8"],
    "wmse": ["data.batch_size=32"],  # a set to be whitened
}
MAY_CHECK = {"wmse"}  # whitens once more if a covariance was singular
EXPERIMENTS = sorted({name for name in options("experiment") if "/" not in name} - NEED_FILES)


@pytest.fixture(scope="module", params=EXPERIMENTS)
def step(request):
    overrides = [f"experiment={request.param}", "data.batch_size=2", "data.num_workers=0"]
    torch.manual_seed(0)
    return *first_step(compose(overrides + SLIM.get(request.param, []))), request.param


def test_a_step_runs_on_cuda_and_does_not_wait_for_it(step):
    method, batch, name = step
    loss = on_pretended_cuda(method, batch, may_check=name in MAY_CHECK)
    assert loss.device.type == "cuda"
    assert loss.shape == ()


def test_a_step_and_its_gradients_have_shapes_and_types_that_fit(step):
    assert on_meta(*step[:2]) == []


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.bfloat16, marks=pytest.mark.slow, id="bf16"),
        pytest.param(torch.float16, id="fp16"),
    ],
)
def test_a_step_is_finite_in_half_precision(step, dtype):
    assert in_half_precision(*step[:2], dtype).isfinite()


def test_operators_do_not_wait_for_cuda_but_where_the_page_says_so():
    with pretended_cuda():
        image, flow = (torch.zeros(1, n, 6, 8, device="cuda") for n in (3, 2))
        valid = torch.ones(1, 6, 8, dtype=torch.bool, device="cuda")
        points = torch.zeros(1, 5, 2, device="cuda")
        used = torch.ones(1, 5, dtype=torch.bool, device="cuda")
        for found in (
            edge_aware_interpolation(image, points, points, used),
            edge_aware_interpolation(image.byte(), points[:, :0], points[:, :0], used[:, :0]),
            nearest_interpolation(points, points, used, (6, 8)),
            dominant_motion(flow, valid),
            rasterize_guidance(points, points, used, (6, 8))[:, :2],
        ):
            assert (found.shape, found.device.type) == (flow.shape, "cuda")
        assert MovingFlow().loss(image, flow, valid).shape == ()
        assert unit_lab(image).shape == image.shape
        for waits in (lambda: sparse_to_points(flow, flow), lambda: follow(flow, [1.0])):
            with pytest.raises(Exception, match="_local_scalar_dense"):
                waits()


class Planted(nn.Module):
    """A step with one fault, or none."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.layer = nn.Linear(4, 4)
        self.level = torch.ones(4)  # should be a buffer

    def training_step(self, batch, batch_idx):
        x = self.layer(batch["x"])
        if self.fault == "constant on the CPU":
            x = x + self.level
        if self.fault == "item" and x.mean().item() > 0:
            x = -x
        if self.fault == "boolean index":
            x = x[batch["x"] > 0]
        if self.fault == "numbers":
            x = x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device)
        if self.fault == "places":
            x = x[:, [0, -1]]
        if self.fault == "solution":
            x = torch.linalg.solve(x.T @ x, x.T)
        if self.fault == "overflow":
            x = self.layer(x.abs() + 1e5)
        return x.square().mean()


BATCH = {"x": torch.linspace(-1, 1, 8).view(2, 4)}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("constant on the CPU", "convert all Tensors"),
        ("item", "_local_scalar_dense"),
        ("boolean index", "nonzero"),
        ("numbers", "waits for the device: aten._to_copy"),
        ("places", "waits for the device: aten._to_copy"),
        ("solution", "waits for the device: aten._linalg_check_errors"),
    ],
)
def test_planted_faults_are_found_on_cuda(fault, message):
    on_pretended_cuda(Planted(""), BATCH)
    with pytest.raises(Exception, match=message):
        on_pretended_cuda(Planted(fault), BATCH)


def test_a_planted_overflow_is_found_in_half_precision():
    assert in_half_precision(Planted(""), BATCH, torch.float16).isfinite()
    assert not in_half_precision(Planted("overflow"), BATCH, torch.float16).isfinite()
