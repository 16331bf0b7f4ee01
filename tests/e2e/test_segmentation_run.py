"""Segmentation from the command line, from checkpoints, and on two ranks."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from together import Ranks

from selfsup_motion import load_encoder
from selfsup_motion.data.reading.masks import read_mask, write_mask
from selfsup_motion.models.alexnet import AlexNetEncoder
from selfsup_motion.tasks.segmentation.method import Segmentation
from selfsup_motion.weights.checkpoints import load_method
from selfsup_motion.weights.used import load_report

TINY = (
    "data.size=64", "data.val_videos=3", "data.batch_size=4", "view.crop_size=64",
    "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer=cpu",
)  # fmt: skip
SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_voc_aug.py"


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "evaluate")


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def write_voc(root: Path, count: int = 4) -> None:
    """Images of different sizes in VOC's layout: dark ground, a bright car."""
    for index in range(count):
        size = 70 + 6 * index, 90 - 7 * index
        labels = np.zeros(size, np.uint8)
        labels[20:50, 10 + index : 60] = 7
        labels[0] = 255
        image = np.where(labels == 7, 210, 40).astype(np.uint8)
        for kind in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"JPEGImages/2007_{index}.jpg"), cv2.merge([image] * 3))
        write_mask(root / f"SegmentationClass/2007_{index}.png", labels)
    names = [f"2007_{index}" for index in range(count)]
    for part, chosen in (("train", names[:2]), ("val", names[2:])):
        text = "\n".join(chosen) + "\n"
        (root / f"ImageSets/Segmentation/{part}.txt").write_text(text)


def test_toy_probe_is_one_command(evaluate, tmp_path, capsys):
    given = ("encoder=resnet10", "encoder.width=8", "paths.output_dir=run")
    assert evaluate("task=toy_seg_linear", *given, *TINY) == 0
    assert "mean IoU" in capsys.readouterr().out
    run = tmp_path / "run"
    found = summary(str(run))
    assert found["task"] == "toy_seg_linear"
    assert 0 < found["metrics"]["val/miou"] < 1
    assert len(list((run / "results").rglob("*.png"))) == 3
    assert (run / "figures" / "step_000004_labels.png").is_file()
    assert "Encoder from no file" in (run / "train.log").read_text()


def test_a_run_of_cmp_is_probed_and_the_probe_can_be_loaded(evaluate, folder, cmp_checkpoint):
    given = (f"checkpoint={cmp_checkpoint}", "method.layer=null", "paths.output_dir=run")
    assert evaluate("task=toy_seg_linear", *TINY, *given) == 0
    assert f"Encoder from {cmp_checkpoint}" in Path("run/train.log").read_text()
    assert "left out: propagation" in Path("run/train.log").read_text()
    method = load_method("run")
    assert isinstance(method, Segmentation)
    before, after = load_encoder(cmp_checkpoint).state_dict(), method.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_task_that_goes_on_equals_one_that_was_not_stopped(evaluate, folder):
    small = ("encoder=resnet10", "encoder.width=8", "method.head.hidden=8", *TINY)
    task = ("task=toy_seg", *small, "callbacks.checkpoint.keep_every_n_steps=2")
    assert evaluate(*task, "paths.output_dir=whole") == 0
    half = "resume=whole/checkpoints/step_00000002.ckpt"
    assert evaluate(*task, half, "paths.output_dir=parts") == 0
    assert summary("parts")["resumed_from_step"] == 2
    whole, parts = (load_method(run).state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_a_puppet_is_parsed(evaluate, folder):
    small = ("encoder.width=8", "method.head.hidden=8", "paths.output_dir=run")
    assert evaluate("task=toy_parsing", "encoder=resnet10", *TINY, *small) == 0
    assert {"val/iou_of_left-arm", "val/iou_of_tail"} <= summary("run")["metrics"].keys()


def test_voc_of_any_sizes_is_learned_whole_or_by_windows(evaluate, folder):
    write_voc(folder / "voc")
    small = (
        "data.root=voc", "encoder=resnet10", "encoder.width=8", "method.head.hidden=16",
        "data.batch_size=2", "data.num_workers=0", "view.crop_size=64", "trainer=cpu",
        "method.optimizer.lr=0.05", "view.scale=[1.0,1.0]",
        "trainer.max_steps=30", "trainer.val_check_interval=30",
    )  # fmt: skip
    assert evaluate("task=voc2012_seg", *small, "paths.output_dir=whole") == 0
    windows = ("method.window=48", "method.window_step=24", "paths.output_dir=windows")
    assert evaluate("task=voc2012_seg", *small, *windows) == 0
    for run in ("whole", "windows"):
        metrics = summary(run)["metrics"]
        assert metrics["val/miou"] > metrics["val/miou_constant"] + 0.1
        assert "val/iou_of_cat" not in metrics, "a class that is nowhere"
        written = read_mask(Path(run, "results/2007_3.png"))
        assert written.shape == read_mask(Path("voc/SegmentationClass/2007_3.png")).shape
    assert (Path("whole/results/per_class.csv").read_text().splitlines()[1]).startswith("backgr")


def test_encoders_of_the_authors_form_are_read_for_alexnet(tmp_path):
    """What CMP's authors convert: the image encoder's weights alone, without later counters."""
    torch.manual_seed(0)
    theirs = AlexNetEncoder()
    path = tmp_path / "convert_iter_70000.pth.tar"
    torch.save({k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}, path)
    encoder = load_encoder(path)
    assert load_report(encoder) == f"{path}: 44 tensors, all of the AlexNetEncoder"
    assert all(torch.equal(v, encoder.state_dict()[k]) for k, v in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["task=voc2012_seg_alexnet"], "ResNetEncoder has no layer 'fc7'"),
        (
            ["task=voc2012_seg_alexnet", "method.layer=layer4"],
            "method.stride=32: layer4 of this ResNetEncoder has stride 8",
        ),
        (["encoder.output_stride=16"], "method.stride=8: layer4 of this ResNetEncoder has stride"),
        (["encoder=r3d8"], "Segmentation needs an encoder of images"),
        (["data.root=gone"], "data.root=gone: there is no such folder"),
        (["data.val.listing=empty.txt"], "voc/empty.txt is empty"),
        (["data.train.listing=all.txt"], "SegmentationClass has no 2007_9"),
        (["data.train.labels=colour"], "voc/colour/2007_0.png is a colour image (RGB)"),
        (["data.classes.names=[ground,thing]"], "has class 7: expected 0 to 1, or 255 for void"),
        (["data.val.images=other"], "voc/other/2007_2.jpg 9x8: expected the same size"),
        (["view.labels=parts"], "has no labels 'parts'"),
        (["device=cpu"], "device=cpu: task=voc2012_seg trains, use trainer=cpu"),
        (["overlay=true"], "task=voc2012_seg draws figures anyway, leave it out."),
        (["method.head.hiden=3"], "did you mean method.head.hidden?"),
    ],
)
def test_mistakes_are_one_sentence(evaluate, folder, capsys, change, expected):
    write_voc(folder / "voc")
    for name, text in (("empty", "\n"), ("all", "2007_0\n2007_9\n")):
        Path(f"voc/{name}.txt").write_text(text)
    Path("voc/colour").mkdir()
    Path("voc/other").mkdir()
    cv2.imwrite("voc/JPEGImages/2007_9.jpg", np.zeros((8, 9, 3), np.uint8))
    for index in range(4):
        colours = np.full((70 + 6 * index, 90 - 7 * index, 3), (0, 0, 128), np.uint8)
        cv2.imwrite(f"voc/colour/2007_{index}.png", colours)
        cv2.imwrite(f"voc/other/2007_{index}.jpg", np.zeros((8, 9, 3)))
    small = ("data.root=voc", "data.batch_size=2", "data.num_workers=0", "trainer=cpu")
    encoder = () if any("encoder=" in c for c in change) else ("encoder=resnet10",)
    assert evaluate("task=voc2012_seg", *small, *encoder, "paths.output_dir=run", *change) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert "Traceback" not in told.err + told.out
    assert not Path("run").exists()


