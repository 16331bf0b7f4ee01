"""The published networks of MoSI: names, sizes, what they compute, what their files load into."""

from __future__ import annotations

import json
import zlib
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selfsup_motion.methods.mosi import MotionHead
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import cosine_with_rise
from selfsup_motion.models.pooling import clip_features
from selfsup_motion.models.resnet3d import ResNet3d
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.actions.finetuning import ActionFinetuning
from selfsup_motion.weights.checkpoints import load_encoder, load_method

NETS = {"r2d3d18": "r2d3d", "r2p1d10": "r2p1d"}


def encoder(net: str) -> ResNet3d:
    return build(compose([f"encoder={net}"]).encoder, "encoder")


class Network(nn.Module):
    """The whole published network, under its own names."""

    def __init__(self, net: str, task: str) -> None:
        super().__init__()
        self.backbone = encoder(net)
        answers = {"mosi": 9, "hmdb": 51, "ucf": 101}[task]
        self.head = MotionHead(self.backbone.out_channels, {"joint": answers}, dropout=0.0)

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.backbone(clips))["joint"]


def reference_weights(net: str, task: str, shared) -> dict[str, Tensor]:
    """Every weight from its name alone, as the reference data's README says."""
    table = json.loads((shared / f"golden/mosi/params_{net}_{task}.json").read_text())
    weights = {}
    for name, entry in table.items():
        shape = tuple(entry["shape"])
        r = np.random.RandomState(zlib.crc32(name.encode()) % 2**31)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros((), dtype=torch.int64)
            continue
        if name.endswith("running_mean"):
            value = 0.1 * r.standard_normal(shape)
        elif name.endswith("running_var"):
            value = r.uniform(0.5, 1.5, shape)
        elif len(shape) == 5:
            value = r.standard_normal(shape) * np.sqrt(2 / prod(shape[1:]))
        elif len(shape) == 2 or name.endswith("bias"):
            value = 0.1 * r.standard_normal(shape)
        else:
            value = 1 + 0.1 * r.standard_normal(shape)
        weights[name] = torch.from_numpy(np.asarray(value, np.float32))
    return weights


def filled(net: str, task: str, shared) -> Network:
    network = Network(net, task)
    weights = reference_weights(net, task, shared)
    if task != "mosi":  # the head of the fine-tuned networks is called otherwise
        weights = {k.replace("head.out.", "head.out_joint."): v for k, v in weights.items()}
    network.load_state_dict(weights)
    return network


@pytest.mark.parametrize("net", NETS)
def test_names_shapes_and_counts_are_the_published_ones(net, shared):
    expected = json.loads((shared / f"golden/mosi/params_{net}_mosi.json").read_text())
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())[f"{net}_mosi"]
    network = Network(net, "mosi")
    ours = {name: list(value.shape) for name, value in network.state_dict().items()}
    assert list(ours.items()) == [(name, entry["shape"]) for name, entry in expected.items()]
    learnable = [name for name, entry in expected.items() if entry["learnable"]]
    assert [name for name, _ in network.named_parameters()] == learnable
    assert sum(p.numel() for p in network.parameters()) == info["params"]
    assert sum(p.numel() for p in network.backbone.parameters()) == info["backbone_params"]
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            wanted = info["conv"][name]
            assert [list(module.kernel_size), list(module.stride), list(module.padding)] == [
                wanted["kernel"], wanted["stride"], wanted["padding"]
            ], name  # fmt: skip


@pytest.mark.parametrize("net", NETS)
def test_stages_have_the_published_sizes(net, shared):
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())[f"{net}_mosi"]
    backbone = encoder(net).to("meta").eval()
    seen = {}
    for stage in ("conv1", *backbone.stages):
        backbone.get_submodule(stage).register_forward_hook(
            lambda _, __, out, stage=stage: seen.update({stage: list(out.shape)})
        )
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    with torch.no_grad():
        out = backbone(clip)
    assert seen == info["stage_shapes_16x112"]
    _, channels, frames, height, _ = out.shape
    assert channels == backbone.out_channels
    assert frames == 16 // backbone.time_stride
    assert height == -(-112 // backbone.stride)


@pytest.mark.parametrize("net", NETS)
def test_weight_decay_is_for_the_published_groups(net, shared):
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())[f"{net}_mosi"]
    spared = [g for g in info["optim_groups"] if g["weight_decay"] == 0]
    for group, theirs in zip(
        decayed(Network(net, "mosi")),
        ([g for g in info["optim_groups"] if g["weight_decay"]], spared),
        strict=True,
    ):
        assert len(group["params"]) == sum(g["n_tensors"] for g in theirs)
        assert sum(p.numel() for p in group["params"]) == sum(g["n_elems"] for g in theirs)


@pytest.mark.parametrize("net", NETS)
def test_default_initialisation_is_the_published_one(net, shared):
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())[f"{net}_mosi"]
    torch.manual_seed(0)
    parameters = dict(Network(net, "mosi").named_parameters())
    for name, std in info["init_std"].items():
        assert parameters[name].std().item() == pytest.approx(std, rel=0.05), name


@pytest.mark.parametrize("task", ["mosi", "hmdb", "ucf"])
@pytest.mark.parametrize("net", NETS)
def test_evaluation_agrees_with_the_published_network(net, task, shared, golden):
    arrays = golden(f"mosi/net_{net}_{task}.npz")
    network = filled(net, task, shared).eval()
    x = torch.from_numpy(arrays["x"])
    with torch.no_grad():
        stages, features = {}, network.backbone.conv1(x)
        stages["conv1"] = features
        for stage in network.backbone.stages:
            stages[stage] = features = network.backbone.get_submodule(stage)(features)
        scores = network.head(features)["joint"]
    for name, value in stages.items():
        close(value[:1], arrays[f"eval_{name}"], 1e-4)
    close(features.mean((2, 3, 4)), arrays["eval_feat"], 1e-4)
    close(scores.softmax(1), arrays["eval_probs"], 1e-4)


