"""Which propagation an encoder gets, and what is scored beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches, LabColor, NoMotion
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.propagation.choice import FittingPropagator, fitted, preset
from selfsup_motion.tasks.propagation.followers import baselines, evaluated_follower
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.weights.checkpoints import load_encoder

PLAIN = {"layer": None, "precision": "32", "seed": 0}


def auto(*overrides: str) -> Any:
    config = compose([*overrides], config_name="evaluate")
    return build(config.propagator, "propagator")


@pytest.fixture(scope="module")
def corrflow_run(tmp_path_factory):
    """A checkpoint of `experiment=corrflow` that has not learned anything."""
    cfg = compose(["experiment=corrflow"])
    method = build(cfg.method, "method")
    run = tmp_path_factory.mktemp("corrflow")
    (run / "checkpoints").mkdir()
    config = {
        name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("method", "encoder")
    }
    ours = {"version": "0", "experiment": "corrflow", "config": config}
    content = {"state_dict": method.state_dict(), "global_step": 1, "selfsup_motion": ours}
    torch.save(content, run / "checkpoints" / "best.ckpt")
    return run


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (LabColor(4), "color"),
        (ColorPatches(4, 12, 3), "patches"),
        (ResNetEncoder(10, width=8), "cosine"),
        (CorrFlowResNet((8, 8, 8, 8), 1, 8), "learned"),
        (NoMotion(), "none"),
    ],
)
def test_propagation_fits_the_encoder(encoder, expected):
    propagation = fitted(auto(), encoder, None, encoder.stride)
    summary = propagation.summary()
    assert summary.pop("name") == expected
    assert summary == ({} if expected == "none" else preset(expected))


def test_features_of_corrflow_are_compared_as_they_were_trained(corrflow_run, cmp_checkpoint):
    encoder = load_encoder(corrflow_run)
    found = fitted(auto(), encoder, None, 4)
    assert str(found).startswith("corrflow, which fits the encoder (the previous frame; radius 6;")
    assert fitted(auto(), encoder, "layer1", 2).summary()["name"] == "learned"
    assert fitted(auto(), load_encoder(cmp_checkpoint), None, 8).summary()["name"] == "cosine"
    joints = auto("task=jhmdb", "data.root=x")
    assert fitted(joints, encoder, None, 4).summary()["name"] == "crw_jhmdb"


def test_given_settings_win():
    propagator = auto("propagator.recent=3", "propagator.top_k=null")
    assert isinstance(propagator, FittingPropagator)
    found = fitted(propagator, LabColor(4), None, 4)
    changed = {"recent": 3, "top_k": None}
    assert found.summary() == {"name": "color", **preset("color"), **changed}
    assert str(found).startswith("color with recent, top_k as given, which fits the encoder (")
    named = auto("propagator=mast")
    assert isinstance(named, LabelPropagator)
    assert fitted(named, LabColor(4), None, 4).propagator is named


def test_a_given_short_side_is_that_of_every_propagation():
    for propagator in (auto(), auto("propagator=patches"), auto("propagator.short_side=200")):
        found = fitted(propagator, LabColor(4), None, 4, 96).propagator
        assert found.size.of((480, 854)) == (96, 171)
        assert found.size.of((48, 60)) == (96, 120), "smaller frames, too"
        own = fitted(propagator, LabColor(4), None, 4, None).propagator
        assert own.size.of((480, 854)) == (480, 854)
    assert preset("learned")["short_side"] == preset("patches")["short_side"] == 360
    patches = fitted(auto(), ColorPatches(4, 12, 3), None, 4).propagator
    assert patches.size.of((480, 854)) == (360, 640)
    assert patches.size.of((854, 480)) == (640, 360)
    assert patches.size.of((128, 128)) == (128, 128), "what is smaller keeps its size"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["propagator.learned=crv"], "propagator.learned=crv: expected one of "),
        (["propagator.colors=auto"], "propagator.colors=auto: expected one of"),
        (["propagator.temperature=0"], "temperature must be positive"),
    ],
)
def test_wrong_settings_are_refused_before_an_encoder_is_read(overrides, expected):
    with pytest.raises(UserError, match=expected):
        auto(*overrides)


def test_encoders_of_clips_are_refused():
    encoder = build(compose(["encoder=r3d8"], config_name="evaluate").encoder, "encoder")
    with pytest.raises(UserError, match="SmallResNet3d is an encoder of clips"):
        evaluated_follower(encoder, auto(), layer=None, precision="32", device="cpu", folder=None)


def test_a_baseline_that_is_the_result_itself_is_left_out(tmp_path):
    names = {}
    for encoder in (NoMotion(), LabColor(4), ResNetEncoder(10, width=8)):
        result = evaluated_follower(
            encoder, auto(), layer=None, precision="32", device="cpu", folder=tmp_path
        )  # fmt: skip
        found = baselines(["identity", "raw_color", "identity", "untrained"], result, **PLAIN)
        names[type(encoder)] = [follower.name for follower in found]
        for follower in found:
            assert follower.folder == tmp_path / "baselines" / follower.name
    assert names[NoMotion] == ["raw_color"]
    assert names[LabColor] == ["identity"]
    assert names[ResNetEncoder] == ["identity", "raw_color"]
