"""A trained CMP as a program that needs nothing of this package."""

from functools import partial

import pytest
import torch

from selfsup_motion.methods.cmp import CMP, export_flow
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.motion_decoders.point_attention import PointAttentionDecoder
from selfsup_motion.models.motion_decoders.rest_attention import RestAttentionDecoder
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.moving_flow import MovingFlow

FORMS = {
    "points": (partial(PointAttentionDecoder, width=8, key_channels=8), FlowBins(21, 20.0)),
    "rest": (partial(RestAttentionDecoder, widths=(16, 12, 8), key_channels=4), MovingFlow()),
    "skip": (partial(SparsePropagation, decoder="skip"), FlowBins(21, 20.0)),
}


def method(form: str) -> CMP:
    torch.manual_seed(0)
    propagation, code = FORMS[form]
    made = CMP(
        encoder=ResNetEncoder(depth=10, out_channels=16, width=8),
        propagation=propagation,
        motion_code=code,
        epe_weight=0.0,
        published_init=False,
        use_guidance=True,
        optimizer=torch.optim.SGD,
        schedule=cosine,
    ).eval()
    for part in made.modules():  # heads that start at zero
        if isinstance(part, torch.nn.Conv2d) and not part.weight.any():
            torch.nn.init.normal_(part.weight, std=0.1)
    return made


@pytest.mark.parametrize(
    "form", ["skip", *(pytest.param(form, marks=pytest.mark.slow) for form in ("points", "rest"))]
)
def test_the_program_gives_the_flow_of_propagate(form, tmp_path):
    made = method(form)
    torch.export.save(export_flow(made, (64, 80)), tmp_path / "flow.pt2")
    program = torch.export.load(tmp_path / "flow.pt2").module()
    image = torch.rand(1, 3, 64, 80)
    for maps, count in ((1, 1), (5, 1), (2, 7)):
        points, vectors = torch.rand(maps, count, 2) * 60, 4 * torch.randn(maps, count, 2)
        used = torch.rand(maps, count) > 0.3
        used[:, 0] = True
        with torch.no_grad():
            flow = program(image, points, vectors, used)
        wanted = made.propagate(image[0], points, vectors, used)
        assert wanted.abs().max() > 0.1
        torch.testing.assert_close(flow, wanted, atol=1e-3, rtol=1e-3)


def test_what_does_not_fit_is_told():
    made = method("points")
    with pytest.raises(ValueError, match=r"size 60x64 does not fit the network, \(64, 64\) does"):
        export_flow(made, (60, 64))
    with pytest.raises(ValueError, match="evaluation mode"):
        export_flow(made.train(), (64, 64))
