"""Networks learn to name actions; every test video is counted once, by all its views."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from selfsup_motion.apps.preflight import filled_from_data
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.motion import ACTIONS
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.methods.parts.schedules import cosine_with_rise
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.actions.clips import (
    ActionTestView,
    ActionView,
    RandomActionClips,
    SpreadClips,
)
from selfsup_motion.tasks.actions.finetuning import ActionFinetuning
from selfsup_motion.tasks.actions.videos import ClipViews, ToyActions
from selfsup_motion.weights.checkpoints import load_method

VIEWS = ClipViews(length=4, stride=4, clips=2, crops=1, short_side=32, size=32)
PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0}


def view(**changes) -> ActionView:
    return ActionView(**{"size": 32, "short_side": (32, 36), "flip": 0.5, **PLAIN, **changes})


def small_encoder() -> SmallResNet3d:
    return SmallResNet3d(width=8, widths=[16, 32], strides=[(1, 2), (2, 2)])


def network(encoder: nn.Module | None = None, **changes) -> ActionFinetuning:
    torch.manual_seed(0)
    options = {
        "classes": ACTIONS,
        "dropout": 0.0,
        "optimizer": partial(torch.optim.AdamW, lr=1e-2),
        "schedule": partial(cosine_with_rise, rise=0.1, initial_factor=0.1),
    }
    return ActionFinetuning(encoder=encoder or small_encoder(), **{**options, **changes})


class Numbered(Source):
    """Videos whose every pixel is their number; `broken` ones cannot be read."""

    classes = ("even", "odd")

    def __init__(self, count: int, broken: Sequence[int] = ()) -> None:
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def info(self, index: int) -> VideoInfo:
        return VideoInfo(f"video {index}", 20, 30.0, 32, 40)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        if index in self.broken:
            raise ClipReadError(f"video {index} is damaged.")
        frames = np.full((len(frame_indices), 3, 32, 40), index, np.uint8)
        return Clip(frames=frames, key=f"video {index}", labels={"action": np.array(index % 2)})


def data(train: object, val: object, **changes) -> ClipDataModule:
    options = {"view": view(), "batch_size": 4, "val_batch_size": 2, "max_bad_fraction": 0.5}
    return ClipDataModule(
        source=train,
        val_source=val,
        sampler=RandomActionClips(length=4, stride=4, clips_per_video=1),
        val_sampler=SpreadClips(VIEWS),
        val_view=ActionTestView(VIEWS),
        **{**options, **changes},
    )


def trainer(folder: Path, **options) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
        "max_epochs": -1,
        "check_val_every_n_epoch": None,
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**quiet, **options})


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "results" / "predictions.csv").open() as stream:
        return list(csv.DictReader(stream))


class Memory(ToyActions):
    """Toy actions, each rendered once."""

    def __init__(self, source: ToyWorld) -> None:
        super().__init__(source)
        every = list(range(source.num_frames))
        self._clips = [source.read(i, every) for i in range(len(source))]

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        clip = self._clips[index]
        return Clip(frames=clip.frames[list(frame_indices)], key=clip.key, labels=clip.labels)


def test_it_learns_the_toy_actions_it_is_shown(tmp_path):
    toys = Memory(ToyWorld(12, size=32, num_frames=24))
    run = trainer(tmp_path, max_steps=60, val_check_interval=60)
    made = network()
    run.fit(made, data(toys, toys, batch_size=6, view=view(short_side=(32, 32))))
    assert run.callback_metrics["val/video_top1"] > 0.8
    assert run.callback_metrics["val/loss"] < 1.0
    rows = predictions(tmp_path)
    assert [row["video"] for row in rows] == toys.names
    right = [row["answer"] == row["class"] for row in rows]
    assert np.mean(right) == pytest.approx(float(run.callback_metrics["val/video_top1"]))
    columns, table = made.report(run.callback_metrics)
    assert columns[0] == "12 test videos"
    assert table[0] == ["chance", "12.5%"]
    picture = made.figures(next(iter(data(toys, toys).val_dataloader())))["videos"]
    assert (picture.dtype, picture.ndim) == (np.uint8, 3)


class Reads(nn.Module):
    """Features of a clip: its level, and one."""

    input_mean, input_std, sees, out_channels = (0.0,) * 3, (1.0,) * 3, "clip", 2

    def forward(self, x: Tensor) -> Tensor:
        level = x.mean((1, 2, 3, 4), keepdim=True)
        return torch.cat([level, torch.ones_like(level)], 1)


def parity_network() -> ActionFinetuning:
    """Says "odd" of all videos above 2.5, more surely the higher they are."""
    made = network(Reads(), classes=Numbered.classes)
    with torch.no_grad():
        made.head.out.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, -2.5]]))
        made.head.out.bias.zero_()
    return made


def test_videos_are_counted_once_however_many_devices(tmp_path):
    scores = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        options = {"strategy": "ddp_fork"} if devices == 2 else {}
        run = trainer(folder, devices=devices, **options)
        run.validate(parity_network(), data(Numbered(4), Numbered(7)), verbose=False)
        scores[devices] = {k: float(v) for k, v in run.callback_metrics.items()}
        rows = predictions(folder)
        assert [row["video"] for row in rows] == [f"video {i}" for i in range(7)]
        assert [row["answer"] for row in rows] == ["even"] * 3 + ["odd"] * 4
    assert scores[1] == pytest.approx(scores[2])
    # 0, 2, 3 and 5 are named rightly
    assert scores[1]["val/video_top1"] == scores[1]["val/clip_top1"] == pytest.approx(4 / 7)
    assert scores[1]["val/videos"] == 7
    margin = np.arange(7) - 2.5
    right = np.where(np.arange(7) % 2, margin, -margin)
    assert scores[1]["val/loss"] == pytest.approx(np.log1p(np.exp(-right)).mean(), rel=1e-4)


def test_an_unreadable_test_video_lets_no_other_one_count_twice(tmp_path):
    run = trainer(tmp_path)
    run.validate(parity_network(), data(Numbered(4), Numbered(6, broken=[3])), verbose=False)
    assert run.callback_metrics["val/videos"] == 5
    assert "video 3" not in {row["video"] for row in predictions(tmp_path)}


def test_a_video_is_what_its_views_say_on_average(tmp_path):
    """Two views barely right against one that is surely wrong: the views win, the video loses."""
    made = network(Reads(), classes=Numbered.classes)
    scores = torch.tensor([[[0.1, 0.0], [0.1, 0.0], [0.0, 3.0]]])
    made._view_scores = lambda clips: scores
    batch = {"clip": torch.zeros(1), "action": torch.tensor([0]), "key": ["video 0"]}
    made.validation_step(batch, 0)
    (answer,) = made._answers
    assert answer.right == pytest.approx(2 / 3)
    assert answer.probabilities == pytest.approx(scores.softmax(2).mean(1)[0].tolist())
    assert answer.probabilities[0] < 0.5


@pytest.mark.parametrize("kind", ["clips", "images"])
def test_the_whole_encoder_is_trained_even_if_it_came_frozen(kind):
    encoder = small_encoder() if kind == "clips" else ResNetEncoder(10, width=8, out_channels=16)
    encoder.eval().requires_grad_(False)
    made = network(encoder)
    made.log = lambda *_, **__: None
    before = {k: v.clone() for k, v in made.state_dict().items() if k.endswith("running_mean")}
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    batch = {"clip": clips, "action": torch.tensor([0, 1])}
    made.training_step(batch, 0).backward()
    assert all(p.grad is not None for p in made.parameters())
    state = made.state_dict()
    assert before
    assert all(not torch.equal(state[name], value) for name, value in before.items())


def test_one_change_of_colour_is_that_of_the_whole_clip():
    made = network(Reads(), classes=Numbered.classes)
    clips = torch.full((1, 4, 3, 8, 8), 100, dtype=torch.uint8)
    brighter = torch.tensor([[[1.5, 1.0, 1.0, 0.0]]])
    with torch.no_grad():
        made.head.out.weight.copy_(torch.eye(2))
        made.head.out.bias.zero_()
        # the encoder wants levels from 0 to 255
        assert made(clips)[0, 0].item() == pytest.approx(100, rel=1e-5)
        assert made(clips, brighter)[0, 0].item() == pytest.approx(150, rel=1e-5)


def test_encoders_that_do_not_tell_what_they_give_are_refused():
    with pytest.raises(UserError, match="Identity has no input_mean, which is needed here"):
        network(nn.Identity())
    with pytest.raises(UserError, match="Conv3d has no input_mean"):
        network(nn.Conv3d(3, 4, 1))


@pytest.fixture
def ucf(tmp_path) -> Path:
    """Official lists of two classes, 60 training videos that nobody opens."""
    names = [f"{action}/v_{action}_g{i:02d}_c01.avi" for action in "AB" for i in range(31)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "classInd.txt").write_text("1 A\n2 B\n")
    train = [f"{n} {'AB'.index(n[0]) + 1}" for n in names if "g00" not in n]
    (tmp_path / "trainlist01.txt").write_text("\n".join(train))
    (tmp_path / "testlist01.txt").write_text("\n".join(n for n in names if "g00" in n))
    return tmp_path


def test_the_published_schedule_follows_from_passes_and_the_lists(ucf):
    overrides = ["task=ucf101_finetune", f"data.root={ucf}", "encoder=r3d8", "data.batch_size=6"]
    cfg = compose(overrides, config_name="evaluate")
    cfg = filled_from_data(cfg, build(cfg.data.actions.train, "data"))
    assert (cfg.videos, cfg.trainer.max_steps, cfg.trainer.val_check_interval) == (60, 3000, 300)
    assert list(cfg.method.classes) == ["A", "B"]
    assert cfg.method.schedule.rise * cfg.trainer.max_steps == pytest.approx(100)
    # both published rates of both batches lie on one line
    for name, large, small in (("ucf101", 4e-3, 1.5e-3), ("hmdb51", 2e-3, 7.5e-4)):
        cfg = compose([f"task={name}_finetune", f"data.root={ucf}"], config_name="evaluate")
        base = cfg.method.optimizer.lr / cfg.lr_scaling.base_batch_size
        assert (base * 1024, base * 384) == pytest.approx((large, small))
    made = build(cfg.method.schedule, "s")
    assert made.keywords == {"rise": pytest.approx(1 / 30), "initial_factor": 0.1}


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "evaluate")


def test_a_run_of_evaluate_trains_and_its_checkpoint_names_actions(tmp_path, evaluate):
    size = ["data.size=32", "task.views.size=32", "task.views.short_side=32", "task.views.clips=1"]
    videos = [f"data.actions.{part}.source.num_videos=6" for part in ("train", "test")]
    arguments = [
        "task=toy_actions_finetune", "encoder=r3d8", "trainer=cpu", "trainer.max_steps=2",
        "view.short_side=[32,40]", "task.views.length=4", "data.batch_size=3", "data.num_workers=0",
        "paths.output_dir=run", *size, *videos,
    ]  # fmt: skip
    assert evaluate(*arguments) == 0
    assert len(predictions(tmp_path / "run")) == 6
    assert list((tmp_path / "run" / "figures").glob("*_videos.png"))
    method = load_method(tmp_path / "run")
    assert method.classes == list(ACTIONS)
    assert method(torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8)).shape == (2, 8)


def test_a_wrong_list_is_one_sentence(ucf, evaluate, capsys):
    (ucf / "testlist01.txt").write_text("A/v_A_g00_c01.avi\nC/x.avi\n")
    assert evaluate("task=ucf101_finetune", f"data.root={ucf}", "encoder=r3d8") == 2
    message = capsys.readouterr().err.strip()
    expected = f"{ucf}/testlist01.txt:2: 'C/x.avi' names no class of {ucf}/classInd.txt."
    assert message == expected
