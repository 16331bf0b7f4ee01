"""CorrFlow's network, targets, losses and gradients against the authors' code."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from hashing import hashed
from torch import Tensor, nn

from selfsup_motion import load_encoder
from selfsup_motion.data.clip import Clip
from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.methods.corrflow.view import CorrFlowView
from selfsup_motion.methods.parts.channel_dropout import ChannelDropout, draw_channel_gains
from selfsup_motion.methods.parts.schedules import cosine
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.color import KINETICS_CENTROIDS, LabQuantizer, rgb_to_lab
from selfsup_motion.ops.label_cells import blur_cells, labels_to_cells


def published(network: nn.Module) -> dict[str, Tensor]:
    """The reference's deterministic weights; the order of entries is part of the rule."""
    names = [name for name in network.state_dict() if "num_batches" not in name]
    weights = {}
    for salt, name in enumerate(names):
        shape = network.state_dict()[name].shape
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
        weights[name] = torch.from_numpy(value.astype(np.float32))
    return weights


def video(height: int, width: int, batch: int) -> Tensor:
    """The reference's first frame, (B, 3, H, W)."""
    b, c, y, x = np.meshgrid(*map(np.arange, (batch, 3, height, width)), indexing="ij")
    value = 0.5 + 0.25 * np.sin(0.15 * x + 0.9 * c + 0.7 * b)
    value += 0.25 * np.cos(0.11 * y + 0.05 * x + 1.7 * c)
    return torch.from_numpy(value.astype(np.float32))


def network() -> CorrFlowResNet:
    net = CorrFlowResNet()
    net.load_state_dict(published(net), strict=False)
    return net


def method(encoder: nn.Module) -> CorrFlow:
    return CorrFlow(
        encoder=encoder,
        radius=6,
        centroids=None,
        blend_ids=True,
        dropout=ChannelDropout(0.7, "batch"),
        truth_probability=(0.9, 0.6),
        cycle_weight=0.1,
        seed=0,
        optimizer=partial(torch.optim.Adam, lr=2e-4),
        schedule=cosine,
    )


def test_parameters_have_the_published_shapes(shared):
    theirs = json.loads((shared / "golden/corrflow/c_param_shapes.json").read_text())
    ours = {name: list(tensor.shape) for name, tensor in CorrFlowResNet().state_dict().items()}
    counters = {name for name in ours if name.endswith("num_batches_tracked")}
    assert {name: ours[name] for name in ours.keys() - counters} == {
        name: shape for name, shape in theirs.items() if name not in counters
    }


def test_parameters_have_the_published_names_and_order(golden):
    arrays = golden("corrflow/c_network.npz")
    net = CorrFlowResNet()
    ours = {k: tuple(v.shape) for k, v in net.state_dict().items() if "num_batches" not in k}
    theirs = [n for n in arrays["names"].tolist() if "num_batches" not in n]
    assert list(ours) == theirs
    assert sum(p.numel() for p in net.parameters()) == arrays["nparams"]
    weights = published(net)
    sums = dict(zip(arrays["names"].tolist(), arrays["check"].tolist(), strict=True))
    assert all(
        float(weights[n].double().sum()) == pytest.approx(sums[n], abs=1e-3) for n in weights
    )


@pytest.mark.parametrize(
    ("name", "size"), [("s64", (64, 64)), ("s48x80", (48, 80)), ("s45x61", (45, 61))]
)
def test_embeddings_equal_the_reference(golden, name, size):
    arrays = golden("corrflow/c_network.npz")
    net = network().eval()
    layers: dict[str, Tensor] = {}
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        module = net.feature_extraction.get_submodule(layer)
        module.register_forward_hook(lambda *a, layer=layer: layers.update({layer: a[2]}))
    with torch.no_grad():
        out = net(video(*size, 1))
    expected = torch.from_numpy(arrays[f"{name}_feat"])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    for layer, value in layers.items():
        assert tuple(value.shape) == tuple(arrays[f"{name}_{layer}_shape"])
        stats = [value.mean(), value.std(), value.abs().max()]
        assert [float(s) for s in stats] == pytest.approx(arrays[f"{name}_{layer}_stats"], rel=1e-4)
    sub = torch.from_numpy(arrays[f"{name}_layer4_sub"])
    error = (layers["layer4"][:, ::16, ::2, ::2] - sub).abs().max() / sub.abs().max()
    assert error < 1e-4


def test_training_mode_equals_the_reference(golden):
    arrays = golden("corrflow/c_network.npz")
    net = network().train()
    with torch.no_grad():
        out = net(video(64, 64, 2))
    expected = torch.from_numpy(arrays["train_s64_feat"])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    normalisation = net.feature_extraction.conv1[1]
    for name, key in (("running_mean", "rm"), ("running_var", "rv")):
        value = torch.from_numpy(arrays[f"train_bn_after_{key}"])
        torch.testing.assert_close(getattr(normalisation, name), value, rtol=1e-4, atol=1e-5)


def test_official_checkpoint_loads_exactly(golden, tmp_path):
    arrays = golden("corrflow/c_network.npz")
    weights = {f"module.{k}": v for k, v in published(CorrFlowResNet()).items()}
    for name in list(weights):
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            weights[counter] = torch.tensor(7)
    path = tmp_path / "checkpoint.tar"
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": {"state": {}}}, path)
    encoder = load_encoder(path)
    with torch.no_grad():
        out = encoder(video(48, 80, 1))
    expected = torch.from_numpy(arrays["s48x80_feat"])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("picked", ["truth", "pred"])
