"""TAP-Vid: scores at their limits, files, tracking by features, and the whole task."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from selfsup_motion.errors import UserError
from selfsup_motion.models.color_encoder import ColorPatches, NoMotion
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.tasks.propagation.matching import FeatureMatcher, sample
from selfsup_motion.tasks.propagation.tapvid_files import TapVidFiles
from selfsup_motion.tasks.propagation.tapvid_metrics import sample_queries, tapvid_metrics

MODES = ("first", "strided")


def random_tracks(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 256, (9, 23, 2)), rng.random((9, 23)) < 0.4


def scored(mode: Any, change: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]) -> dict:
    """Scores of a prediction made of the queries and the truth."""
    points, occluded = random_tracks()
    queries, tracks = sample_queries(points, occluded, mode)
    truth = points[tracks], occluded[tracks]
    return tapvid_metrics(queries, *truth, *change(queries, *truth), mode)


@pytest.mark.parametrize("mode", MODES)
def test_perfect_prediction_scores_one(mode):
    found = scored(mode, lambda queries, points, occluded: (points, occluded))
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize("mode", MODES)
def test_occlusion_changes_jaccard_and_not_delta(mode):
    noise = np.random.default_rng(1).normal(0, 4, (200, 23, 2))
    near = lambda points: points + noise[: len(points)]  # noqa: E731
    honest = scored(mode, lambda queries, points, occluded: (near(points), occluded))
    hidden = scored(mode, lambda queries, points, occluded: (near(points), occluded | True))
    assert hidden["AJ"] == 0 < honest["AJ"]
    assert hidden["delta_avg"] == honest["delta_avg"] > 0


def test_only_strided_queries_are_scored_before_their_frame():
    def lost_before(queries, points, occluded):
        before = np.arange(23) < queries[:, :1]
        return np.where(before[..., None], points + 500, points), occluded

    assert scored("first", lost_before)["delta_avg"] == 1
    assert scored("strided", lost_before)["delta_avg"] < 0.8


def test_video_without_visible_points_has_no_score():
    points, occluded = random_tracks()
    assert not len(sample_queries(points, occluded | True, "first")[0])
    occluded[:] = True
    occluded[:, 0] = False  # only where they are asked
    queries, tracks = sample_queries(points, occluded, "first")
    found = tapvid_metrics(queries, points[tracks], occluded, points[tracks], occluded, "first")
    assert np.isnan(found["delta_avg"])
    assert found["OA"] == 1


def test_features_between_cells_are_mixed_and_continued_at_the_border():
    features = torch.arange(12.0).view(1, 3, 4)
    points = torch.tensor([[0.5, 0.5], [1.0, 1.0], [0.0, 0.0], [4.0, 3.0]])
    found = sample(features, points, "euclidean")[:, 0].tolist()
    assert found == pytest.approx([0, 2.5, 0, 11], abs=1e-5)


def moving_squares() -> tuple[np.ndarray, np.ndarray]:
    """(T, 3, 64, 64) frames of two squares that move, and their centres (2, T, 2)."""
    frames = np.full((8, 64, 64, 3), 90, np.uint8)
    centres = np.empty((2, 8, 2))
    for time in range(8):
        left, top = 4 + 4 * time, 40 - 4 * time
        frames[time, 8:20, left : left + 12] = (250, 40, 40)
        frames[time, top : top + 12, 48:60] = (40, 40, 250)
        centres[:, time] = (left + 6, 14), (54, top + 6)
    return frames.transpose(0, 3, 1, 2), centres


def test_points_are_found_before_and_after_their_query_and_each_by_itself():
    frames, centres = moving_squares()
    queries = np.array([[3, *centres[0, 3, ::-1]], [7, *centres[1, 7, ::-1]], [0, 2, 2]])
    encoder = FrameEncoder(ColorPatches())
    points, visible = FeatureMatcher().track(encoder, frames, queries)
    assert np.abs(points[:2] - centres).max() < 2
    assert visible[:2].all()
    np.testing.assert_array_equal(points[[0, 1, 2], [3, 7, 0]], queries[:, :0:-1])
    alone, _ = FeatureMatcher().track(encoder, frames, queries[1:2])
    np.testing.assert_allclose(alone[0], points[1], atol=1e-4)


def test_point_that_disappears_is_told_to_be_hidden():
    frames, centres = moving_squares()
    frames = frames.copy()
    frames[5:] = 90
    queries = np.array([[0, *centres[0, 0, ::-1]]])
    _, visible = FeatureMatcher().track(FrameEncoder(ColorPatches()), frames, queries)
    assert visible[0].tolist() == [True] * 5 + [False] * 3


def test_points_of_identity_stay_where_they_are():
    frames, centres = moving_squares()
    queries = np.array([[2, *centres[0, 2, ::-1]]])
    points, visible = FeatureMatcher().track(FrameEncoder(NoMotion()), frames, queries)
    assert (points == centres[0, 2]).all()
    assert visible.all()


def video(seed: int = 0, count: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    frames, centres = moving_squares()
    points = np.concatenate([centres / 64, rng.random((count - 2, 8, 2))])
    occluded = np.zeros((count, 8), bool)
    occluded[2:] = True  # never visible
    frames = np.ascontiguousarray(frames.transpose(0, 2, 3, 1))
    return {"video": frames, "points": points.astype(np.float32), "occluded": occluded}


def dump(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_read(tmp_path, protocol):
    file = dump(tmp_path / "tapvid_davis.pkl", {"goat": video()}, protocol)
    for root in (file, tmp_path):
        source = TapVidFiles(str(root))
        assert source.names == ["goat"]
        read = source.open("goat")
        assert read.frames.shape == (8, 3, 64, 64)
        np.testing.assert_array_equal(read.frames[0, :, 9, 5], (250, 40, 40))
        np.testing.assert_array_equal(read.points, video()["points"])


def test_shards_with_lists_of_encoded_frames_are_read(tmp_path):
    frames = [cv2.imencode(".png", f[..., ::-1])[1].tobytes() for f in video()["video"]]
    for number in range(2):
        parts = [{**video(number), "video": v} for v in (frames, np.array(frames, object))]
        dump(tmp_path / f"{number:04d}_of_0010.pkl", parts)
    source = TapVidFiles(str(tmp_path))
    assert source.names == [f"000{n}_of_0010/000{m}" for n in (0, 1) for m in (0, 1)]
    for name in source.names:
        expected = video()["video"].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(source.open(name).frames, expected)


class Trap:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch trap",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": Trap()}, r"x\.pkl: refused, it names (posix|os)\.system, which could run code"),
        (OrderedDict(a=video()), r"refused, it names collections\.OrderedDict"),
        ({"a": np.array([Trap()], object)}, "refused, it names"),
        ([], "expected a dict or a list of videos"),
        (np.zeros(3), "expected a dict or a list of videos"),
        ({"../a": video()}, "'../a' is no name of a video"),
        ({"a": {"video": 3}}, "video a: expected a dict with video, points and occluded"),
        ({"a": {**video(), "video": np.zeros((8, 64, 64))}}, r"\(T, H, W, 3\) of uint8"),
        ({"a": {**video(), "points": np.zeros((3, 7, 2))}}, r"do not fit its 8 frames"),
        ({"a": {**video(), "points": "many"}}, "are no arrays of numbers"),
        ({"a": {**video(), "points": np.full((3, 8, 2), np.nan)}}, "no finite position"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, monkeypatch, content, expected):
    monkeypatch.chdir(tmp_path)
    file = dump(tmp_path / "x.pkl", content)
    with pytest.raises(UserError, match=expected) as caught:
        TapVidFiles(str(file)).open("a")
    assert "\n" not in str(caught.value)
    assert not Path("trap").exists()


def test_damaged_and_missing_pickles_are_named(tmp_path):
    file = dump(tmp_path / "x.pkl", {"a": video()})
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"x\.pkl: not a complete pickle"):
        TapVidFiles(str(file))
    with pytest.raises(UserError, match=r"there is no \.pkl file, expected TAP-Vid's pickles"):
        TapVidFiles(str(tmp_path / "none"))


@pytest.fixture
def evaluate(command: Callable[..., int]) -> Callable[..., int]:
    return partial(command, "evaluate")


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def test_official_files_are_scored_and_taken_over_if_whole(evaluate, tmp_path, capsys):
    hidden = {**video(), "occluded": np.ones((3, 8), bool)}
    dump(tmp_path / "d/tapvid_davis.pkl", {"goat": video(), "void": hidden})
    run = ("task=tapvid", "data.root=d", "encoder=color_patches", "task.size=[64,64]")
    assert evaluate(*run, "paths.output_dir=run", "overlay=true") == 0
    told = capsys.readouterr().out
    assert "void: left out, none of its 3 tracks is visible in a frame that is asked." in told
    found = summary("run")
    assert found["tracker"]["similarity"] == "euclidean"
    assert found["metrics"]["AJ"] > 0.5 > found["baselines"]["identity"]["AJ"]
    assert found["metrics"]["OA"] == 1
    assert Path("run/overlays/goat.mp4").stat().st_size > 500
    file = Path("run/predictions/goat.npz")
    with np.load(file) as arrays:
        assert arrays["pred_tracks"].shape == (2, 8, 2)
        assert arrays["query_points"][0] == pytest.approx([0, 14 * 4, 10 * 4])
    whole, other = file.read_bytes(), Path("run/baselines/raw_color/predictions/goat.npz")
    stamp = other.stat().st_mtime_ns
    file.write_bytes(whole[: len(whole) // 2])
    assert evaluate(*run, "resume=run") == 0
    assert "goat.npz is damaged: computed again." in capsys.readouterr().out
    assert summary("run")["metrics"] == found["metrics"]
    assert other.stat().st_mtime_ns == stamp


def test_toy_joints_are_tracked(evaluate, tmp_path):
    toy = ("data=toy", "data.size=64", "data.difficulty.puppet=1", "data.sequences.length=6",
           "data.sequences.source.num_videos=2", "task.size=[64,64]")  # fmt: skip
    for mode in MODES:
        run = (f"task.queries={mode}", f"paths.output_dir={mode}", "encoder=color_patches")
        assert evaluate("task=tapvid", *toy, *run) == 0
        found = summary(mode)
        assert 0 < found["metrics"]["AJ"] <= found["metrics"]["delta_avg"] < 1
    text = Path("strided/per_sequence.csv").read_text().splitlines()
    assert text[0].startswith("sequence,delta_avg,AJ,OA,delta_1,jaccard_1")
    assert len(text) == 3
