"""Flow with truth in the layouts of its data sets, and errors of what hints are made of."""

import csv

import cv2
import numpy as np
import pytest

from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.ops.flow import write_flow
from selfsup_motion.tasks.arrows.flow_hints import FlowHints
from selfsup_motion.tasks.arrows.flow_pairs import FlowFolder, ToyFlow
from selfsup_motion.weights.checkpoints import load_method

SIZE = (24, 32)
LAYOUTS = {
    "other-gt-flow/Venus/flow10.flo": ("other-data/Venus/frame10.png", "Venus"),
    "mb/Urban2/flow10.flo": ("mb/Urban2/frame10.png", "Urban2"),
    "training/flow_occ/000007_10.png": ("training/image_2/000007_10.png", "000007_10"),
    "training/flow/alley_1/frame_0003.flo": (
        "training/clean/alley_1/frame_0003.png",
        "alley_1/frame_0003",
    ),
    "data/00012_flow.flo": ("data/00012_img1.ppm", "00012"),
    "sample/0000000-gt.flo": ("sample/0000000-img0.ppm", "0000000"),
}


def write_pair(root, flow, image, speed=2.0, size=SIZE):
    """Everything moves to the right, and nothing is known of the first row."""
    (root / flow).parent.mkdir(parents=True, exist_ok=True)
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    valid = np.ones(SIZE, bool)
    valid[0] = False
    write_flow(root / flow, np.stack([np.full(SIZE, speed), np.zeros(SIZE)]), valid)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    cv2.imwrite(str(root / image), pixels)


def folder(root, **options) -> FlowFolder:
    usual = {"layouts": ["middlebury", "kitti", "sintel", "chairs"], "rendering": "clean"}
    return FlowFolder(str(root), **{**usual, "invalid": True, **options})


def test_all_layouts_are_found_below_one_folder(tmp_path):
    for speed, (flow, (image, _)) in enumerate(LAYOUTS.items(), start=1):
        write_pair(tmp_path, flow, image, speed)
    source = folder(tmp_path)
    assert sorted(source.names) == sorted(name for _, name in LAYOUTS.values())
    for speed, (_, name) in enumerate(LAYOUTS.values(), start=1):
        pair = source.open(name)
        assert pair.image.shape == (3, *SIZE)
        assert (pair.flow[0][pair.valid] == speed).all()
        assert np.array_equal(pair.valid, np.arange(24)[:, None].repeat(32, 1) > 0), name
    assert folder(tmp_path, layouts=["kitti"]).names == ["000007_10"]


def test_pairs_that_are_numbered_alike_are_told_apart_by_their_folders(tmp_path):
    for part in ("2012", "2015"):
        write_pair(tmp_path, f"{part}/flow_occ/000000_10.png", f"{part}/image_2/000000_10.png")
    assert folder(tmp_path).names == ["2012/flow_occ/000000_10", "2015/flow_occ/000000_10"]


def test_pixels_that_sintel_marks_are_left_out(tmp_path):
    write_pair(tmp_path, "flow/alley_1/frame_0001.flo", "final/alley_1/frame_0001.png")
    marked = np.zeros(SIZE, np.uint8)
    marked[:, :8] = 255
    (tmp_path / "invalid/alley_1").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "invalid/alley_1/frame_0001.png"), marked)
    (name,) = folder(tmp_path, rendering="final").names
    known = folder(tmp_path, rendering="final").open(name).valid
    assert known.sum() == 23 * 24
    assert folder(tmp_path, rendering="final", invalid=False).open(name).valid.sum() == 23 * 32


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        ([], {}, "holds no flow with truth in the layout of middlebury, kitti, sintel, chairs"),
        (["a/flow10.flo"], {}, r"a/flow10.flo: its image is not there, expected .*a/frame10.png"),
        (["a/flow10.flo"], {"layouts": ["kiti"]}, "expected some of middlebury, kitti, sintel"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, files, options, told):
    for file in files:
        write_pair(tmp_path, file, "elsewhere.png")
    with pytest.raises(UserError, match=told):
        folder(tmp_path, **options)
    with pytest.raises(UserError, match="there is no such folder"):
        folder(tmp_path / "nowhere")


def test_damaged_flow_and_images_of_another_size_are_told(tmp_path):
    write_pair(tmp_path, "a/flow10.flo", "a/frame10.png")
    write_pair(tmp_path, "b/flow10.flo", "b/frame10.png", size=(20, 30))
    path = tmp_path / "a/flow10.flo"
    path.write_bytes(path.read_bytes()[:-9])
    source = folder(tmp_path)
    with pytest.raises(UserError, match=r"a/flow10.flo has .* the file is damaged or incomplete"):
        source.open("a")
    with pytest.raises(UserError, match=r"b/flow10.flo is 24x32 pixels, its image .* 20x30"):
        source.open("b")


def test_toy_flow_is_exact_and_of_the_stride(tmp_path):
    world = ToyWorld(2, split="test", size=48, num_frames=8)
    source = ToyFlow(world, stride=3)
    assert source.names == ["toy-000000", "toy-000001"]
    pair, clip = source.open("toy-000001"), world.read(1, [0, 3])
    assert np.array_equal(pair.flow, clip.flow[0])
    assert np.array_equal(pair.image, clip.frames[0])
    with pytest.raises(UserError, match=r"data.stride=8: expected 1 to 7"):
        ToyFlow(world, stride=8)


def test_errors_are_those_of_the_hints_and_relative_to_edge_aware(tmp_path, cmp_checkpoint):
    write_pair(tmp_path, "alike/flow10.flo", "alike/frame10.png", 3.0)
    write_pair(tmp_path, "halves/flow10.flo", "halves/frame10.png")
    halves = np.zeros((2, *SIZE))
    halves[0, :, 16:] = 4
    write_flow(tmp_path / "halves/flow10.flo", halves)
    few = np.zeros(SIZE, bool)
    few[3, :20] = True
    write_pair(tmp_path, "few/flow10.flo", "few/frame10.png")
    write_flow(tmp_path / "few/flow10.flo", np.zeros((2, *SIZE)), few)
    run = tmp_path / "run"
    run.mkdir()
    task = FlowHints(source=folder(tmp_path), sequences=None, baselines=["nearest"], short_side=64)
    seen = []
    metrics = task.run(load_method(cmp_checkpoint), run, progress=lambda *where: seen.append(where))
    assert seen[-1][:2] == (3, 3)
    assert list(metrics) == ["epe_1", "epe_8", "epe_32", "ratio_1", "ratio_8", "ratio_32"]
    assert set(task.beside) == {"nearest"}
    with (run / "per_pair.csv").open() as stream:
        network_rows = {row["pair"]: row for row in csv.DictReader(stream)}
    with (run / "baselines/nearest/per_pair.csv").open() as stream:
        nearest = {row["pair"]: row for row in csv.DictReader(stream)}
    assert list(network_rows) == ["alike", "halves"], "of few too little is known"
    # a lone point says that everything moves as it does: all of it right, or half of it by 4 px
    for rows in (network_rows, nearest):
        assert float(rows["alike"]["epe_8"]) == pytest.approx(0, abs=1e-5)
        assert float(rows["halves"]["epe_1"]) == pytest.approx(2, abs=0.02)
    assert 0 < float(nearest["halves"]["epe_32"]) < float(nearest["halves"]["epe_8"]) < 2
    expected = (
        float(network_rows["halves"]["epe_32"]) + float(network_rows["alike"]["epe_32"])
    ) / 2
    assert metrics["epe_32"] == pytest.approx(expected)
    assert (run / "flow.png").is_file()
