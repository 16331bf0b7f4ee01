"""`evaluate task=arrow_answers` and `task=flow_hints`: a CMP is asked what users ask."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from davis_like import write_davis

from selfsup_motion.data.reading.masks import write_mask
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose

ASKED = ["arrow_0", "arrow_4", "arrow_15", "click_1", "click_33"]
TOY = ("data=toy", "data.size=64", "data.sequences.length=5", "data.sequences.source.num_videos=2")


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "evaluate", "device=cpu")


def summary(folder: str = "run") -> dict:
    return json.loads(Path(folder, "summary.json").read_text())


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_the_toy_world_is_asked_about_and_a_resumed_run_keeps_what_is_finished(
    evaluate, folder, capsys, cmp_checkpoint
):
    run = ("task=arrow_answers", *TOY, f"checkpoint={cmp_checkpoint}")
    assert evaluate(*run, "paths.output_dir=run") == 0
    told = capsys.readouterr().out
    found = summary()
    assert list(found["metrics"]) == ASKED
    assert all(0 <= value <= 1 for value in found["metrics"].values())
    assert list(found["baselines"]) == ["refined", "nearest", "edge_aware", "disc", "grabcut"]
    assert list(found["baselines"]["edge_aware"]) == ASKED[:3]
    assert found["encoder"] == "CMP"
    # the mean of all questions, and its error beside it
    values = np.array([float(row["arrow_0"]) for row in table("run/per_question.csv")])
    assert len(values) >= 6
    error = values.std(ddof=1) / len(values) ** 0.5
    assert found["metrics"]["arrow_0"] == pytest.approx(values.mean())
    assert found["standard_errors"][""]["arrow_0"] == pytest.approx(error)
    (row,) = [line for line in told.splitlines() if line.startswith("CMP ")]
    assert row.split()[1:3] == [f"{values.mean():.3f}", f"±{error:.3f}"]
    names = [row["sequence"] for row in table("run/per_sequence.csv")]
    assert names == ["toy-000000", "toy-000001"]
    assert table("run/baselines/grabcut/per_sequence.csv")[0].keys() == {"sequence", *ASKED}
    for asked in ASKED:
        picture = cv2.imread(f"run/pictures/{asked}.png")
        assert picture.shape[0] > 3 * 240
        assert picture.shape[1] > 320 * (4 if asked.startswith("click") else 6)

    lines = Path("run/answers.jsonl").read_text().splitlines()
    Path("run/answers.jsonl").write_text(f"{lines[0]}\n{lines[1][:40]}")
    shutil.rmtree("run/pictures")
    assert evaluate(*run, "resume=run") == 0
    assert "run/answers.jsonl:2 is damaged or incomplete" in capsys.readouterr().out
    assert summary()["metrics"] == found["metrics"]
    assert Path("run/answers.jsonl").read_text().splitlines() == lines
    assert Path("run/pictures/click_1.png").is_file()
    # finished sequences are believed
    Path("run/answers.jsonl").write_text("\n".join(line.replace("0.", "0.0") for line in lines))
    assert evaluate(*run, "resume=run") == 0
    assert summary()["metrics"]["arrow_0"] < found["metrics"]["arrow_0"]
    assert evaluate(*run, "resume=run", "task.radius=0.2") == 2
    assert "resume=run: its run used another task" in capsys.readouterr().err


def test_the_size_that_the_network_sees_and_what_stands_beside_it_can_be_chosen(
    evaluate, folder, cmp_checkpoint
):
    write_davis(folder / "davis", count=3, size=(96, 120))
    run = ("task=arrow_answers", "data.root=davis", f"checkpoint={cmp_checkpoint}")
    few = ("task.baselines=[]", "task.sequences=[dog]")
    for side in (64, 96, 128):
        short = f"task.short_side={side}"
        assert evaluate(*run, *few, short, f"paths.output_dir=run{side}") == 0
    assert evaluate(*run, *few, "paths.output_dir=run") == 0
    assert summary("run")["metrics"] == summary("run128")["metrics"], "as it was trained"
    assert summary("run64")["metrics"] != summary("run128")["metrics"]
    assert summary("run")["baselines"] == {}
    assert [row["sequence"] for row in table("run/per_sequence.csv")] == ["dog"]


def write_stills(root: Path) -> None:
    """Two photos in VOC's layout, with the masks of their objects."""
    for name in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for number in range(2):
        ids = np.zeros((48, 64), np.uint8)
        ids[6:40, 8:30], ids[10:40, 36:60], ids[:3] = 1, 2, 255
        image = np.full((48, 64, 3), 40, np.uint8)
        image[ids == 1], image[ids == 2] = (200, 60, 60), (60, 60, 200 + number)
        cv2.imwrite(str(root / f"JPEGImages/{number}.jpg"), image)
        write_mask(root / f"SegmentationObject/{number}.png", ids)
    (root / "ImageSets/Segmentation/val.txt").write_text("0\n1\n")


