"""`propagate` on videos, folders, masks and points, and with wrong input."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from davis_like import hide, write_davis

from selfsup_motion.apps.film import film
from selfsup_motion.data.reading.masks import read_mask, write_mask
from selfsup_motion.weights.shipped import Shipped

MASK = "davis/Annotations/480p/cat/00000.png"
FRAMES = "davis/JPEGImages/480p/cat"


@pytest.fixture
def propagate(command: Callable[..., int], folder: Path) -> Callable[..., int]:
    """The command line in this process, beside the folder `davis`."""
    write_davis(folder / "davis", ("cat",), count=5)

    return lambda *arguments: command("propagate", *arguments, "device=cpu")


def write_clip(path: str) -> None:
    with film(Path(path), 10) as made:
        for file in sorted(Path(FRAMES).iterdir()):
            made.add(cv2.imread(str(file))[..., ::-1])


def overlap(found: Path, truth: Path) -> float:
    a, b = read_mask(found), read_mask(truth)
    return float(((a == b) & (b > 0)).sum() / ((a > 0) | (b > 0)).sum())


def test_video_gives_masks_and_an_overlay(propagate, capsys, monkeypatch):
    write_clip("in.mp4")
    monkeypatch.setattr("selfsup_motion.propagate.shipped", dict)
    assert propagate("video=in.mp4", f"mask={MASK}", "paths.output_dir=out") == 0
    assert sorted(p.name for p in Path("out/masks").iterdir()) == [f"{t:05d}.png" for t in range(5)]
    last = Path("davis/Annotations/480p/cat/00004.png")
    assert overlap(Path("out/masks/00004.png"), last) > 0.8
    with av.open("out/overlay.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(40, 56, 3)] * 5
    assert "No checkpoint" in capsys.readouterr().out


def test_the_model_that_comes_with_the_package_is_used_if_it_is_there(
    propagate, capsys, monkeypatch, cmp_checkpoint
):
    file = cmp_checkpoint / "checkpoints/best.ckpt"
    models = {"correspondence": Shipped("correspondence", file, file)}
    for place in ("propagate", "weights.run_folders"):
        monkeypatch.setattr(f"selfsup_motion.{place}.shipped", lambda: models)
    arguments = f"video={FRAMES}", f"mask={MASK}", "max_frames=2", "overlay=false"
    assert propagate(*arguments, "paths.output_dir=out") == 0
    told = capsys.readouterr().out
    assert "Features are those of correspondence, a model that comes with the package" in told
    assert f"weights  {file} (CMP," in told
    assert propagate(*arguments, "encoder=lab_color", "paths.output_dir=colors") == 0
    assert "correspondence" not in capsys.readouterr().out


def test_frames_are_resized_on_request(propagate, capsys):
    arguments = f"video={FRAMES}", f"mask={MASK}", "overlay=false"
    assert propagate(*arguments, "encoder=lab_color", "short_side=60", "paths.output_dir=o") == 0
    assert "hard labels; frames of short side 60)" in capsys.readouterr().out
    found = Path("o/masks/00004.png")
    assert read_mask(found).shape == (40, 56)
    assert overlap(found, Path("davis/Annotations/480p/cat/00004.png")) > 0.8


def test_objects_start_in_the_first_mask_of_a_folder_that_shows_them(propagate, capsys):
    given = Path("given")
    given.mkdir()
    truth = [read_mask(Path(MASK).with_name(f"{time:05d}.png")) for time in range(5)]
    for time in range(3):
        hidden = truth[time] > 0 if time == 0 else truth[time] == 1
        hide(Path(FRAMES, f"{time:05d}.jpg"), hidden)
    write_mask(given / "00001.png", np.where(truth[1] == 2, 2, 0).astype(np.uint8))
    write_mask(given / "00003.png", truth[3])
    arguments = f"video={FRAMES}", "mask=given", "encoder=lab_color", "overlay=false"
    assert propagate(*arguments, "paths.output_dir=out") == 0
    told = capsys.readouterr().out
    assert "Following 1 object (2) from frame 00001 on." in told
    assert "Following 1 object (1) from frame 00003 on." in told
    found = [read_mask(Path(f"out/masks/{time:05d}.png")) for time in range(5)]
    assert [set(np.unique(mask)) for mask in found] == [{0}, {0, 2}, {0, 2}, {0, 1, 2}, {0, 1, 2}]
    np.testing.assert_array_equal(found[3] == 1, truth[3] == 1)
    assert ((found[4] == truth[4]) & (truth[4] > 0)).sum() > 0.9 * (truth[4] > 0).sum()
    assert propagate(*arguments, "max_frames=2", "paths.output_dir=two") == 0
    assert len(list(Path("two/masks").iterdir())) == 2


def test_a_colon_in_a_name_is_no_protocol(propagate):
    write_clip("in.mp4")
    Path("in.mp4").rename("2024-01-01T10:20:30.mp4")
    Path("davis").rename("davis: 2")
    mask, frames = (path.replace("davis", "davis: 2") for path in (MASK, FRAMES))
    for video, folder in (("2024-01-01T10:20:30.mp4", "out: 1"), (frames, "out::2")):
        arguments = f"video='{video}'", f"mask='{mask}'", f"paths.output_dir='{folder}'"
        assert propagate(*arguments) == 0
        assert sorted(p.name for p in Path(folder).iterdir()) == [
            "config.yaml", "masks", "overlay.mp4", "propagate.log"
        ]  # fmt: skip


def test_folder_gives_the_same_as_the_evaluation_of_it(propagate):
    assert (
        propagate(f"video={FRAMES}", f"mask={MASK}", "paths.output_dir=out", "overlay=false") == 0
    )
    assert not Path("out/overlay.mp4").exists()
    last = Path("davis/Annotations/480p/cat/00004.png")
    assert overlap(Path("out/masks/00004.png"), last) > 0.85


def test_frames_are_followed_in_the_order_of_their_numbers(propagate, capsys):
    frames = Path("frames")
    frames.mkdir()
    for number, file in enumerate(sorted(Path(FRAMES).iterdir()), 8):
        file.rename(frames / f"frame_{number}.jpg")
    names = [f"frame_{number}.png" for number in range(8, 13)]
    # the first mask lies among the frames
    Path(MASK).rename(frames / "frame_8.png")
    arguments = "video=frames", "mask=frames/frame_8.png", "paths.output_dir=out", "overlay=false"
    assert propagate(*arguments) == 0
    truths = [frames / "frame_8.png"]
    truths += [Path(MASK).with_name(f"{number:05d}.png") for number in range(1, 5)]
    for name, truth in zip(names, truths, strict=True):
        assert overlap(Path("out/masks") / name, truth) > 0.8
    truths[2].rename(frames / "frame_10.png")
    assert propagate(*arguments[:2], "paths.output_dir=other") == 2
    told = capsys.readouterr().err
    assert "frames has frame_10.jpg and frame_10.png, and only one of them can be the fr" in told
    assert "Traceback" not in told


def test_points_of_a_json_and_of_the_command_line_are_followed(propagate, folder):
    Path("p.json").write_text('{"red": [11, 11], "blue": [38, 28]}')
    arguments = ("points=p.json", "encoder=color_patches", "encoder.patch=24", "encoder.stride=2")
    assert propagate(f"video={FRAMES}", *arguments, "paths.output_dir=out") == 0
    content = json.loads(Path("out/points.json").read_text())
    assert content["names"] == ["red", "blue"]
    assert content["frames"][0] == [[11, 11], [38, 28]]
    np.testing.assert_allclose(content["frames"][-1], [[19, 11], [30, 28]], atol=4)
    assert Path("out/overlay.mp4").is_file()
    short = (*arguments[1:], "max_frames=2", "overlay=false")
    for name, points in (("named", "{red:[11,11],blue:[38,28]}"), ("list", "[[11, 11],[38,28]]")):
        output = f"paths.output_dir={name}"
        assert propagate(f"video={FRAMES}", f"points={points}", *short, output) == 0
        found = json.loads(Path(name, "points.json").read_text())
        assert found["frames"] == content["frames"][:2]
        assert found["names"] == (content["names"] if name == "named" else ["0", "1"])


def test_lossy_mask_is_one_object_and_the_number_is_told(propagate, capsys):
    ids = read_mask(Path(MASK))
    cv2.imwrite("first.jpg", (ids == 1).astype(np.uint8) * 255)
    arguments = (f"video={FRAMES}", "mask=first.jpg", "paths.output_dir=out", "max_frames=2")
    assert propagate(*arguments) == 0
    told = capsys.readouterr().out
    assert "first.jpg: a lossy or soft mask" in told
    assert "Following 1 object (1)." in told
    assert "Propagation: learned, which fits the encoder (frame 0, the last 5 frames;" in told
    assert set(np.unique(read_mask(Path("out/masks/00001.png")))) == {0, 1}


def test_end_after_so_many_frames(propagate):
    arguments = ("max_frames=2", "paths.output_dir=out")
    assert propagate(f"video={FRAMES}", f"mask={MASK}", *arguments) == 0
    assert len(list(Path("out/masks").iterdir())) == 2


def test_name_of_the_run_folder_is_that_of_the_video(propagate, folder):
    assert propagate(f"video={FRAMES}", f"mask={MASK}", "max_frames=1") == 0
    assert len(list((folder / "outputs/propagate/cat").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Which video?"),
        ([f"video={FRAMES}"], "Give mask=<indexed PNG of the first frame> or points=["),
        ([f"video={FRAMES}", f"mask={MASK}", "points=p.json"], "one of them"),
        (["video=no.mp4", f"mask={MASK}"], "video=no.mp4: there is no such file"),
        (["video=text.mp4", f"mask={MASK}"], "text.mp4 cannot be opened"),
        (["video=void", f"mask={MASK}"], "void holds no images"),
        ([f"video={FRAMES}", "mask=no.png"], "mask=no.png: there is no such file or folder."),
        ([f"video={FRAMES}", "mask=davis"], "mask=davis: holds no masks."),
        ([f"video={FRAMES}", "mask=twice"], "00000.npy and 00000.png are masks of one frame"),
        ([f"video={FRAMES}", "mask=named"], "frame_1.png has the name of no frame; they are calle"),

        ([f"video={FRAMES}", "encoder=r3d8", f"mask={MASK}"], "SmallResNet3d is an encoder"),
        ([f"video={FRAMES}", "mask=empty.png"], "empty.png: is empty, there is nothing to follow"),
        ([f"video={FRAMES}", "mask=small.png"], "small.png: the mask is 10x10 pixels, the frames"),
        ([f"video={FRAMES}", "mask=photo.png"], "photo.png: expected a value for each object"),
        ([f"video={FRAMES}", "points=p.json"], "p.json: point 1 is at x=99, y=3, outside of t"),
        ([f"video={FRAMES}", "points=[[3,9],[99,3]]"], "points: point 2 is at x=99, y=3, outside "),
        ([f"video={FRAMES}", "points=[]"], "points: no point to follow; give at"),
        ([f"video={FRAMES}", "points=bad.json"], "bad.json: entry 1 is [1, 2, 3], expected [x, y]"),
        (["video=sizes", f"mask={MASK}"], "b.png: is 8x8 pixels, the first frame 40x56"),
        ([f"video={FRAMES}", f"mask={MASK}", "paths.output_dir=davis"], "already has files"),
        ([f"video={FRAMES}", f"mask={MASK}", "short_side=4"], "short_side must be at least 8 pix"),
        ([f"video={FRAMES}", f"mask={MASK}", "short_side=x"], "short_side=x: expected"),
        ([f"video={FRAMES}", f"mask={MASK}", "sigmaa=1"], "did you mean sigma?"),
    ],
)  # fmt: skip
def test_mistake_is_one_sentence(propagate, folder, capsys, arguments, expected):
    Path("text.mp4").write_text("no video")
    Path("void").mkdir()
    write_mask(Path("empty.png"), np.zeros((40, 56), np.uint8))
    write_mask(Path("small.png"), np.ones((10, 10), np.uint8))
    cv2.imwrite("photo.png", np.random.default_rng(0).integers(0, 255, (40, 56, 3)))
    for name in ("twice/00000.png", "named/frame_1.png"):
        Path(name).parent.mkdir()
        write_mask(Path(name), np.ones((40, 56), np.uint8))
    np.save("twice/00000.npy", np.ones((40, 56), np.uint8))
    Path("p.json").write_text("[[99, 3]]")
    Path("bad.json").write_text('{"a": [1, 2, 3]}')
    Path("sizes").mkdir()
    cv2.imwrite("sizes/a.png", np.zeros((40, 56, 3), np.uint8))
    cv2.imwrite("sizes/b.png", np.zeros((8, 8, 3), np.uint8))
    assert propagate(*arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
