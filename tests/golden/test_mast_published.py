"""MAST's pointer, bottleneck, network step and schedule against the authors' code."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.methods.mast import MAST
from selfsup_motion.methods.mast.copying import (
    color_loss,
    copied,
    draw_channel,
    sharpness,
    without,
)
from selfsup_motion.methods.parts.schedules import by_samples
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.ops.color import unit_lab

FOLDER = "correspondence"
PUBLISHED = {"scale": 1.0, "border": "zero"}


def hashed(count: int, salt: int) -> np.ndarray:
    """The reference's numbers in [0, 1): an integer hash of the index and a salt."""
    mask = np.uint64(0xFFFFFFFF)
    k = np.arange(count, dtype=np.uint64)
    x = (k * np.uint64(2654435761) + np.uint64(salt) * np.uint64(40503) + np.uint64(12345)) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    return (x ^ (x >> np.uint64(16))).astype(np.float64) / 2**32


def fill(network: nn.Module) -> None:
    """The reference's deterministic weights; the order of entries is part of the rule."""
    state = network.state_dict()
    for salt, name in enumerate(n for n in state if "num_batches" not in n):
        shape = state[name].shape
        u = hashed(math.prod(shape), salt).reshape(shape)
        if len(shape) == 4:
            value = (2 * u - 1) * np.sqrt(6 / math.prod(shape[1:]))
            value *= 0.01 if name == "post_convolution.weight" else 1
        elif name.endswith("running_mean"):
            value = 0.2 * (2 * u - 1)
        elif name.endswith(("running_var", "weight")):
            value = 0.5 + u
        else:
            value = (0.1 if name == "post_convolution.bias" else 0.2) * (2 * u - 1)
        state[name].copy_(torch.from_numpy(value.astype(np.float32)))


@pytest.fixture
def arrays(golden):
    def load(name: str) -> dict[str, Tensor]:
        return {
            key: torch.from_numpy(value)
            for key, value in golden(f"{FOLDER}/{name}.npz").items()
            if value.dtype.kind in "fiu"
        }

    return load


def test_copies_loss_and_gradients_equal_the_pointer(arrays):
    a = arrays("mast_pointer")
    target, reference = (a[f"ptr_feat_{n}"].clone().requires_grad_() for n in ("target", "ref"))
    features = torch.stack([reference, target], 1)
    cells = copied(features, a["ptr_y_ref"][:, None], 6, 4, **PUBLISHED)
    torch.testing.assert_close(cells, a["ptr_out"], rtol=0, atol=1e-5)
    loss = color_loss(cells, a["ptr_y_target"], 4)
    assert loss.item() == pytest.approx(a["ptr_loss"].item(), rel=1e-5)
    loss.backward()
    for tensor, key in ((target, "ptr_g_target"), (reference, "ptr_g_ref")):
        largest = float(a[key].abs().max())
        torch.testing.assert_close(tensor.grad, a[key], rtol=1e-4, atol=1e-5 * largest)