@pytest.mark.slow
def test_photos_with_masks_in_the_layouts_of_voc_and_coco(evaluate, folder, cmp_checkpoint):
    write_stills(folder / "voc")
    run = ("task=arrow_answers", f"checkpoint={cmp_checkpoint}", "task.baselines=[grabcut]")
    assert evaluate(*run, "data=voc2012", "data.root=voc", "paths.output_dir=voc_run") == 0
    names = [row["question"] for row in table("voc_run/per_question.csv")]
    assert names == ["0/1", "0/2", "1/1", "1/2"]
    assert summary("voc_run")["baselines"]["grabcut"]["click_33"] > 0.9

    boxes = {1: [8, 6, 22, 34], 2: [36, 10, 24, 30]}
    annotations = [
        {
            "id": 10 * image + number, "image_id": image, "category_id": 1, "bbox": box,
            "area": box[2] * box[3], "iscrowd": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for image in range(2)
        for number, (x, y, w, h) in boxes.items()
        for box in [[x, y, w, h]]
    ]  # fmt: skip
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 48, "width": 64} for n in range(2)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    Path("coco.json").write_text(json.dumps(content))
    files = ("data.root=null", "data.val_annotations=coco.json", "data.val_images=voc/JPEGImages")
    assert evaluate(*run, "data=coco", *files, "paths.output_dir=coco_run") == 0
    assert [row["question"] for row in table("coco_run/per_question.csv")] == names
    # the same objects and the same points
    cuts = (table(f"{name}/baselines/grabcut/per_question.csv") for name in ("voc_run", "coco_run"))
    for one, other in zip(*cuts, strict=True):
        assert float(one["arrow_4"]) == pytest.approx(float(other["arrow_4"]), abs=0.01)


def test_hints_of_toy_flow_are_filled_in(evaluate, folder, capsys, cmp_checkpoint):
    world = (*TOY[:2], TOY[-1])
    run = ("task=flow_hints", *world, f"checkpoint={cmp_checkpoint}")
    assert evaluate(*run, "paths.output_dir=run") == 0
    told = capsys.readouterr().out
    found = summary()
    assert list(found["metrics"])[3:] == ["ratio_1", "ratio_8", "ratio_32"]
    assert set(found["baselines"]) == {"nearest", "edge_aware"}
    assert found["baselines"]["edge_aware"]["ratio_8"] == 1
    assert found["baselines"]["nearest"]["epe_32"] > found["baselines"]["edge_aware"]["epe_32"] > 0
    pairs = table("run/per_pair.csv")
    base = table("run/baselines/edge_aware/per_pair.csv")
    ratios = [float(a["epe_8"]) / float(b["epe_8"]) for a, b in zip(pairs, base, strict=True)]
    assert found["metrics"]["ratio_8"] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert "edge-aware" in told
    assert Path("run/flow.png").is_file()
    stamp = Path("run/errors.jsonl").read_text()
    assert evaluate(*run, "resume=run") == 0
    assert Path("run/errors.jsonl").read_text() == stamp
    assert summary()["metrics"] == found["metrics"]


def write_corrflow(run: Path) -> None:
    cfg = compose(["experiment=corrflow", "encoder.widths=[8,8,8,8]"])
    method = build(cfg.method, "method", encoder=build(cfg.encoder, "encoder"))
    (run / "checkpoints").mkdir(parents=True)
    config = {n: OmegaConf.to_container(cfg[n], resolve=True) for n in ("method", "encoder")}
    ours = {"version": "0", "experiment": "corrflow", "config": config}
    content = {"state_dict": method.state_dict(), "global_step": 1, "selfsup_motion": ours}
    torch.save(content, run / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Which network? Give checkpoint=<file or run folder> of a CMP, or checkpoint=auto"),
        (("encoder=lab_color",), "task=arrow_answers asks a whole CMP, not an encoder; give check"),
        (("checkpoint=nowhere",), "checkpoint=nowhere"),
        (("checkpoint=corrflow",), "it holds a CorrFlow, and only CMP follows arrows"),
        (("checkpoint=cmp", "overlay=true"), "task=arrow_answers has nothing to draw"),
        (("checkpoint=cmp", "task.radius=-1"), "task.radius=-1: expected a share of the short"),
        (("checkpoint=cmp", "task.zoom=0.5"), "task.zoom=0.5: expected at least 1"),
        (("checkpoint=cmp", "task.short_side=0"), "task.short_side=0: expected at least 1 pixel"),
        (("checkpoint=cmp", "task.baselines=[disk]"), "disc"),
        (("checkpoint=cmp", "task.sequences=[toy-00001]"), "did you mean toy-000001?"),
        (("checkpoint=cmp", "propagator=crw"), "task=arrow_answers does not use it"),
    ],
)
def test_mistakes_are_told_in_a_sentence(evaluate, folder, capsys, cmp_checkpoint, arguments, told):
    Path("cmp").symlink_to(cmp_checkpoint)
    if "checkpoint=corrflow" in arguments:
        write_corrflow(Path("corrflow"))
    assert evaluate("task=arrow_answers", *TOY, *arguments) == 2
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not Path("outputs").exists()


def test_data_without_what_is_asked_about_are_told(evaluate, folder, capsys):
    assert evaluate("task=arrow_answers", "data=flow_pairs", "data.root=.", "checkpoint=x") == 2
    assert "has no labelled photos" in capsys.readouterr().err
    assert evaluate("task=flow_hints", "data=davis2017", "data.root=.", "checkpoint=x") == 2
    assert "has no labelled flow pairs" in capsys.readouterr().err