@pytest.mark.parametrize("task", ["mosi", "hmdb", "ucf"])
@pytest.mark.parametrize("net", NETS)
def test_training_agrees_with_the_published_network(net, task, shared, golden):
    arrays = golden(f"mosi/net_{net}_{task}.npz")
    network = filled(net, task, shared).train()
    x, labels = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["labels"]).flatten()
    features = network.backbone(x)
    scores = network.head(features)["joint"]
    loss = F.cross_entropy(scores, labels)
    loss.backward()
    close(features.mean((2, 3, 4)), arrays["train_feat"], 1e-3)
    close(scores, arrays["train_logits"], 1e-3)
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-3)
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
    for name, norm in zip(arrays["grad_names"].tolist(), arrays["grad_norm"], strict=True):
        ours = norms[name if task == "mosi" else name.replace("head.out.", "head.out_joint.")]
        assert ours == pytest.approx(norm, rel=1e-2, abs=1e-5), name
    decay = 1e-4 if task == "mosi" else 1e-3
    torch.optim.Adam(decayed(network), lr=1e-3, weight_decay=decay).step()
    with torch.no_grad():
        after = F.cross_entropy(network(x), labels).item()
    # Adam's first step is one of signs: tiny differences of the gradient turn some of them
    assert after == pytest.approx(float(arrays["loss_after_one_step_lr1e-3"]), rel=0.05)


@pytest.mark.parametrize("net", NETS)
def test_a_clip_costs_the_published_number_of_multiplications(net, shared):
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())
    backbone = encoder(net).to("meta").eval()
    normalised = []
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_hook(lambda _, __, out: normalised.append(out.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.empty(1, 3, 16, 112, 112, device="meta"))
    # the published count takes a normalisation for two a value
    macs = (counter.get_total_flops() / 2 + 2 * sum(normalised)) / 1e9
    for task in ("mosi", "hmdb", "ucf"):
        assert macs == pytest.approx(info[f"{net}_{task}"]["gflops_mac_16x112"], rel=1e-6)


@pytest.mark.parametrize("task", ["hmdb", "ucf"])
@pytest.mark.parametrize("net", NETS)
def test_fine_tuning_builds_the_published_classifier(net, task, shared, golden):
    """Names and shapes in their order, groups of the optimiser, and what it computes."""
    expected = json.loads((shared / f"golden/mosi/params_{net}_{task}.json").read_text())
    info = json.loads((shared / "golden/mosi/net_info.json").read_text())[f"{net}_{task}"]
    made = ActionFinetuning(
        encoder=encoder(net),
        classes=[str(number) for number in range({"hmdb": 51, "ucf": 101}[task])],
        dropout=0.5,
        optimizer=torch.optim.Adam,
        schedule=cosine_with_rise,
    )
    ours = {
        k.replace("encoder.", "backbone.", 1): list(v.shape) for k, v in made.state_dict().items()
    }
    assert list(ours.items()) == [(name, entry["shape"]) for name, entry in expected.items()]
    assert sum(p.numel() for p in made.parameters()) == info["params"]
    for group, theirs in zip(
        decayed(made),
        ([g for g in info["optim_groups"] if g["weight_decay"]],
         [g for g in info["optim_groups"] if not g["weight_decay"]]),
        strict=True,
    ):  # fmt: skip
        assert sum(p.numel() for p in group["params"]) == sum(g["n_elems"] for g in theirs)
    weights = reference_weights(net, task, shared)
    made.load_state_dict({k.replace("backbone.", "encoder.", 1): v for k, v in weights.items()})
    made.eval()
    arrays = golden(f"mosi/net_{net}_{task}.npz")
    # the published input is normalised already
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    with torch.no_grad():
        x = torch.from_numpy(arrays["x"]).transpose(1, 2)
        probabilities = made.head(clip_features(made.encoder, x, mean, std)).softmax(1)
    close(probabilities, arrays["eval_probs"], 1e-4)


@pytest.mark.parametrize("net", NETS)
def test_published_files_load_exactly(net, shared, tmp_path):
    weights = reference_weights(net, "mosi", shared)
    file = tmp_path / "published.pyth"
    torch.save({"model_state": weights, "epoch": 99}, file)
    method = load_method(file)
    state = method.state_dict()
    assert len(state) == len(weights)
    for name, value in weights.items():
        assert torch.equal(state[name.replace("backbone.", "encoder.")], value), name
    loaded = load_encoder(file).state_dict()
    assert all(torch.equal(loaded[k], state[f"encoder.{k}"]) for k in loaded)


@pytest.mark.parametrize("task", ["hmdb", "ucf"])
@pytest.mark.parametrize("net", NETS)
def test_encoders_of_fine_tuned_published_files_load_exactly(net, task, shared, tmp_path):
    weights = reference_weights(net, task, shared)
    file = tmp_path / "published.pyth"
    torch.save({"model_state": weights}, file)
    loaded = load_encoder(file).state_dict()
    for name, value in weights.items():
        if name.startswith("backbone."):
            assert torch.equal(loaded[name.removeprefix("backbone.")], value), name


def close(ours: Tensor, expected: np.ndarray, tolerance: float) -> None:
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(ours.detach().numpy(), expected, atol=tolerance * scale)
