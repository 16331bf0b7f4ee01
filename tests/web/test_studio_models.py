"""Which models the page offers, and to which tabs."""

import shutil

import pytest
import torch

from selfsup_motion.errors import UserError
from selfsup_motion.web.models import Models


@pytest.fixture
def runs(tmp_path, cmp_checkpoint):
    shutil.copytree(cmp_checkpoint, tmp_path / "train" / "mine")
    for name, method, encoder in (
        ("follows", "corrflow.CorrFlow", "corrflow_resnet.CorrFlowResNet"),
        ("clips", "mosi.MoSI", "resnet3d.ResNet3d"),
    ):
        folder = tmp_path / "train" / name
        (folder / "checkpoints").mkdir(parents=True)
        torch.save({}, folder / "checkpoints" / "last.ckpt")
        (folder / "config.yaml").write_text(
            f"method: {{_target_: selfsup_motion.methods.{method}}}\n"
            f"encoder: {{_target_: selfsup_motion.models.{encoder}}}\n"
        )
    damaged = tmp_path / "train" / "damaged" / "checkpoints"
    damaged.mkdir(parents=True)
    (damaged / "best.ckpt").write_bytes(b"PK")
    return tmp_path


def test_shipped_models_and_runs_are_offered_where_they_fit(runs):
    offered = {model.name: model for model in Models(None, runs, (), "cpu").offered()}
    assert set(offered["cmp"].unfit) == {"inspect.motion"}
    assert set(offered["run:train/mine"].unfit) == {"inspect.motion"}
    assert set(offered["run:train/follows"].unfit) == {"move", "annotate", "inspect.motion"}
    assert set(offered["color_patches"].unfit) == {"move", "annotate", "inspect.motion"}
    assert "only CMP" in offered["run:train/follows"].unfit["move"]
    assert set(offered["run:train/clips"].unfit) == {"move", "annotate", "follow", "inspect"}
    assert "sees clips" in offered["run:train/clips"].unfit["follow"]


def test_model_is_loaded_once_and_found_by_its_name_alone(runs):
    models = Models(None, runs, (), "cpu")
    loaded = models.cmp("run:train/mine")
    assert models.cmp("run:train/mine") is loaded
    assert not loaded.value.method.training
    for name in ("run:../x", str(runs / "train" / "mine"), "given", ""):
        with pytest.raises(UserError, match="no such model"):
            models.cmp(name)
    with pytest.raises(UserError, match="only CMP"):
        models.cmp("run:train/follows")


def test_colour_patches_are_an_encoder_without_a_checkpoint(tmp_path):
    encoder = Models(None, tmp_path, (), "cpu").encoder("color_patches", "inspect").value
    assert encoder(torch.zeros(1, 3, 16, 24)).shape == (1, encoder.out_channels, 4, 6)


def test_given_checkpoint_comes_first(runs, cmp_checkpoint):
    first = Models(str(cmp_checkpoint), runs, (), "cpu").offered()[0]
    assert first.name == "given"
    assert set(first.unfit) == {"inspect.motion"}


def test_damaged_checkpoint_is_told_when_it_is_used(runs):
    with pytest.raises(UserError, match="damaged"):
        Models(None, runs, (), "cpu").cmp("run:train/damaged")
