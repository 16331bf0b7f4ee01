"""What a command imports: of a mistake and of `--help` nothing that takes seconds, of an answer
what it uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image

from selfsup_motion.settings.groups import options

# all in one process, since to import PyTorch takes seconds: command lines one after the other, each
# with what it has printed and which of the slow packages have been imported so far
RUNNER = """
import contextlib, importlib, io, json, sys

SLOW = {
    "torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "kornia",
    "torch._dynamo", "cv2", "numpy", "scipy", "wandb", "hydra", "omegaconf", "onnx", "transformers",
}
import selfsup_motion
dir(selfsup_motion)
answers = [(0, "", sorted(SLOW & set(sys.modules)))]
for verb, *arguments in json.load(sys.stdin):
    sys.argv = [verb, *arguments]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            importlib.import_module(f"selfsup_motion.{verb}").main()
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException as error:
        status = f"{type(error).__name__}: {error}"
    answers.append((status, told.getvalue(), sorted(SLOW & set(sys.modules))))
names = selfsup_motion.ops.warp.__name__, selfsup_motion.methods.cmp.CMPNetwork.__name__
answers.append((0, " ".join(names), sorted(SLOW & set(sys.modules))))
json.dump(answers, sys.stdout)
"""

VIDEOS = "experiment=cmp data=videos"
TOY = "task=davis2017 data=toy"
CASES = [
    ("train", f"{VIDEOS} data.root=no", "data.root=no: there is no such folder."),
    ("train", f"{VIDEOS} data.root=empty", "The folder empty is empty"),
    ("train", f"{VIDEOS} data.root=empty data.lists=[no.csv]", "no.csv"),
    ("train", f"{VIDEOS} data.root=Empty", "there is no such folder, did you mean empty?"),
    ("train", "experiment=cmp data=frames data.root=no", "data.root=no: there is no such folder."),
    ("train", "experiment=cmp data=shards data.root=no", "data.root=no: there is no such folder."),
    ("train", "experiment=mosi data=images data.root=no", "data.root=no: there is no such folder."),
    ("train", "experiment=cmp trainer.max_steps=x", "trainer.max_steps=x: expected an integer"),
    ("train", "experiment=cmp +view.crop_sise=3", "did you mean view.crop_size?"),
    ("train", "experiment=cmp resume=no", "resume=no: there is no such run folder or checkpoint."),
    ("train", "experiment=corrflow method.centroids=no.json", "method.centroids=no.json: there is"),
    ("train", f"{VIDEOS} data.root=2024_01", """if 2024_01 is one, write 'data.root="2024_01"'."""),
    ("train", "experiment=cmp data=davis2017 data.root=empty", "no videos for training; choose"),
    ("train", "experiment=cmp encoder=identity trainer.max_steps=x", "trainer.max_steps=x: exp"),
    ("fit_colors", "data=davis2017 data.root=empty", "no videos for training; choose one of"),
    ("evaluate", "task=davis2017 data.root=no encoder=lab_color", "root=no: there is no such"),
    ("evaluate", "task=davis2017 data.root=empty encoder=lab_color", "no empty/JPEGImages/480p"),
    ("evaluate", TOY, "Which encoder?"),
    ("evaluate", f"{TOY} checkpoint=no", "checkpoint=no: there is no such checkpoint"),
    ("evaluate", f"{TOY} checkpoint=auto", "there is no finished CorrFlow run below outputs/"),
    ("evaluate", f"{TOY} encoder=lab_color resume=no", "resume=no: there is no such"),
    ("evaluate", f"{TOY} encoder=lab_color task.attributes=no", "task.attributes=no: there is no"),
    ("evaluate", "task=jhmdb data.root=empty encoder=lab_color", "expected JHMDB's folder"),
    ("evaluate", "task=tapvid data.root=empty encoder=lab_color", "expected TAP-Vid's pickles"),
    ("evaluate", "task=youtube_vos data.root=empty encoder=lab_color", "expected YouTube-VOS's"),
    ("evaluate", "task=vip data.root=empty encoder=lab_color", "expected VIP's folder"),
    ("evaluate", "task=badja data.root=empty encoder=lab_color", "expected BADJA's folder"),
    ("evaluate", "task=ucf101 data.root=empty encoder=r3d8", "classInd.txt"),
    ("evaluate", "task=ucf101_finetune data.root=no encoder=r3d8", "root=no: there is no such"),
    ("evaluate", "task=voc2012_seg data.root=no encoder=resnet18", "root=no: there is no such"),
    ("evaluate", "task=coco_instance data.root=no encoder=resnet18", "instances_train2017.json"),
    ("evaluate", "task=toy_seg encoder=resnet18 method.layer=3", "method.layer=3: expected a text"),
    ("animate", "image=no.jpg arrows=[[1,2,3,4]]", "image=no.jpg: there is no such file."),
    ("animate", "image=photo.jpg pins=[[99,2]]", "outside of the upright photo"),
    ("animate", "image=photo.jpg arrows=[1,2,3,4]", "for example arrows=[[1,2,3,4]]."),
    ("animate", "image=photo.jpg arrows=[[1,2,3]] checkpoint=x", "expected [x, y, dx, dy]"),
    ("animate", "image=photo.jpg arrows=[[99,2,3,4]] checkpoint=x", "outside of the upright photo"),
    ("animate", "image=photo.jpg arrows=no.json checkpoint=x", "arrows=no.json: No such file"),
    ("animate", "image=photo.jpg arrows=x checkpoint=x", "x: not a JSON file"),
    ("animate", "image=photo.jpg arrows=[[1,2,3,4]] checkpoint=auto", "no finished CMP run below"),
    ("animate", "image=x arrows=[[1,2,3,4]] checkpoint=x", "x cannot be decoded as an image"),
    ("annotate", "image=photo.jpg positive=[4,2]", "for example positive=[[4,2]]."),
    ("annotate", "image=photo.jpg checkpoint=x", "positive: no point on the object;"),
    ("annotate", "image=photo.jpg objects=no.json checkpoint=x", "objects=no.json: No such file"),
    ("propagate", "video=no.mp4 mask=no.png", "video=no.mp4: there is no such file or folder."),
    ("propagate", "video=photo.jpg mask=no.png", "mask=no.png: there is no such file or folder."),
    ("propagate", "video=photo.jpg", "What is to be followed?"),
    ("propagate", "video=photo.jpg mask=x", "video=photo.jpg: has a single frame"),
    ("propagate", "video=photo.jpg points=x", "x: not a JSON file"),
    ("propagate", "video=photo.jpg points=[4,2]", "for example points=[[4,2]]."),
    ("propagate", "video=photo.jpg mask=x checkpoint=no", "checkpoint=no: there is no such"),
    ("activation", "video=no.mp4", "video=no.mp4: there is no such file."),
    ("activation", "video=photo.jpg checkpoint=x", "has a single frame, which cannot move"),
    ("activation", "video=x checkpoint=x", "x cannot be opened"),
    ("activation", "video=x checkpoint=auto", "no finished MoSI run below outputs/"),
    ("prepare", "prepare=index prepare.root=no prepare.output=o", "prepare.root=no: there is no"),
    ("prepare", "prepare=flow prepare.root=empty prepare.output=o", "The folder empty is empty"),
    ("prepare", "prepare=shards prepare.root=empty", "for example prepare.output=/index"),
    ("fit_colors", "data=videos data.root=no", "data.root=no: there is no such folder."),
    ("fit_colors", "clusters=x", "clusters=x: expected an integer."),
    ("export", "checkpoint=cmp output=exported", "Which format? Add format=safetensors, torchv"),
    ("export", "checkpoint=cmp format=onnx", "Where to? Add output="),
    ("export", "checkpoint=cmp format=tf output=exported", "format=tf: expected one of"),
    ("export", "checkpoint=no format=onnx output=exported", "checkpoint=no: there is no such"),
    ("export", "checkpoint=cmp format=onnx output=o attention.top_k=3", "is for part=attention"),
    ("export", "checkpoint=cmp format=timm output=photo.jpg", "output=photo.jpg: exists already"),
    ("runs", "folder=no", "folder=no: there is no such folder."),
    ("runs", "folder=empty", "folder=empty: there are no runs below it."),
    ("runs", "foldr=empty", "Unknown key foldr: did you mean folder?"),
    ("runs", "most=x", "most=x: expected an integer."),
    ("runs", "empty", "Write folder=empty: settings are key=value."),
    ("runs", "--multirun", "--multirun: this command has no flags but --help."),
]  # fmt: skip


HELP = {
    "train": options("experiment"),
    "evaluate": options("task"),
    "prepare": ["flow, frames, index, motion_vectors, shards"],
    "animate": ["python -m selfsup_motion.animate image=photo.jpg"],
    "annotate": ["python -m selfsup_motion.annotate image=photo.jpg"],
    "propagate": ["video="],
    "activation": ["video="],
    "fit_colors": ["data="],
    "export": ["torch_export"],
    "runs": ["compare=["],
}
"""What the help of each command names."""
ANSWERS = [
    ("prepare", "prepare=shards prepare.root=videos prepare.output=out", {"cv2"}),
    ("animate", "seconds=0.2 max_side=96 paths.output_dir=moved", {"torch", "cv2"}),
    ("annotate", "paths.output_dir=masks", {"torch", "cv2"}),
    ("propagate", "video=frames points=points.json paths.output_dir=followed", {"torch", "cv2"}),
]
"""Commands that do their work, and the slow packages that each of them needs."""
LINES = [
    *[(verb, "--help") for verb in HELP],
    *[case[:2] for case in CASES],
    *[case[:2] for case in ANSWERS],
]
ALWAYS = {"hydra", "omegaconf", "numpy"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit status, message and slow packages: of the import and of each command line."""
    folder = tmp_path_factory.mktemp("quick")
    for name in ("empty", "frames", "videos"):
        (folder / name).mkdir()
    (folder / "x").write_text("neither picture nor video\n")
    (folder / "points.json").write_text('{"nose": [20, 20]}')
    picture = np.zeros((48, 64, 3), np.uint8)
    Image.fromarray(picture).save(folder / "photo.jpg")
    film = cv2.VideoWriter(
        str(folder / "videos/a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)
    )
    for number in range(12):
        film.write(picture + 10 * number)
        if number < 2:
            cv2.imwrite(str(folder / f"frames/{number}.png"), picture)
    film.release()
    given = {path.name for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([[verb, *arguments.split()] for verb, arguments in LINES]),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path.name for path in Path(folder).iterdir()} - given
    assert made == {"out", "moved", "masks", "followed"}, "a mistake leaves nothing behind"
    found = json.loads(done.stdout)
    assert len(found) == len(LINES) + 2
    return dict(zip(["import", *LINES, "names"], found, strict=True))


def test_import_brings_nothing_slow(answers):
    assert answers["import"][2] == []


@pytest.mark.parametrize(("verb", "names"), HELP.items())
def test_help_is_given_without_pytorch(answers, verb, names):
    status, told, slow = answers[verb, "--help"]
    assert status == 0
    assert all(name in told for name in names), told
    assert set(slow) <= {"hydra", "omegaconf"}
    assert len(told.splitlines()) < 120


@pytest.mark.parametrize(("verb", "arguments", "expected"), CASES)
def test_mistake_is_told_without_pytorch(answers, verb, arguments, expected):
    status, told, slow = answers[verb, arguments]
    assert (status, expected in told) == (2, True), told
    assert len(told.strip().splitlines()) == 1
    assert set(slow) <= ALWAYS | {"cv2"}, "what looks at files may decode a picture"


@pytest.mark.parametrize(("verb", "arguments", "needed"), ANSWERS)
def test_an_answer_imports_what_it_uses(answers, verb, arguments, needed):
    status, told, slow = answers[verb, arguments]
    assert status == 0, told
    assert set(slow) <= ALWAYS | needed


def test_names_of_the_package_are_found_without_importing_lightning(answers):
    _, names, slow = answers["names"]
    assert names == "selfsup_motion.ops.warp CMPNetwork"
    assert set(slow) <= ALWAYS | {"torch", "cv2"}
