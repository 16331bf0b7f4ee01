"""Weights under the names that training codes and PyTorch's wrappers give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.contents import read_checkpoint
from selfsup_motion.weights.used import load_report


@pytest.fixture(scope="module")
def network() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


def renamed(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def saved(content: Any, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def conv1(encoder: nn.Module) -> Tensor:
    return encoder.get_parameter("conv1.weight")


PREFIXES = [
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "encoder.",
    "backbone.", "net.", "network.", "model.module.", "_orig_mod.model.encoder.",
    "_fsdp_wrapped_module.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_names_before_all_weights_do_not_matter(prefix, network, tmp_path) -> None:
    weights = renamed(network, prefix)
    for content in (weights, {"state_dict": weights, "epoch": 3}):
        assert torch.equal(conv1(load_encoder(saved(content, tmp_path))), network["conv1.weight"])


def test_wrappers_inside_the_names_do_not_matter(network, tmp_path) -> None:
    weights = {name.replace("layer3.", "layer3._orig_mod."): v for name, v in network.items()}
    weights = {name.replace("layer4.", "layer4.module."): v for name, v in weights.items()}
    encoder = load_encoder(saved(weights, tmp_path))
    assert torch.equal(encoder.layer4[1].conv2.weight, network["layer4.1.conv2.weight"])


def test_an_averaged_model_is_read_without_its_counter(network, tmp_path) -> None:
    path = saved({"n_averaged": torch.tensor(5), **renamed(network, "module.")}, tmp_path)
    assert torch.equal(conv1(load_encoder(path)), network["conv1.weight"])


@pytest.mark.parametrize("place", ["model_state_dict", "model", "state_dict", "model.state_dict"])
def test_usual_places_need_no_key(place, network, tmp_path) -> None:
    content: Any = network
    for name in reversed(place.split(".")):
        content = {name: content, "epoch": 3}
    assert torch.equal(conv1(load_encoder(saved(content, tmp_path))), network["conv1.weight"])


def other(network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + 1 for name, value in network.items()}


CHOICES = {
    "two": lambda w: {"student": other(w), "teacher": w},
    "unusual": lambda w: {"teacher": w, "epoch": 3},
    "wrapped": lambda w: {"student": other(w), "teacher": renamed(w, "module.")},
    "names": lambda w: {"state_dict": {**renamed(other(w), "student."), **renamed(w, "teacher.")}},
    "with head": lambda w: {
        "state_dict": {**renamed(w, "module.teacher."), "module.predictor.weight": torch.ones(3)}
    },
}


@pytest.mark.parametrize("form", CHOICES)
def test_other_names_are_told_and_one_can_be_chosen(form, network, tmp_path) -> None:
    path = saved(CHOICES[form](network), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"teacher \(torchvision ResNet\).*choose one"
    ) as told:
        load_encoder(path)
    first = "student" if form in ("two", "wrapped", "names") else "teacher"
    assert f'load_encoder(path, key="{first}")' in str(told.value)
    assert f"checkpoint_key={first}" in str(told.value)
    assert torch.equal(conv1(load_encoder(path, key="teacher")), network["conv1.weight"])
    with pytest.raises(CheckpointError, match=r"no weights are called techer in it; .*teacher"):
        load_encoder(path, key="techer")


@pytest.mark.parametrize("name", ["encoder_q", "model_ema", "net", "student"])
def test_a_network_under_another_key_is_not_guessed(name, network, tmp_path) -> None:
    path = saved({name: network, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, tmp_path)
    with pytest.raises(CheckpointError, match=rf"{name} \(torchvision ResNet\): choose one"):
        load_encoder(path)
    assert torch.equal(conv1(load_encoder(path, key=name)), network["conv1.weight"])


def test_keys_go_as_deep_as_is_needed(network, tmp_path) -> None:
    path = saved({"ema": {"model": {"state_dict": renamed(network, "backbone.")}}}, tmp_path)
    for key in ("ema", "ema.model", "ema.model.state_dict", "ema.model.state_dict.backbone"):
        assert torch.equal(conv1(load_encoder(path, key=key)), network["conv1.weight"])
    with pytest.raises(CheckpointError, match=r"no weights are called ema\.x in it; .* ema \("):
        load_encoder(path, key="ema.x")


def test_a_second_network_in_the_file_is_mentioned(network, tmp_path) -> None:
    path = saved({"model": network, "model_ema": other(network)}, tmp_path)
    encoder = load_encoder(path)
    assert torch.equal(conv1(encoder), network["conv1.weight"])
    assert f"left out: fc (2), model_ema ({len(network)})" in load_report(encoder)
    averaged = load_encoder(path, key="model_ema")
    assert torch.equal(conv1(averaged), network["conv1.weight"] + 1)


def test_a_key_where_there_are_no_names_is_refused(network, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="has no name of its own, leave the key out"):
        load_encoder(saved(network, tmp_path), key="teacher")


def test_networks_of_an_unknown_kind_are_told_by_their_names(tmp_path) -> None:
    other = {"cls_token": torch.zeros(3), "blocks.0.weight": torch.zeros(3)}
    path = saved({"teacher": other, "student": other, "epoch": 3}, tmp_path)
    expected = r"first weight is teacher\.cls_token\)\. It holds weights under teacher, student\."
    with pytest.raises(CheckpointError, match=expected):
        load_encoder(path)
    with pytest.raises(CheckpointError, match=r"neither .* \(its first weight is cls_token\)\.$"):
        load_encoder(path, key="teacher")


def test_safetensors_have_keys_too(network, tmp_path) -> None:
    path = tmp_path / "both.safetensors"
    save_file({**renamed(network, "student."), **renamed(other(network), "teacher.")}, path)
    with pytest.raises(CheckpointError, match=r"student \(torchvision ResNet\), teacher"):
        load_encoder(path)
    assert torch.equal(conv1(load_encoder(path, key="student")), network["conv1.weight"])


def test_our_own_checkpoints_may_be_compiled_and_averaged(cmp_checkpoint, tmp_path) -> None:
    content = read_checkpoint(cmp_checkpoint / "checkpoints/best.ckpt")
    weights = content["state_dict"]
    path = saved({**content, "state_dict": renamed(weights, "_orig_mod.")}, tmp_path)
    wanted = weights["encoder.conv1.weight"]
    assert torch.equal(conv1(load_encoder(path)), wanted)
    assert torch.equal(load_method(path).state_dict()["encoder.conv1.weight"], wanted)

    path = saved({**content, "ema": {"weights": other(weights)}}, tmp_path)
    assert torch.equal(conv1(load_encoder(path)), wanted)
    assert torch.equal(conv1(load_encoder(path, key="ema.weights")), wanted + 1)
    method = load_method(path, key="ema.weights")
    assert torch.equal(method.state_dict()["encoder.conv1.weight"], wanted + 1)
    with pytest.raises(
        CheckpointError, match=r"under teacher, but under state_dict and ema\.weights"
    ):
        load_method(path, key="teacher")
