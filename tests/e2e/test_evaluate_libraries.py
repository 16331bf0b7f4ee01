"""`evaluate` with networks of other libraries: their weights are read, told, not needed later."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch

from selfsup_motion import load_encoder
from selfsup_motion.settings.groups import options

TOY = ("data=toy", "data.size=64", "data.sequences.length=4", "data.sequences.source.num_videos=1")
VIT = ("encoder=timm", "encoder.name=test_vit", "encoder.weights=vit.pth")


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "evaluate")


@pytest.fixture
def vit(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    weights = timm.create_model("test_vit").state_dict()
    torch.save({"model": weights}, "vit.pth")
    return weights


@pytest.mark.parametrize("task", ["davis2017", "jhmdb"])
def test_labels_are_followed_beside_the_network_before_training(evaluate, vit, capsys, task):
    arguments = (f"task={task}", *TOY, *VIT, "task.baselines=[untrained]", "device=cpu")
    more = ("task.size=[64,64]", "data.difficulty.puppet=1") if task == "jhmdb" else ()
    assert evaluate(*arguments, *more, "paths.output_dir=run") == 0
    assert "weights  vit.pth (timm's test_vit)" in capsys.readouterr().out
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["weights"]["path"] == str(Path("vit.pth").resolve())
    assert summary["baselines"]["untrained"] != summary["metrics"]


def test_random_weights_are_told_and_a_wrong_file_is_named(evaluate, folder, capsys):
    named = ("task=davis2017", *TOY, "encoder=timm", "device=cpu", "task.baselines=[]")
    assert evaluate(*named, "encoder.name=test_vit", "paths.output_dir=run") == 0
    told = "weights random (timm's test_vit): encoder.weights=<file> reads trained ones; nothing"
    assert told in " ".join(capsys.readouterr().out.split())
    assert evaluate(*named) == 2
    assert "encoder.name is not set" in capsys.readouterr().err
    torch.save({"conv1.weight": torch.zeros(3)}, "other.pth")
    assert evaluate(*named, "encoder.name=test_vit", "encoder.weights=other.pth") == 2
    error = capsys.readouterr().err
    assert "encoder.weights=other.pth: its weights are not those of timm's test_vit" in error
    assert "The file begins with conv1.weight." in error


def test_a_probes_run_gives_the_network_without_its_file(evaluate, vit, folder, capsys):
    tiny = (
        "trainer=cpu",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "data.num_workers=0",
        "data.size=64",
        "view.crop_size=64",
        "data.val_videos=3",
        "data.batch_size=4",
    )
    assert evaluate("task=toy_seg_linear", *VIT, *tiny, "paths.output_dir=run") == 2
    told = capsys.readouterr().err
    assert "has no layer 'layer4', it has network; null takes its output" in told
    more = (*tiny, "method.layer=null", "method.stride=null", "paths.output_dir=run")
    assert evaluate("task=toy_seg_linear", *VIT, *more) == 0
    Path("vit.pth").unlink()
    encoder = load_encoder("run")
    torch.testing.assert_close(encoder.network.pos_embed, vit["pos_embed"])
    assert encoder.weights_file is None


def test_every_library_can_be_chosen():
    assert {"timm", "transformers", "torchvision"} <= {*options("encoder")}
