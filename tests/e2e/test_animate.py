"""`python -m selfsup_motion.animate` as a user runs it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from selfsup_motion.ops.flow import read_flow

ARROW = "arrows=[[30,20,12,0]]"
MINE = "checkpoint=weights"
QUICK = ("seconds=0.2", "fps=10")


@pytest.fixture
def animate(command: Callable[..., int], folder: Path) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 70, 3), np.uint8)).save(folder / "photo.png")

    return partial(command, "animate")


def test_a_photo_and_an_arrow_make_flow_pictures_and_films(animate, cmp_checkpoint, capsys):
    formats = "formats=[mp4,gif,webp]"
    weights = f"checkpoint={cmp_checkpoint}"
    status = animate("image=photo.png", ARROW, "pins=[[5,5]]", weights, formats, *QUICK)
    told = capsys.readouterr()
    assert status == 0, told.err
    (run,) = Path("outputs/animate/photo").iterdir()
    written = {path.name for path in run.iterdir()}
    assert written == {
        "arrows.json", "arrows.png", "config.yaml",
        "film.gif", "film.mp4", "film.webp", "flow.flo", "flow.png",
    }  # fmt: skip
    assert str(run / "film.mp4") in told.out
    assert read_flow(run / "flow.flo").shape == (2, 48, 70)
    assert Image.open(run / "film.gif").size == (70, 48)
    width, height = Image.open(run / "flow.png").size
    assert width >= 70
    assert height > 48  # with a legend below
    with av.open(str(run / "film.mp4")) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (70, 48)
    assert json.loads((run / "arrows.json").read_text())["arrows"][1] == [5, 5, 0, 0]


def test_auto_is_the_newest_run(animate, cmp_checkpoint, capsys):
    older = Path("outputs/train/cmp/a/checkpoints")
    older.mkdir(parents=True)
    (older / "best.ckpt").write_bytes((cmp_checkpoint / "checkpoints/best.ckpt").read_bytes())
    newer = Path("outputs/train/cmp/b/checkpoints")
    newer.mkdir(parents=True)
    (newer / "best.ckpt").write_text("cut off")
    assert animate("image=photo.png", ARROW, "checkpoint=auto", *QUICK) == 0
    told = capsys.readouterr()
    weights = "outputs/train/cmp/a/checkpoints/best.ckpt (CMP, experiment cmp_animate, step 1)"
    assert f"weights {weights}" in told.out


def test_without_arguments_the_photo_of_the_package_moves(animate, capsys):
    assert animate(*QUICK, "max_side=200") == 0
    told = capsys.readouterr().out
    assert "no image= and no arrows= given" in told
    assert "shipped/cmp.safetensors (CMP, experiment cmp_photos, step" in told
    (run,) = Path("outputs/animate/rocket").iterdir()
    far = np.hypot(*read_flow(run / "flow.flo"))
    assert far[230, 322] > 20  # the rocket
    assert (far == 0).mean() > 0.8  # and nothing else


def test_what_may_look_otherwise_than_meant_is_told(animate, cmp_checkpoint, capsys):
    weights = (f"checkpoint={cmp_checkpoint}", *QUICK)
    assert animate("image=photo.png", "arrows=[[30,20,3,0]]", *weights, "paths.output_dir=a") == 0
    assert "note" not in capsys.readouterr().out
    far = (
        "arrows=[[30,20,40,0],[5,5,0,0]]",
        "short_side=48",
        "loop=seamless",
        "paths.output_dir=b",
    )
    assert animate("image=photo.png", *far, *weights) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note ")]
    assert len(notes) == 3
    assert "arrow 2 has length zero and is used as a pin" in notes[0]
    assert (
        "the longest arrow, 40 px, is longer than any motion that the network can predict ("
        in notes[1]
    )
    assert "show double edges; loop=back goes there and back without them." in notes[2]
    close = (
        "arrows=[[30,20,1,0]]",
        "pins=[[31,20],[40,40]]",
        "short_side=24",
        "paths.output_dir=c",
    )
    assert animate("image=photo.png", *close, *weights) == 0
    assert (
        "note    the points at x=30, y=20 and x=31, y=20 have different motions, but lie in one "
        "pixel of the photo as the network sees it (short_side=24)"
    ) in capsys.readouterr().out


def test_several_arrow_sets_get_a_folder_each(animate, cmp_checkpoint, capsys):
    sets = {"wave": [[30, 20, 9, 0]], "nod": {"arrows": [[30, 20, 0, 9]], "pins": [[3, 3]]}}
    Path("arrows.json").write_text(json.dumps(sets))
    weights = (f"checkpoint={cmp_checkpoint}", "paths.output_dir=out")
    assert animate("image=photo.png", "arrows=arrows.json", *weights, "max_side=32", *QUICK) == 0
    assert {path.name for path in Path("out").iterdir()} == {"config.yaml", "wave", "nod"}
    assert "smaller than the photo, 32 instead of 70 pixels" in capsys.readouterr().out
    with av.open("out/nod/film.mp4") as film:
        assert film.streams.video[0].width == 32
    assert read_flow("out/nod/flow.flo").shape == (2, 48, 70)


@pytest.mark.parametrize("size", [(1, 1), (300, 3)])
def test_odd_photos_move_too(animate, cmp_checkpoint, size):
    Image.new("RGBA", size, (9, 9, 9, 99)).save("odd.png")
    weights = (f"checkpoint={cmp_checkpoint}", "paths.output_dir=out")
    assert animate("image=odd.png", "arrows=[[0,0,4,4]]", *weights, *QUICK) == 0
    assert Path("out/film.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([ARROW], "image is not set"),
        (["image=photo.png", ARROW, "checkpoint=auto"], "train experiment=cmp_animate"),
        (["image=none.png", ARROW], "image=none.png: there is no such file"),
        (["image=photo.png", "arrows=[]", MINE], "arrows: all arrows have length zero"),
        (["image=photo.png", "arrows=[[1,2,3]]", MINE], "arrows: entry 1 is [1, 2, 3], expected"),
        (["image=photo.png", "arrows=[[nan,2,3,4]]", MINE], "arrows: entry 1 is [NaN, 2, 3, 4]"),
        (["image=photo.png", "arrows=[[99,2,3,4]]", MINE], "arrow 1 is at x=99, y=2, outside"),
        (["image=photo.png", ARROW, "pins=[[30,20]]", MINE], "arrow 1 and pin 1 begin on"),
        (["image=photo.png", ARROW, "fps=0", MINE], "must be above zero"),
        (["image=photo.png", ARROW, "loop=round"], "loop=round: expected one of none, back, sea"),
        (["image=photo.png", ARROW, "formats=[avi]"], "a list of values out of mp4, gif, webp."),
        (["image=photo.png", ARROW, "chekpoint=auto"], "did you mean checkpoint?"),
        (["image=photo.png", ARROW, "checkpoint=no.ckpt"], "checkpoint=no.ckpt: there is no such"),
        (["image=photo.png", ARROW, "checkpoint=other.ckpt"], "do not fit this CMP"),
        (["image=photo.png", ARROW, "checkpoint=weights", "device=moon"], "device=moon: this mach"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    animate, cmp_checkpoint, folder, capsys, arguments, expected
):
    content = torch.load(cmp_checkpoint / "checkpoints/best.ckpt", weights_only=True)
    content["selfsup_motion"]["config"]["encoder"]["width"] = 16
    content["selfsup_motion"]["config"]["method"]["encoder"]["width"] = 16
    torch.save(content, "other.ckpt")
    Path("weights").symlink_to(cmp_checkpoint)
    assert animate(*arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert {path.name for path in folder.iterdir()} == {"photo.png", "other.ckpt", "weights"}
