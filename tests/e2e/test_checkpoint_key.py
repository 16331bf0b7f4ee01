"""`checkpoint_key` with every command that takes `checkpoint`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from davis_like import write_davis

from selfsup_motion import load_method
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.weights.contents import read_checkpoint

FILE = "checkpoint=two.pth"


def save_two(network: Mapping[str, Tensor]) -> None:
    """A student that is all zeros, and a teacher."""
    student = {name: torch.zeros_like(value) for name, value in network.items()}
    torch.save({"student": student, "teacher": dict(network)}, "two.pth")


@pytest.fixture
def resnet(folder: Path) -> None:
    torch.manual_seed(0)
    save_two(ResNetEncoder(10, None, width=8).state_dict())


@pytest.mark.parametrize("task", ["davis2017", "toy_actions", "toy_seg", "toy_instances"])
def test_evaluate_tells_the_networks_of_a_file(task, command, resnet, capsys) -> None:
    arguments = (
        (f"task={task}", FILE, "data=toy") if task == "davis2017" else (f"task={task}", FILE)
    )
    assert command("evaluate", *arguments) == 2
    assert "two.pth: no network in the usual place; the networks in it are student (" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert command("evaluate", *arguments, "checkpoint_key=techer") == 2
    assert "no weights are called techer in it" in " ".join(capsys.readouterr().err.split())


def test_a_key_needs_a_file(command, folder, capsys) -> None:
    arguments = ("task=davis2017", "data=toy", "encoder=lab_color", "checkpoint_key=teacher")
    assert command("evaluate", *arguments) == 2
    assert "names weights in a file" in " ".join(capsys.readouterr().err.split())


def test_the_network_that_is_named_is_evaluated(command, resnet, capsys) -> None:
    write_davis(Path("davis"), ("cat",), count=3)
    arguments = ("task=davis2017", "data.root=davis", "device=cpu", "propagator=crw", FILE)
    assert command("evaluate", *arguments, "checkpoint_key=teacher", "paths.output_dir=out") == 0
    assert "two.pth (torchvision ResNet, key teacher)" in " ".join(capsys.readouterr().out.split())
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["weights"]["key"] == "teacher"


def test_a_task_trains_the_network_that_is_named(command, resnet) -> None:
    tiny = (
        "trainer=cpu", "trainer.max_steps=1", "trainer.limit_val_batches=1", "data.batch_size=2",
        "data.num_workers=0", "view.crop_size=64", "method.optimizer.lr=0",
    )  # fmt: skip
    out = "paths.output_dir=out"
    assert command("evaluate", "task=toy_seg", FILE, "checkpoint_key=teacher", *tiny, out) == 0
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["weights"]["key"] == "teacher"
    teacher = torch.load("two.pth", weights_only=True)["teacher"]["conv1.weight"]
    assert torch.equal(load_method("out").encoder.conv1.weight, teacher)


def test_propagate_takes_a_key(command, resnet, capsys) -> None:
    write_davis(Path("davis"), ("cat",), count=3)
    mask = "mask=davis/Annotations/480p/cat/00000.png"
    arguments = ("video=davis/JPEGImages/480p/cat", mask, "device=cpu", "propagator=crw", FILE)
    assert command("propagate", *arguments, "paths.output_dir=out") == 2
    assert "checkpoint_key=student" in " ".join(capsys.readouterr().err.split())
    assert command("propagate", *arguments, "checkpoint_key=teacher", "paths.output_dir=out") == 0
    assert "key teacher" in capsys.readouterr().out
    assert "checkpoint_key: teacher" in Path("out/config.yaml").read_text()


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("animate", ["arrows=[[30,20,12,0]]", "seconds=0.2", "fps=10"]),
        ("annotate", ["positive=[[30,20]]", "zoom=null"]),
    ],
)
def test_applications_take_a_key(verb, arguments, command, cmp_checkpoint, capsys) -> None:
    content = read_checkpoint(cmp_checkpoint / "checkpoints/best.ckpt")
    content["ema"] = {"weights": content["state_dict"]}  # as with callbacks=ema
    torch.save(content, "two.pth")
    noise = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)
    Image.fromarray(noise).save("photo.png")
    arguments = ["image=photo.png", *arguments, FILE, "short_side=48"]
    assert command(verb, *arguments, "checkpoint_key=ema") == 2
    assert "but under state_dict and ema.weights" in " ".join(capsys.readouterr().err.split())
    assert command(verb, *arguments, "checkpoint_key=ema.weights") == 0
    assert "two.pth (CMP, key ema.weights" in " ".join(capsys.readouterr().out.split())


def test_activation_takes_a_key(command, resnet, capsys) -> None:
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for level in (0, 100, 200):
            picture = np.full((64, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert command("activation", "video=clip.mp4", FILE) == 2
    assert "checkpoint_key=student" in " ".join(capsys.readouterr().err.split())
    assert command("activation", "video=clip.mp4", FILE, "checkpoint_key=teacher") == 2
    assert "only a torchvision ResNet, read it with load_encoder" in (
        " ".join(capsys.readouterr().err.split())
    )