def test_two_references_share_one_softmax_as_in_the_pointer(arrays):
    a = arrays("mast_pointer")
    features = torch.stack([a["ptr_feat_ref"], a["ptr2_feat_ref2"], a["ptr_feat_target"]], 1)
    values = torch.stack([a["ptr_y_ref"], a["ptr2_y_ref2"]], 1)
    cells = copied(features, values, 6, 4, **PUBLISHED)
    torch.testing.assert_close(cells, a["ptr2_out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("border", ["zero", "exclude"])
def test_sharpness_is_that_of_the_softmax(arrays, border):
    """Of which the copies of one-hot maps are the weights."""
    a = arrays("mast_pointer")
    features = torch.stack([a["ptr_feat_ref"], a["ptr2_feat_ref2"], a["ptr_feat_target"]], 1)
    every = torch.eye(12 * 16).view(1, -1, 12, 16).expand(2, -1, -1, -1)
    none = torch.zeros_like(every)
    weights = [
        copied(features, torch.stack(pair, 1), 3, 1, scale=0.5, border=border)
        for pair in ((every, none), (none, every))
    ]
    found = sharpness(features, 3, scale=0.5, border=border)
    if border == "exclude":
        assert found.highest == pytest.approx(float(torch.cat(weights, 1).amax(1).mean()), rel=1e-4)
    else:  # what lies outside has no cell of its own
        assert found.highest >= float(torch.cat(weights, 1).amax(1).mean()) - 1e-6
    assert found.spread > 0


@pytest.mark.parametrize("channel", [1, 2])
@pytest.mark.parametrize("mode", ["eval_stats", "train"])
def test_a_step_through_the_network_equals_the_reference(golden, mode, channel):
    a = golden(f"{FOLDER}/mast_train.npz")
    encoder = CorrFlowResNet(lab=True)
    assert sum(p.numel() for p in encoder.parameters()) == a["nparams"]
    fill(encoder)
    method = MAST(encoder=encoder, score_scale=1.0, border="zero").train(mode == "train")
    frames = torch.from_numpy(a["frames"]).transpose(0, 1)
    loss, features = method.objective(frames, channel)
    loss.backward()
    key = f"{mode}_ch{channel}"
    assert loss.item() == pytest.approx(a[f"{key}_loss"].item(), rel=1e-4)
    cells = copied(features, frames[:, :1, channel, None], 6, 4, **PUBLISHED)
    pixels = nn.functional.interpolate(cells, scale_factor=4.0, mode="bilinear")
    error = (pixels[:, 0] - frames[:, 1, channel]).abs()[:, ::8, ::8]
    np.testing.assert_allclose(error.detach(), a[f"{key}_err_sub"], atol=1e-4)
    names, norms = a["grad_names"].tolist(), a[f"{key}_gradnorm"]
    parameters = dict(encoder.named_parameters())
    ours = np.array([float(parameters[n.removeprefix("module.")].grad.norm()) for n in names])
    large = norms > 1e-3 * norms.max()
    np.testing.assert_allclose(ours[large], norms[large], rtol=5e-3 if mode == "train" else 1e-3)


def test_the_bottleneck_draws_as_the_published_code(golden):
    for seed, (channel, *gains) in enumerate(
        golden(f"{FOLDER}/mast_train.npz")["dropout_seed0_11"]
    ):
        drawn = draw_channel(np.random.RandomState(seed))
        assert drawn == channel
        found = without(torch.ones(3, 1, 1), drawn).flatten().tolist()
        assert found == gains


def test_lab_is_that_of_the_published_loader(golden):
    """Up to the approximation of OpenCV, which it used: 3.7e-3."""
    a = golden(f"{FOLDER}/mast_train.npz")
    rgb = torch.from_numpy(a["prep_rgb_sub"])
    np.testing.assert_allclose(unit_lab(rgb), a["prep_lab_sub"], atol=4e-3)


def test_the_rate_falls_after_the_published_numbers_of_samples(golden):
    for samples, rate in golden(f"{FOLDER}/mast_train.npz")["lr_by_samples"]:
        optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-3)
        at = [400_000, 600_000, 800_000, 1_000_000]
        schedule = by_samples(optimizer, total_steps=1, batch_size=1, at=at)
        factor = schedule.lr_lambdas[0](int(samples))
        assert 1e-3 * factor == pytest.approx(rate)


def test_pairs_have_the_published_gaps_where_the_video_is_long_enough():
    draw = partial(RandomClips(2, strides=[2, 2, 5, 5, 8]), clip_number=0)
    rng = np.random.default_rng(0)
    gaps = [b - a for a, b in (draw(VideoInfo("v", 100, 30.0, 64, 64), rng) for _ in range(600))]
    share = {gap: gaps.count(gap) / 600 for gap in sorted(set(gaps))}
    assert share == {2: pytest.approx(0.4, abs=0.06), 5: pytest.approx(0.4, abs=0.06),
                     8: pytest.approx(0.2, abs=0.06)}  # fmt: skip
    short = {b - a for a, b in (draw(VideoInfo("v", 7, 30.0, 64, 64), rng) for _ in range(50))}
    assert short == {2, 5}
