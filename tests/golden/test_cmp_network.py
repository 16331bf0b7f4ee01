"""The published CMP network, part by part and as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.cmp_layers import GuidanceEncoder, PropagationDecoder, SkipDecoder
from selfsup_motion.models.resnet import ResNetEncoder, published_init_
from selfsup_motion.ops.flow import FlowBins

HERE = Path(__file__).parent / "cmp"
BINS = FlowBins(99, 50.0)


class Network(nn.Module):
    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.image_encoder = ResNetEncoder(50)
        self.flow_encoder = GuidanceEncoder(stride=8)
        self.flow_decoder = SkipDecoder() if skip else PropagationDecoder(scales=(1, 2, 4))

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        features = self.image_encoder.forward_features(image)
        joined = torch.cat([features["output"], self.flow_encoder(guidance)], 1)
        if isinstance(self.flow_decoder, SkipDecoder):
            return self.flow_decoder(joined, features["layer1"], features["stem"])
        return self.flow_decoder(joined)


def fill(network: nn.Module, order: list[list]) -> None:
    """The reference's deterministic weights; the order of entries is part of the rule."""
    state = network.state_dict()
    for t, (name, shape) in enumerate(order):
        k = np.arange(math.prod(shape), dtype=np.float64)
        u = ((7919 * k + 104729 * t + 1) % 10007) / 10007 * 2 - 1
        if len(shape) == 4:
            value = u * np.sqrt(3 / math.prod(shape[1:]))
        elif name.endswith("running_var"):
            value = 1 + 0.5 * np.abs(u)
        elif name.endswith("weight"):
            value = 1 + 0.1 * u
        else:
            value = 0.1 * u
        state[name].copy_(torch.from_numpy(value.astype(np.float32)).view(shape))


def build(name: str) -> Network:
    network = Network(skip=name.endswith("skip"))
    fill(network, json.loads((HERE / f"net_{name}_params.json").read_text())["state"])
    return network


@pytest.mark.parametrize("name", ["resnet50", "resnet50_skip"])
def test_parameters_have_the_published_names_shapes_and_order(name):
    network = Network(skip=name.endswith("skip"))
    expected = json.loads((HERE / f"net_{name}_params.json").read_text())
    ours = {k: list(v.shape) for k, v in network.state_dict().items() if "num_batches" not in k}
    assert list(ours.items()) == [(k, s) for k, s in expected["state"]]
    assert [k for k, _ in network.named_parameters()] == expected["trainable"]
    assert sum(p.numel() for p in network.parameters()) == expected["total"]


@pytest.mark.parametrize("name", ["resnet50", "resnet50_skip"])
def test_evaluation_agrees_with_the_published_network(name, golden):
    expected = golden(f"cmp/net_{name}.npz")
    network = build(name).eval()
    image, guidance, flow = (
        torch.from_numpy(expected[k]) for k in ("image", "sparse", "target_flow")
    )
    with torch.no_grad():
        encoded = network.image_encoder(image)
        encoded_guidance = network.flow_encoder(guidance)
        scores = network(image, guidance)
    decoded = BINS.decode(scores)
    upsampled = F.interpolate(decoded, flow.shape[-2:], mode="bilinear", align_corners=True)
    for key, ours in {
        "image_enc": encoded,
        "sparse_enc": encoded_guidance,
        "logits": scores,
        "flow_lowres": decoded,
        "flow_full": upsampled,
    }.items():
        np.testing.assert_allclose(ours.numpy(), expected[key], atol=1e-4, err_msg=key)
    assert BINS.loss(scores, flow).item() == pytest.approx(float(expected["loss_eval"]), rel=1e-5)


def loss_and_gradient_norms(network: Network, expected: dict) -> tuple[float, dict[str, float]]:
    image, guidance, flow = (
        torch.from_numpy(expected[k]) for k in ("image", "sparse", "target_flow")
    )
    loss = BINS.loss(network(image, guidance), flow)
    loss.backward()
    return loss.item(), {name: p.grad.norm().item() for name, p in network.named_parameters()}


@pytest.fixture
def one_thread():
    """The golden gradients' summation order; another one flips a few ReLUs at zero."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_gradients_agree_with_the_published_network(golden):
    expected = golden("cmp/net_resnet50.npz")
    norms = json.loads((HERE / "net_info.json").read_text())["resnet50_evalmode_gradnorm"]
    loss, ours = loss_and_gradient_norms(build("resnet50").eval(), expected)
    assert loss == pytest.approx(float(expected["loss_eval"]), rel=1e-5)
    assert ours == pytest.approx(norms, rel=1e-3)


def test_batch_statistics_lead_to_the_published_loss(golden):
    # With these weights the network is chaotic in training mode: changing the image by 1e-6, or
    # computing in float64, moves the loss by 8e-4 and gradient norms (up to 1e5) by half. So this
    # pins what is normalised and how; the test above pins the backward pass.
    expected = golden("cmp/net_resnet50.npz")
    norms = json.loads((HERE / "net_info.json").read_text())["resnet50_trainmode_gradnorm"]
    loss, ours = loss_and_gradient_norms(build("resnet50").train(), expected)
    assert loss == pytest.approx(float(expected["loss_trainmode"]), rel=2e-3)
    for name, norm in norms.items():
        if norm > 1e-3:  # a bias in front of a normalisation has none but rounding noise
            assert 0.4 < ours[name] / norm < 2.5, name


def test_published_initialisation_has_the_published_statistics():
    torch.manual_seed(0)
    network = Network(skip=False)
    published_init_(network)
    expected = json.loads((HERE / "init_stats_resnet50.json").read_text())
    ours = {f"module.{name}": p for name, p in network.named_parameters()}
    assert ours.keys() == {k for k in expected if k in ours}
    assert len(ours) > 100
    for name, parameter in ours.items():
        mean, std = expected[name]
        spread = std / math.sqrt(parameter.numel())
        assert parameter.mean().item() == pytest.approx(mean, abs=8 * spread + 1e-9), name
        if parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(std, rel=0.1, abs=1e-9), name