def test_a_data_set_without_classes_is_refused(evaluate, folder, capsys):
    assert evaluate("task=voc2012_seg", "data=toy", "encoder=resnet10") == 2
    assert "task=voc2012_seg cannot learn from this data set" in capsys.readouterr().err


def test_sbd_becomes_train_aug(tmp_path):
    write_voc(tmp_path / "voc")
    (tmp_path / "sbd/cls").mkdir(parents=True)
    labels = np.zeros((20, 30), np.uint8)
    labels[3:9] = 15
    for name in ("2008_1", "2007_0", "2007_3"):  # one more, one of VOC's train, one of its val
        savemat(tmp_path / f"sbd/cls/{name}.mat", {"GTcls": {"Segmentation": labels}})
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "voc", "sbd"], cwd=tmp_path, capture_output=True, check=True
    )
    names = (tmp_path / "voc/ImageSets/Segmentation/train_aug.txt").read_text().split()
    assert names == ["2007_0", "2007_1", "2008_1"]
    assert b"3 images" in done.stdout
    written = tmp_path / "voc/SegmentationClassAug"
    np.testing.assert_array_equal(read_mask(written / "2008_1.png"), labels)
    own = tmp_path / "voc/SegmentationClass/2007_0.png"
    assert (written / "2007_0.png").read_bytes() == own.read_bytes()


def short_run(folder: str, devices: int) -> dict[str, float]:
    """Two steps of a task and its validation on five images, with the probe beside it."""
    import pytorch_lightning as pl

    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.terminal.console import quieten

    quieten()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    probe = ["callbacks=probe", "callbacks.probe.images=3", "callbacks.probe.test_images=2"]
    cfg = compose(
        ["task=toy_seg_linear", "encoder=resnet10", "encoder.width=8", *TINY, *probe,
         "method.head.normalise=false", "data.val_videos=5"],
        config_name="evaluate",
    )  # fmt: skip
    method = build(cfg.method, "method", encoder=build(cfg.encoder, "encoder"))
    trainer = pl.Trainer(
        max_steps=2, val_check_interval=2, check_val_every_n_epoch=None, accelerator="cpu",
        devices=devices, strategy="ddp" if devices > 1 else "auto", num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        callbacks=[build(cfg.callbacks.probe, "callbacks.probe")],
    )  # fmt: skip
    trainer.fit(method, build(cfg.data.module, "data"))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_ranks_sum_one_confusion_matrix(tmp_path):
    (alone,) = Ranks(1, short_run, str(tmp_path / "one"), 1).results(120)
    ranks = Ranks(2, short_run, str(tmp_path / "two"), 2).results(120)
    assert "val/probe_miou" in alone
    for rank in ranks:
        assert rank.keys() == alone.keys()
        for name, value in alone.items():
            assert rank[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name
    for run in ("one", "two"):
        assert len(list((tmp_path / run / "results").rglob("*.png"))) == 5
    tables = [(tmp_path / run / "results/per_class.csv").read_text() for run in ("one", "two")]
    assert tables[0] == tables[1]
