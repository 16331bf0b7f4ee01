"""What the config in a checkpoint may call: our own classes, and what the user trusts by name."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from selfsup_motion import load_encoder, load_method
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.settings.trust import packages
from selfsup_motion.weights.used import untrained_copy

SOURCE = """
import os
import subprocess
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from torch import nn

from selfsup_motion.models.resnet import ResNetEncoder

SETTINGS = {}


class Net(nn.Module):
    def __init__(self, channels, act=None):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(3, channels, 3)

    @classmethod
    def wide(cls):
        return cls(8)


def make(channels):
    return Net(channels)


class Method(pl.LightningModule):
    def __init__(self, encoder, extra=None):
        super().__init__()
        self.encoder, self.extra = encoder, extra
"""
NET = {"_target_": "own_nets.models.Net", "channels": 4}
WHICH = {"_target_": "shutil.which", "cmd": "ls"}
STRANGER = {"_target_": "stranger.models.Net", "channels": 4}
METHOD = {"_target_": "own_nets.models.Method", "encoder": NET}


@pytest.fixture(autouse=True)
def own_packages(tmp_path, monkeypatch):
    """`own_nets`, and two that must not be imported: a namesake and a stranger."""
    for name in ("own_nets", "own_nets_evil", "stranger"):
        folder = tmp_path / "path" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("" if name == "own_nets" else "raise AssertionError")
        (folder / "models.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_nets"]:
        del sys.modules[name]


@pytest.fixture
def save(tmp_path):
    """Writes a checkpoint with a config; its weights are those of `Method`."""

    def write(method=METHOD, encoder=NET) -> Path:
        conv = nn.Conv2d(3, 4, 3).state_dict()
        weights = {f"encoder.conv.{name}": value for name, value in conv.items()}
        config = {"method": method, "encoder": encoder}
        ours = {"version": "0", "experiment": "own", "config": config}
        path = tmp_path / "own.ckpt"
        torch.save({"state_dict": weights, "global_step": 1, "selfsup_motion": ours}, path)
        return path

    return write


@pytest.mark.parametrize("trust", ["own_nets", ("own_nets",), ["torch", "own_nets.models"]])
def test_a_method_and_an_encoder_of_a_trusted_package_come_back(save, trust):
    path = save()
    stored = torch.load(path, weights_only=True)["state_dict"]["encoder.conv.weight"]
    method, encoder = load_method(path, trust=trust), load_encoder(path, trust=trust)
    assert type(method).__name__ == "Method"
    for net in (method.encoder, encoder, untrained_copy(encoder, 0)):
        assert type(net).__name__ == "Net"
    assert torch.equal(method.encoder.conv.weight, stored)
    assert torch.equal(encoder.conv.weight, stored)


@pytest.mark.parametrize("load", [load_method, load_encoder])
def test_without_trust_the_refusal_names_the_class_and_what_to_add(save, load):
    path = save()
    with pytest.raises(CheckpointError) as told:
        load(path)
    name = "Method" if load is load_method else "Net"
    assert f"wants to call own_nets.models.{name}, which is refused" in str(told.value)
    assert 'add trust=own_nets (in Python, trust="own_nets")' in str(told.value)
    assert "own_nets" not in sys.modules  # importing it would run its code


def test_a_second_package_is_added_to_the_first(save):
    with pytest.raises(CheckpointError, match=r"add trust=\[own_nets,stranger\]"):
        load_method(save({**METHOD, "extra": STRANGER}), trust="own_nets")


@pytest.mark.parametrize(
    "target",
    [
        "own_nets_evil.models.Net",  # a name that begins alike
        "stranger.own_nets.models.Net",
        "own_nets.models.os.system",
        "own_nets.models.subprocess.run",
        "own_nets.models.partial",
        "own_nets.models.Path.touch",
        "own_nets.models.pl.LightningModule.load_from_checkpoint",
        "own_nets.models.Method.load_from_checkpoint",  # inherited, reads pickles
        "own_nets.models.SETTINGS.update",
        "own_nets.models.nn.Module.load_state_dict",
        "builtins.eval",
        "os.system",
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.module.warnings.warn",
        "torch.optim.lr_scheduler.LambdaLR.load_state_dict",
        "selfsup_motion.training.run.Run",
    ],
)
def test_trust_reaches_no_further_than_the_package(save, target):
    called = {"_target_": target, "path": "touched", "args": ["touch", "touched"]}
    with pytest.raises(CheckpointError, match="which is refused"):
        load_method(save({**METHOD, "extra": called}), trust="own_nets")
    assert "own_nets_evil" not in sys.modules
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("target", ["own_nets.models.os.system", "os.system", "torch.load"])
def test_what_does_whatever_it_is_told_is_not_recommended(save, target):
    with pytest.raises(CheckpointError) as told:
        load_method(save({**METHOD, "extra": {"_target_": target}}), trust="own_nets")
    assert "add trust" not in str(told.value)


@pytest.mark.parametrize(
    "hidden",
    [
        (WHICH,),
        {"_target_": "own_nets.models.make", "_recursive_": False, "channels": WHICH},
        {"_target_": "own_nets.models.make", "_args_": [WHICH]},
        {"a": [[WHICH]]},
    ],
)
def test_calls_are_found_wherever_they_stand(save, hidden):
    with pytest.raises(CheckpointError, match=r"shutil\.which, which is refused"):
        load_method(save({**METHOD, "extra": hidden}), trust="own_nets")


@pytest.mark.parametrize("text", ["${oc.create:{_target_:shutil.which,cmd:ls}}", "${oc.env:HOME}"])
def test_a_reference_in_a_checkpoint_is_a_text(save, text):
    assert load_method(save({**METHOD, "extra": text}), trust="own_nets").extra == text


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({"_target_": "own_nets.models.make", "channels": 2}, "Net"),
        ({"_target_": "own_nets.models.make", "_args_": [2]}, "Net"),
        ({"_target_": "own_nets.models.Net.wide"}, "Net"),
        ({"_target_": "own_nets.models.Net", "_partial_": True}, "partial"),
        ({"_target_": "own_nets.models.ResNetEncoder", "depth": 18}, "ResNetEncoder"),
        ({"_target_": "torch.nn.ReLU"}, "ReLU"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True}, "partial"),
        ((1, [2]), "list"),
    ],
)
def test_nodes_are_built_as_hydra_builds_them(save, extra, kind):
    if kind in ("Net", "ResNetEncoder", "ReLU"):  # whose weights the file lacks
        extra = {"inside": extra}
    made = load_method(save({**METHOD, "extra": extra}), trust="own_nets").extra
    made = made["inside"] if isinstance(made, dict) else made
    assert type(made).__name__ == kind


def test_what_the_caller_writes_himself_needs_no_trust(save):
    path = save({"_target_": "stranger.models.Method"}, {"_target_": "stranger.models.Net"})
    config = {"encoder": NET, "method": {**METHOD, "encoder": "${encoder}"}, "data": "${nowhere}"}
    assert type(load_method(path, config=config).encoder).__name__ == "Net"
    assert type(load_encoder(path, encoder=NET)).__name__ == "Net"


def test_settings_that_do_not_fit_the_class_are_one_sentence(save):
    with pytest.raises(CheckpointError, match=r"models\.Net cannot be made from the settings"):
        load_encoder(save(encoder={**NET, "width": 3}), trust="own_nets")


def test_a_class_that_is_gone_is_one_sentence(save):
    with pytest.raises(CheckpointError, match=r"own_nets\.models\.Old cannot be imported"):
        load_encoder(save(encoder={"_target_": "own_nets.models.Old"}), trust="own_nets")


@pytest.mark.parametrize(
    ("trust", "hint"),
    [
        ("own_nets.py", "did you mean own_nets?"),
        ("code/own_nets.py", "expected the name of a Python package"),
        ("*", "expected the name of a Python package"),
        ("", "expected the name of a Python package"),
        (["own_nets", "own nets"], "trust=own nets"),
    ],
)
def test_trust_is_the_name_of_a_package(trust, hint):
    with pytest.raises(UserError) as told:
        packages(trust)
    assert hint in str(told.value)
