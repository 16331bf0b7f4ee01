"""`evaluate` on the toy world, on small folders in the official layouts, and with wrong input."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from davis_like import hide, write_davis

from selfsup_motion.data.reading.masks import read_mask, write_mask
from selfsup_motion.data.toy import ToyWorld

TOY = ("data=toy", "data.size=64", "data.sequences.length=5", "data.sequences.source.num_videos=2")
DAVIS = ("task=davis2017", "data.root=davis", "encoder=lab_color", "device=cpu")


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    """The command line in this process: takes its arguments, returns its exit status."""
    return partial(command, "evaluate")


def metrics(folder: str) -> dict[str, float]:
    return json.loads(Path(folder, "summary.json").read_text())["metrics"]


def test_toy_masks_are_followed_better_by_colour_than_by_standing_still(evaluate, folder):
    size = ("data.size=128", "data.sequences.length=8")
    for encoder in ("lab_color", "identity"):
        run = (f"encoder={encoder}", f"paths.output_dir={encoder}")
        arguments = ("task=davis2017", *TOY, *size, *run)
        assert evaluate(*arguments) == 0
    assert metrics("lab_color")["J&F"] > metrics("identity")["J&F"] + 0.05
    assert len(list(Path("lab_color/results").glob("*/*.png"))) == 16


TOY_JOINTS = (
    "task=jhmdb", *TOY, "data.size=64", "task.size=[64,64]", "data.difficulty.puppet=1",
    "encoder=color_patches",
)  # fmt: skip


def test_toy_joints_are_scored_and_taken_over_if_whole(evaluate, folder, capsys):
    assert evaluate(*TOY_JOINTS, "paths.output_dir=run") == 0
    found = metrics("run")
    assert len(found) == 10
    assert found["PCK_instance@0.1"] <= found["PCK_instance@0.5"] <= 100
    assert found["PCK_max@0.5"] > 30
    points = [np.load(path) for path in sorted(Path("run/points").glob("*.npy"))]
    cells = np.load("run/predictions/0.dat", allow_pickle=True)
    assert cells.shape == (2, 13, 5)
    expected = np.where(points[0] < 0, -1, points[0] / 4).transpose(2, 1, 0)
    np.testing.assert_allclose(cells, expected)

    # a result that is cut off, or of another length, is not taken over
    first, second = sorted(Path("run/points").glob("*.npy"))
    whole, stamp = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    assert evaluate(*TOY_JOINTS, "resume=run") == 0
    assert f"{first} is damaged: computed again." in capsys.readouterr().out
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == stamp
    np.save(first, points[0][:2])
    assert evaluate(*TOY_JOINTS, "resume=run") == 0
    assert first.read_bytes() == whole
    assert metrics("run") == found
    assert not list(Path("run").rglob("*.tmp"))


def test_davis_layout_gives_files_for_the_official_tool(evaluate, folder, capsys):
    write_davis(folder / "davis")
    assert evaluate(*DAVIS, "paths.output_dir=run", "overlay=true") == 0
    assert metrics("run")["J&F"] > 0.8
    for name in ("cat", "dog"):
        files = sorted(path.name for path in Path("run/results", name).iterdir())
        assert files == [f"{t:05d}.png" for t in range(4)]
        assert Path("run/overlays", f"{name}.mp4").stat().st_size > 500
    assert Path("run/per_sequence.csv").read_text().startswith("sequence,J&F,")
    assert "J&F" in capsys.readouterr().out


def test_the_weights_used_are_told_and_stand_in_the_summary(
    evaluate, folder, capsys, cmp_checkpoint
):
    write_davis(folder / "davis", ("cat",), count=3)
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(cmp_checkpoint)
    toy = (*DAVIS[:2], "device=cpu", "propagator=crw")
    assert evaluate(*toy, "checkpoint=runs/mine", "paths.output_dir=run") == 0
    path = "runs/mine/checkpoints/best.ckpt"
    told = f"weights  {path} (CMP, experiment cmp_animate, step 1)\n"
    assert told in capsys.readouterr().out
    assert told in Path("run/evaluate.log").read_text()
    assert json.loads(Path("run/summary.json").read_text())["weights"] == {
        "path": str(Path(path).resolve()),
        "kind": "CMP",
        "key": None,
        "experiment": "cmp_animate",
        "step": 1,
    }
    assert evaluate(*DAVIS, "paths.output_dir=none") == 0
    assert "weights  none (LabColor)\n" in capsys.readouterr().out
    assert json.loads(Path("none/summary.json").read_text())["weights"] is None


def summary(folder: str) -> dict:
    return json.loads(Path(folder, "summary.json").read_text())


def test_the_propagation_is_told_and_what_it_has_to_beat_stands_beside(
    evaluate, folder, capsys, cmp_checkpoint
):
    write_davis(folder / "davis", count=5)
    run = (*DAVIS[:2], "device=cpu", f"checkpoint={cmp_checkpoint}", "paths.output_dir=run")
    assert evaluate(*run) == 0
    told = capsys.readouterr().out
    assert "Propagation: cosine, which fits the encoder (frame 0, the last 5 frames;" in told
    rows = {line.split("  ")[0]: line.split()[-7:] for line in told.splitlines() if line}
    found = summary("run")
    assert found["propagator"]["name"] == "cosine"
    assert found["propagator"]["top_k"] == 10
    assert set(found["baselines"]) == {"identity", "raw_color"}
    assert rows["ResNetEncoder"] == [f"{v:.3f}" for v in found["metrics"].values()]
    assert rows["raw colour"] == [f"{v:.3f}" for v in found["baselines"]["raw_color"].values()]
    # under the same protocol: what these encoders score by themselves
    for name, encoder in (("identity", "identity"), ("raw_color", "lab_color")):
        assert evaluate(*DAVIS[:2], f"encoder={encoder}", f"paths.output_dir={name}") == 0
        assert found["baselines"][name] == metrics(name)
        for table in ("per_sequence.csv", "per_frame.csv"):
            ours = Path("run/baselines", name, table).read_text()
            assert ours == Path(name, table).read_text()
    assert summary("raw_color")["propagator"]["name"] == "color"
    assert set(summary("raw_color")["baselines"]) == {"identity"}
    # a resumed run has them already
    path = Path("run/baselines/raw_color/results/cat/00002.png")
    stamp = path.stat().st_mtime_ns
    assert evaluate(*run[:-1], "resume=run") == 0
    assert path.stat().st_mtime_ns == stamp
    assert summary("run")["baselines"] == found["baselines"]
    capsys.readouterr()
    named = ("propagator=crw", "task.baselines=[untrained]", "paths.output_dir=named")
    assert evaluate(*run[:-1], *named) == 0
    told = capsys.readouterr().out
    assert "Propagation: crw (frame 0, the last 20 frames;" in told
    found = summary("named")
    assert found["propagator"]["name"] == "crw"
    assert list(found["baselines"]) == ["untrained"]
    assert [*map("{:.3f}".format, found["baselines"]["untrained"].values())] in [
        line.split()[1:] for line in told.splitlines() if line.startswith("untrained ")
    ]


def test_all_propagations_in_one_run_equal_those_of_runs_of_their_own(evaluate, folder, capsys):
    write_davis(folder / "davis", ("cat",), count=5)
    names = ["dino", "timecycle", "learned"]
    run = (*DAVIS[:2], "device=cpu", "encoder=corrflow_small", "task.baselines=[]", "seed=3")
    run = (*run, "task.short_side=48")  # of the protocols with large frames, too
    every = ("propagator=all", f"propagator.names=[{','.join(names)}]", "paths.output_dir=all")
    assert evaluate(*run, *every) == 0
    told = capsys.readouterr().out
    assert "One encoder, 3 propagations, J&F differs by" in told
    found = summary("all")
    assert found["propagator"]["name"] == "learned", "what fits the encoder is the result"
    assert set(found["baselines"]) == set(names) - {"learned"}
    rows = Path("all/sensitivity.csv").read_text().splitlines()
    assert sorted(row.split(",")[0] for row in rows[1:]) == sorted(names)
    scores = [float(row.split(",")[1]) for row in rows[1:]]
    assert scores == sorted(scores, reverse=True)
    assert Path("all/sensitivity.txt").read_text().count("\n") == 4
    assert cv2.imread("all/sensitivity.png").shape[2] == 3
    for name in ("timecycle",):
        assert evaluate(*run, f"propagator={name}", f"paths.output_dir={name}") == 0
        assert metrics(name) == found["baselines"][name]
        for file in sorted(Path(name, "results/cat").iterdir()):
            ours = Path("all/presets", name, "results/cat", file.name)
            assert ours.read_bytes() == file.read_bytes()


def test_joints_are_followed_beside_baselines(evaluate, folder, capsys):
    size = ("data.size=64", "task.size=[64,64]", "data.difficulty.puppet=1")
    run = ("encoder=resnet10", "encoder.width=8", "encoder.out_channels=8")
    arguments = ("task=jhmdb", *TOY, *size)
    assert evaluate(*arguments, *run, "paths.output_dir=run") == 0
    told = capsys.readouterr().out
    assert "Propagation: crw_jhmdb, which fits the encoder" in told
    assert told.count("raw colour  ") == 2, "a table for each five of the ten metrics"
    found = summary("run")
    for name, encoder in (("identity", "identity"), ("raw_color", "lab_color")):
        assert evaluate(*arguments, f"encoder={encoder}", f"paths.output_dir={name}") == 0
        assert found["baselines"][name] == metrics(name)


def test_frames_are_resized_before_they_are_encoded_and_results_are_not(evaluate, folder):
    write_davis(folder / "davis", ("cat",), count=5)
    assert evaluate(*DAVIS, "task.short_side=60", "paths.output_dir=large") == 0
    assert summary("large")["propagator"]["short_side"] == 60
    assert metrics("large")["J&F"] > 0.8
    assert read_mask(Path("large/results/cat/00003.png")).shape == (40, 56)
    run = ("propagator.short_side=60", "propagator.enlarge=true", "paths.output_dir=same")
    assert evaluate(*DAVIS, *run) == 0
    assert metrics("same") == metrics("large")


def test_resumed_run_keeps_what_is_finished(evaluate, folder, capsys):
    write_davis(folder / "davis")
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    before = metrics("run")
    stamp = Path("run/results/cat/00001.png").stat().st_mtime_ns
    shutil.rmtree("run/results/dog")
    assert evaluate(*DAVIS, "resume=run") == 0
    assert metrics("run") == before
    assert Path("run/results/cat/00001.png").stat().st_mtime_ns == stamp
    assert Path("run/results/dog/00003.png").is_file()
    assert not Path("run/.drafts").exists()
    capsys.readouterr()
    whole = Path("run/results/dog/00003.png").read_bytes()
    for spoil in (lambda path: path.write_bytes(whole[:-30]), Path.unlink):
        spoil(Path("run/results/dog/00003.png"))
        assert evaluate(*DAVIS, "resume=run") == 0
        assert (
            "run/results/dog is damaged or incomplete: computed again." in capsys.readouterr().out
        )
        assert metrics("run") == before
        assert Path("run/results/dog/00003.png").read_bytes() == whole
        assert Path("run/results/cat/00001.png").stat().st_mtime_ns == stamp
    assert evaluate(*DAVIS, "resume=run", "propagator.radius=3") == 2
    assert "resume=run: its run used another propagator and task" in capsys.readouterr().err


def test_sequence_of_one_frame_is_followed_but_not_scored(evaluate, folder, capsys):
    root = write_davis(folder / "davis")
    for path in (root / "JPEGImages/480p/cat").glob("0000[123].jpg"):
        path.unlink()
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    assert "cat: not scored, it has 1 annotated frames" in capsys.readouterr().out
    assert [path.name for path in Path("run/results/cat").iterdir()] == ["00000.png"]
    assert "cat" not in Path("run/per_sequence.csv").read_text()


def test_frames_without_annotation_do_not_count(evaluate, folder):
    root = write_davis(folder / "davis", count=6)
    (root / "Annotations/480p/cat/00002.png").unlink()
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    rows = Path("run/per_frame.csv").read_text().splitlines()
    assert sum(row.startswith("cat,1,") for row in rows) == 3


def test_every_object_starts_where_it_is_annotated(evaluate, folder, capsys):
    root = write_davis(folder / "davis", ("cat",), count=6)
    for time in (0, 1):
        path = root / f"Annotations/480p/cat/{time:05d}.png"
        ids = read_mask(path)
        hide(root / f"JPEGImages/480p/cat/{time:05d}.jpg", ids == 1)
        ids[ids == 1] = 0  # object 2 stays: the other one comes later
        write_mask(path, ids)
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    told = capsys.readouterr().out
    assert "Following 2 objects in 1 sequence: cat 2." in told
    assert "cat: 1 object (1) from frame 00002 on." in told
    assert "cat (1): objects that appear later are followed from the first frame that" in told
    found = [read_mask(Path(f"run/results/cat/{time:05d}.png")) for time in range(6)]
    assert [set(np.unique(ids)) for ids in found] == 2 * [{0, 2}] + 4 * [{0, 1, 2}]
    truth = read_mask(root / "Annotations/480p/cat/00002.png")
    np.testing.assert_array_equal(found[2] == 1, truth == 1)
    rows = [row.split(",") for row in Path("run/per_frame.csv").read_text().splitlines()[1:]]
    assert [row[2] for row in rows if row[1] == "1"] == ["3", "4"]
    assert [row[2] for row in rows if row[1] == "2"] == ["1", "2", "3", "4"]
    assert all(float(row[3]) > 0.7 for row in rows)
    one = Path("run/baselines/identity/per_frame.csv").read_text().splitlines()
    late = [float(row.split(",")[3]) for row in one if row.startswith("cat,1,")]
    assert 0.4 < late[1] < late[0] < 1, "it stays where its first mask is"
    stamp = Path("run/results/cat/00001.png").stat().st_mtime_ns
    assert evaluate(*DAVIS, "resume=run") == 0
    assert Path("run/results/cat/00001.png").stat().st_mtime_ns == stamp

    assert evaluate(*DAVIS, "task.official_ids=true", "paths.output_dir=official") == 0
    told = capsys.readouterr().out
    assert "cat (2): the ids of the objects have gaps" in told
    assert "With task.official_ids=true they are not followed, and count as backgro" in told
    rows = Path("official/per_object.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["cat_1", "cat_2"]
    assert rows[1].startswith("cat_1,0.25,"), "it scores 1 where it is not, else 0"


def test_official_ids_count_those_that_never_occur(evaluate, folder, capsys):
    root = write_davis(folder / "davis", ("cat",))
    for path in (root / "Annotations/480p/cat").iterdir():
        ids = read_mask(path)
        ids[ids == 1] = 0
        write_mask(path, ids)
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    (row,) = Path("run/per_object.csv").read_text().splitlines()[1:]
    assert row.startswith("cat_2,")
    assert float(row.split(",")[1]) > 0.7
    told = capsys.readouterr().out
    assert "cat (2): the ids of the objects have gaps" in told
    official = (metrics("run")["J&F"] + 1) / 2
    assert f"J&F {official:.3f} instead of {metrics('run')['J&F']:.3f} (task.off" in told
    assert evaluate(*DAVIS, "task.official_ids=true", "paths.output_dir=official") == 0
    rows = Path("official/per_object.csv").read_text().splitlines()
    assert rows[2] == row
    assert metrics("official")["J&F"] == pytest.approx(official)


def test_score_of_an_object_does_not_depend_on_its_number(evaluate, folder, capsys):
    found = []
    for number in (1, 200):
        root = write_davis(folder / f"d{number}", ("cat",), count=6)
        for path in (root / "Annotations/480p/cat").iterdir():
            cv2.imwrite(str(path), (read_mask(path) == 1).astype(np.uint8) * number)
        run = ("encoder=identity", f"data.root=d{number}", f"paths.output_dir=r{number}")
        assert evaluate("task=davis2017", *run) == 0
        found.append(metrics(f"r{number}"))
    assert found[0] == found[1]
    assert "cat (200): the ids of the objects have gaps" in capsys.readouterr().out


def test_frames_that_are_void_everywhere_do_not_count(evaluate, folder, capsys):
    root = write_davis(folder / "davis", ("cat",), count=6)
    write_mask(root / "Annotations/480p/cat/00002.png", np.full((40, 56), 255, np.uint8))
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    assert "cat: frames that are void everywhere do not count." in capsys.readouterr().out
    rows = Path("run/per_frame.csv").read_text().splitlines()
    assert sum(row.startswith("cat,1,") for row in rows) == 3


def test_255_is_void_in_every_frame_and_the_objects_are_told(evaluate, folder, capsys):
    root = write_davis(folder / "davis", ("cat",), count=6)
    for time in (2, 3):  # one object is gone, the other one is not told apart
        path = root / f"Annotations/480p/cat/{time:05d}.png"
        ids = read_mask(path)
        cv2.imwrite(str(path), np.where(ids == 1, 255, 0).astype(np.uint8))
    assert evaluate(*DAVIS, "paths.output_dir=run") == 0
    told = capsys.readouterr().out
    assert "Following 2 objects in 1 sequence: cat 2." in told
    assert "255 is used as void" in told
    rows = [row.split(",") for row in Path("run/per_frame.csv").read_text().splitlines()[1:]]
    ones = {row[2]: float(row[3]) for row in rows if row[1] == "1"}
    assert ones["2"] == ones["3"] == 0, "void is background where a mask is given"
    assert ones["1"] > 0.8


@pytest.mark.parametrize("kind", ["jpg", "json", "rgb"])
def test_annotations_in_other_forms_score_the_same(evaluate, folder, kind):
    root = write_davis(folder / "davis", ("cat",))
    assert evaluate(*DAVIS, "paths.output_dir=plain") == 0
    for path in sorted((root / "Annotations/480p/cat").iterdir()):
        ids = read_mask(path)
        path.unlink()
        if kind == "rgb":
            write = np.array([(0, 0, 0), (0, 9, 200), (200, 9, 0)], np.uint8)[ids]
            cv2.imwrite(str(path), write)
        elif kind == "jpg":
            cv2.imwrite(str(path.with_suffix(".jpg")), (ids == 1).astype(np.uint8) * 255)
        else:
            places = [np.argwhere(ids == i)[:, ::-1] for i in (1, 2)]
            shapes = [
                {"label": str(i), "shape_type": "rectangle", "group_id": i,
                 "points": [at.min(0).tolist(), at.max(0).tolist()]}
                for i, at in enumerate(places)
            ]  # fmt: skip
            content = {"shapes": shapes, "imageHeight": 40, "imageWidth": 56}
            path.with_suffix(".json").write_text(json.dumps(content))
    assert evaluate(*DAVIS, "paths.output_dir=other") == 0
    if kind == "jpg":  # one of the two objects
        rows = Path("plain/per_object.csv").read_text().splitlines()
        expected = float(rows[1].split(",")[1])
        assert metrics("other")["J&F"] == pytest.approx(expected, abs=0.05)
    elif kind == "json":
        assert metrics("other") == metrics("plain")
    else:  # numbered by their colours
        assert metrics("other")["J&F"] == pytest.approx(metrics("plain")["J&F"], abs=1e-6)


def break_first(root: Path, kind: str) -> None:
    mask = root / "Annotations/480p/cat/00000.png"
    if kind == "missing":
        for path in mask.parent.iterdir():
            path.unlink()
    elif kind == "empty":
        for path in mask.parent.iterdir():
            write_mask(path, np.zeros((40, 56), np.uint8))
    elif kind == "size":
        write_mask(mask, np.ones((30, 56), np.uint8))
    elif kind == "photo":
        cv2.imwrite(str(mask), np.random.default_rng(0).integers(0, 255, (40, 56, 3)))
    elif kind == "frame":
        cv2.imwrite(str(root / "JPEGImages/480p/cat/00002.jpg"), np.zeros((40, 60, 3), np.uint8))
    elif kind == "later size":
        write_mask(root / "Annotations/480p/cat/00002.png", np.ones((30, 56), np.uint8))
    elif kind == "text":
        (root / "JPEGImages/480p/cat/00001.jpg").write_text("no image")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "cat: none of its frames has an annotation"),
        ("empty", "cat: all masks are empty"),
        ("size", "cat: frame 00000 is 40x56 pixels, its mask 30x56"),
        ("photo", "Annotations/480p/cat/00000.png: expected a value for each object"),
        ("frame", "JPEGImages/480p/cat/00002.jpg: is 40x60 pixels, the first frame 40x56"),
        ("later size", "cat: the annotation of frame 00002 is 30x56 pixels"),
        ("text", "JPEGImages/480p/cat/00001.jpg cannot be decoded"),
    ],
)
def test_wrong_file_is_named_in_one_sentence(evaluate, folder, capsys, kind, expected):
    break_first(write_davis(folder / "davis"), kind)
    assert evaluate(*DAVIS, "paths.output_dir=run") == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Which task? Add one of these:\n  task="),
        (["task=davis"], "there is no such task, did you mean davis2017?"),
        (["task=davis2017", "encoder=lab_color"], "data.root is not set"),
        (["task=davis2017", "data.root=no", "encoder=lab_color"], "data.root=no: there is no"),
        (["task=jhmdb", "data.root=no", "encoder=lab_color"], "root=no: there is no such folder."),
        (["task=davis2017", "data=toy"], "Which encoder?"),
        ([*DAVIS, "checkpoint=x"], "checkpoint and encoder are both given"),
        (["task=davis2017", "data.root=davis", "checkpoint=x.ckpt"], "x.ckpt: there is no such"),
        (["task=davis2017", "data.root=davis", "checkpoint=auto"], "checkpoint=auto: there is no"),
        ([*DAVIS, "task.sequences=[cta]"], "no sequence cta, did you mean cat?"),
        ([*DAVIS, "propagator.temperature=0"], "temperature must be positive"),
        ([*DAVIS, "task.short_side=0"], "short_side must be at least 8 pixels"),
        (["task=jhmdb", "data=toy", *DAVIS[2:], "task.short_side=9"], "short_side=9: task.size"),
        ([*DAVIS, "propagator=all", "propagator.names=[crv]"], "propagator.names: crv is none of"),
        (["task=jhmdb", "data=toy", *DAVIS[2:], "propagator=all"], "propagator=all compares propa"),
        ([*DAVIS, "propagator.radus=3"], "did you mean propagator.radius?"),
        ([*DAVIS, "task.layer=layer3"], "LabColor has no layer 'layer3'"),
        ([*DAVIS, "data=images"], "this data set has no labelled sequences"),
        ([*DAVIS, "resume=davis"], "resume=davis: not a run folder of evaluate"),
        ([*DAVIS, "device=cuda"], "device=cuda: there is no CUDA device"),
        (["task=jhmdb", "data=davis2017", *DAVIS[1:]], "cat: has no keypoints"),
        ([*DAVIS, "task.attributes=no.yaml"], "task.attributes=no.yaml: there is no such file."),
        ([*DAVIS[:2], "encoder=r3d8"], "SmallResNet3d is an encoder of clips"),
        (["task=jhmdb", "data=toy", "encoder=r3d8"], "SmallResNet3d is an encoder of clips"),
        ([*DAVIS, "task.baselines=[random]"], "task.baselines=[random]: expected"),
    ],
)  # fmt: skip
def test_mistake_is_one_sentence(evaluate, folder, capsys, monkeypatch, arguments, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write_davis(folder / "davis", count=3)
    assert evaluate(*arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert "Traceback" not in told.err + told.out


def test_jhmdb_layout_gives_pck(evaluate, folder):
    from scipy.io import savemat

    source = ToyWorld(1, size=64, num_frames=6, split="test")
    frames = source.read(0, list(range(6)))
    for clip in ("a", "b"):
        images, joints = (
            folder / "j" / d / "wave" / clip for d in ("Rename_Images", "joint_positions")
        )
        images.mkdir(parents=True)
        joints.mkdir(parents=True)
        for time, frame in enumerate(frames.frames, 1):
            cv2.imwrite(str(images / f"{time:05d}.png"), frame.transpose(1, 2, 0)[..., ::-1])
        points = np.random.default_rng(0).uniform(8, 56, (2, 15, 1)) + np.zeros((2, 15, 6))
        savemat(joints / "joint_positions.mat", {"pos_img": points})
    (folder / "j/splits").mkdir()
    (folder / "j/splits/wave_test_split1.txt").write_text("a.avi 1\nb.avi 2\n")
    arguments = ("task=jhmdb", "data.root=j", "encoder=identity", "paths.output_dir=run")
    assert evaluate(*arguments, "overlay=true") == 0
    assert set(metrics("run").values()) == {100.0}, "the joints of this clip stand still"
    assert Path("run/overlays/wave/b.mp4").is_file()
    assert not Path("run/points/wave/a.npy").exists(), "a is a training clip"