def test_losses_and_gradients_with_each_frame_encoded_once_equal_the_reference(
    golden, mode, picked
):
    arrays = golden("corrflow/d_colorizer_loss.npz")
    net = network()
    model = method(net).train(mode == "train")
    passes: list[int] = []
    net.register_forward_hook(lambda *_: passes.append(1))
    frames = torch.from_numpy(arrays["video"]).transpose(0, 1)
    labels = torch.from_numpy(arrays["labels"])[:, :, 0].transpose(0, 1)
    short, long = model.objective(model.encode(frames), labels, [picked == "truth"])
    loss = short + 0.1 * long
    loss.backward()
    assert len(passes) == 3
    for value, key in ((short, "ls"), (long, "ll"), (loss, "total")):
        assert value.item() == pytest.approx(arrays[f"{mode}_{picked}_{key}"].item(), rel=1e-4)
    parameters = dict(net.named_parameters())
    norms = [float(parameters[n].grad.norm()) for n in arrays["grad_names"].tolist()]
    # rounding turns a few ReLUs at zero: more where batch normalisation spreads it
    rel = 1e-3 if mode == "eval" else 5e-3
    assert norms == pytest.approx(arrays[f"{mode}_{picked}_gradnorm"].tolist(), rel=rel)
    sub = torch.from_numpy(arrays[f"{mode}_{picked}_g_postconv_sub"])
    own = net.post_convolution.weight.grad[::8, ::32]
    torch.testing.assert_close(own, sub, rtol=1e-3, atol=1e-4 * float(sub.abs().max()))
    if mode == "train":  # the reference counts 16 passes into the running mean, we count 3
        mean = net.feature_extraction.conv1[1].running_mean
        assert not torch.allclose(
            mean, torch.from_numpy(arrays[f"train_{picked}_rm_after"]), atol=1e-3
        )


def test_single_and_recursive_copies_equal_the_reference(golden):
    arrays = golden("corrflow/d_colorizer_loss.npz")
    model = method(network()).eval()
    frames = torch.from_numpy(arrays["video"]).transpose(0, 1)
    labels = torch.from_numpy(arrays["labels"])[:, :, 0].transpose(0, 1)
    with torch.no_grad():
        features = model.encode(frames)
        cells = labels_to_cells(labels[:, 0], 16, 4, blend_ids=True)
        first = restricted_attention(features[:, 1], features[:, 0], cells, 6)
        second = restricted_attention(features[:, 2], features[:, 1], blur_cells(first, 4), 6)
    for out, key in ((first, "eval_out_q"), (second, "eval_out_recursive")):
        torch.testing.assert_close(out, torch.from_numpy(arrays[key]), rtol=0, atol=1e-5)


def test_channel_dropout_draws_as_the_reference_does(golden):
    expected = golden("corrflow/d_colorizer_loss.npz")["dropout_seed0_11"]
    for seed, gains in enumerate(expected):
        drawn = draw_channel_gains(np.random.RandomState(seed), 0.7)
        assert np.array_equal(np.float32([drawn] * 2), gains)


@pytest.mark.parametrize("name", ["grid", "rnd", "smooth"])
def test_colour_classes_equal_the_reference_where_they_are_clear(golden, name):
    """OpenCV's Lab is an approximation: it differs from the exact formula by up to 0.35."""
    arrays = golden("corrflow/b_lab_quant.npz")
    np.testing.assert_allclose(KINETICS_CENTROIDS, arrays["centroids"], atol=1e-5)
    rgb = torch.from_numpy(arrays[f"{name}_rgb"]).permute(2, 0, 1).float() / 255
    lab = rgb_to_lab(rgb)
    assert np.abs(lab.permute(1, 2, 0).numpy() - arrays[f"{name}_lab"]).max() < 0.36
    differ = LabQuantizer()(lab).numpy() != arrays[f"{name}_label"]
    assert differ.mean() < 0.005
    assert not differ[arrays[f"{name}_margin"] > 1.0].any()


def test_quantiser_equals_the_reference_on_its_own_lab(golden):
    arrays = golden("corrflow/b_lab_quant.npz")
    for name in ("grid", "rnd", "smooth"):
        lab = torch.from_numpy(arrays[f"{name}_lab"]).permute(2, 0, 1)
        clear = arrays[f"{name}_margin"] > 1e-4
        assert np.array_equal(LabQuantizer()(lab).numpy()[clear], arrays[f"{name}_label"][clear])


def test_the_view_resizes_as_the_reference_loads(golden):
    arrays = golden("corrflow/b_lab_quant.npz")
    image = arrays["smooth_rgb"].transpose(2, 0, 1)
    view = CorrFlowView(
        crop_size=256, short_side=None, stretch=True, flip=False, jitter_probability=0.0,
        jitter_per="frame", brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, train=True,
    )  # fmt: skip
    clip = Clip(frames=np.stack([image, image]), key="smooth")
    frame = view(clip, np.random.default_rng(0))["frames"][0]
    # frames travel as bytes: half a level of rounding, and OpenCV's own in fixed point
    difference = np.abs(frame.numpy() / 255 - arrays["pipe_rgb256"])
    assert difference.max() < 1.5 / 255
    labels = LabQuantizer()(rgb_to_lab(frame.float() / 255)).numpy()
    assert (labels != arrays["pipe_label256"][0]).mean() < 0.02


def test_lab_equals_the_reference_in_the_normalisation_of_mast(golden):
    arrays = golden("corrflow/b_lab_quant.npz")
    lab = rgb_to_lab(torch.from_numpy(arrays["pipe_rgb256"])).numpy()
    assert np.abs((lab[0] - 50) / 50 - arrays["pipe_grey256_L"][0]).max() < 0.36 / 50
    ours = np.stack([(lab[0] - 50) / 50, lab[1] / 127, lab[2] / 127])[:, ::4, ::4]
    assert np.abs(ours - arrays["mast_lab256"]).max() < 0.36 / 50
