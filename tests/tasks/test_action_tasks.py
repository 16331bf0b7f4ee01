"""Frozen features on labelled videos: official lists, neighbours, retrieval, linear probe."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.motion import ACTIONS
from selfsup_motion.errors import UserError
from selfsup_motion.models.resnet import ResNetEncoder
from selfsup_motion.models.small_resnet3d import SmallResNet3d
from selfsup_motion.tasks.actions.evaluation import Actions
from selfsup_motion.tasks.actions.few_shot import FewShot
from selfsup_motion.tasks.actions.lists import folder_lists, hmdb51_lists, ucf101_lists
from selfsup_motion.tasks.actions.videos import ActionVideos, ClipViews, ToyActions
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.scores import (
    LinearProbe,
    knn_scores,
    neighbours,
    recalls,
    top_k,
    top_scores,
)
from selfsup_motion.weights.checkpoints import load_encoder
from selfsup_motion.weights.used import untrained_copy


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def write_video(path: Path, length: int, level: int = 90, size: tuple[int, int] = (48, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for index in range(length):
            picture = np.full((*size, 3), level + index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def folder(test_share: float) -> dict:
    """Arguments of `ActionVideos` for a folder of class folders."""
    options = {"lists": None, "split": 1, "short_side": None}
    return {"layout": "folder", "test_share": test_share, **options}


@pytest.fixture
def ucf(tmp_path) -> Path:
    touch(tmp_path, "A/v_A_g01.avi", "A/v_A_g02.avi", "B/v_B_g01.avi", "v_B_g02.avi")
    (tmp_path / "classInd.txt").write_text("1 A\n2 B\n")
    (tmp_path / "trainlist01.txt").write_text("A/v_A_g01.avi 1\r\nB/v_B_g01.avi 2\n\n")
    (tmp_path / "testlist01.txt").write_text("A/v_A_g02.avi\nB/v_B_g02.avi\n")
    return tmp_path


def test_ucf101s_lists_give_videos_and_labels(ucf):
    lists = ucf101_lists(ucf, ucf, 1)
    assert lists.classes == ("A", "B")
    assert [(v.path, v.label) for v in lists.train] == [("A/v_A_g01.avi", 0), ("B/v_B_g01.avi", 1)]
    # some copies of the data set have no class folders
    assert [(v.path, v.label) for v in lists.test] == [("A/v_A_g02.avi", 0), ("v_B_g02.avi", 1)]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "1 A\n3 B\n", r"classInd.txt:2: class B has number 3, expected 2"),
        ("classInd.txt", "1 A\n2 A\n", r"classInd.txt:2: .*repetitions"),
        ("classInd.txt", "A\n", r"classInd.txt:1: expected a number and a class"),
        ("classInd.txt", "", "classInd.txt is empty"),
        ("trainlist01.txt", "A/v_A_g01.avi 2\n", r"trainlist01.txt:1: A has label 2"),
        ("trainlist01.txt", "v_A_g01.avi 1\n", r"trainlist01.txt:1: .* names no class"),
        ("testlist01.txt", "A/v_A_g02.avi 2\n", r"testlist01.txt:1: A has label 2, .* says 1"),
        ("testlist01.txt", "A/v_A_g02.avi,1,3\n", r"testlist01.txt:1: expected a path, or a"),
        ("testlist01.txt", "\nC/x.avi\n", r"testlist01.txt:2: 'C/x.avi' names no class"),
        (
            "testlist01.txt",
            "A/v_A_g02.avi\nA/gone.avi\n",
            r"1 of 4 videos of the list .* A/gone.avi \(.*testlist01.txt:2\)",
        ),
    ],
)
def test_wrong_lists_of_ucf101_are_refused_with_file_and_line(ucf, file, text, message):
    (ucf / file).write_text(text)
    with pytest.raises(UserError, match=message):
        ucf101_lists(ucf, ucf, 1)


def test_missing_lists_and_unknown_splits_are_refused(ucf):
    with pytest.raises(UserError, match=r"trainlist02.txt cannot be read"):
        ucf101_lists(ucf, ucf, 2)
    with pytest.raises(UserError, match="splits 1, 2 and 3"):
        ucf101_lists(ucf, ucf, 4)
    with pytest.raises(UserError, match=r"has no <class>_test_split1.txt"):
        hmdb51_lists(ucf, ucf, 1)


def test_hmdb51s_lists_give_videos_and_labels(tmp_path):
    touch(tmp_path, "run/a b.avi", "run/c.avi", "wave/d.avi", "wave/e.avi")
    (tmp_path / "run_test_split1.txt").write_text("a b.avi 1 \nc.avi 2 \nunused.avi 0 \n")
    (tmp_path / "wave_test_split1.txt").write_text("d.avi 1\ne.avi 2\n")
    lists = hmdb51_lists(tmp_path, tmp_path, 1)
    assert lists.classes == ("run", "wave")
    assert [(v.path, v.label) for v in lists.train] == [("run/a b.avi", 0), ("wave/d.avi", 1)]
    assert [v.path for v in lists.test] == ["run/c.avi", "wave/e.avi"]
    (tmp_path / "wave_test_split1.txt").write_text("d.avi 1\ne.avi 3\n")
    with pytest.raises(UserError, match=r"wave_test_split1.txt:2: expected a file and 0, 1 or 2"):
        hmdb51_lists(tmp_path, tmp_path, 1)
    (tmp_path / "wave_test_split1.txt").write_text("d.avi 1\n\ngone.avi 2\n")
    with pytest.raises(UserError, match=r"1 of 4 .* wave/gone.avi \(.*wave_test_split1.txt:3\)"):
        hmdb51_lists(tmp_path, tmp_path, 1)


def test_any_folder_of_class_folders_is_divided_by_class(tmp_path):
    touch(tmp_path, *(f"{c}/{i}.mp4" for c in ("cat", "dog") for i in range(8)), "one/0.mp4")
    lists = folder_lists(tmp_path, 0.25)
    assert lists.classes == ("cat", "dog", "one")
    paths = {v.path for v in lists.train}, {v.path for v in lists.test}
    assert not paths[0] & paths[1]
    assert len(paths[0] | paths[1]) == 17
    assert {v.label for v in lists.test} == {0, 1}
    touch(tmp_path, "train/cat/0.mp4", "train/dog/1.mp4", "test/cat/2.mp4")
    lists = folder_lists(tmp_path, 0.25)
    assert [v.path for v in lists.test] == ["test/cat/2.mp4"]
    touch(tmp_path, "test/cow/0.mp4")
    with pytest.raises(UserError, match="class cow has videos to test on and none to train on"):
        folder_lists(tmp_path, 0.25)
    with pytest.raises(UserError, match="at least two"):
        folder_lists(tmp_path / "cat", 0.25)


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("{part}/{action}", ("train", "val")),
        ("{part}/{action}", ("Training", "TESTING")),
        ("UCF-101/{part}/{action}", ("train", "validation")),
        ("{action}/{part}", ("train", "valid")),
    ],
)
def test_folders_of_parts_are_never_classes(tmp_path, layout, folders):
    for part in folders:
        for action in ("run", "jump"):
            folder = layout.format(part=part, action=action)
            touch(tmp_path, *(f"{folder}/{n}.mp4" for n in range(3)))
    lists = folder_lists(tmp_path, 0.25)
    assert lists.classes == ("jump", "run")
    for videos, part in ((lists.train, folders[0]), (lists.test, folders[1])):
        assert len(videos) == 6
        assert all(part in video.path.split("/") for video in videos)
        assert all(lists.classes[video.label] in video.path for video in videos)


def test_test_videos_come_from_test_then_val_then_a_share_of_train(tmp_path, caplog):
    touch(tmp_path, *(f"{p}/{c}/{n}.mp4" for p in ("train", "val") for c in "ab" for n in range(4)))
    touch(tmp_path, "test/unlabelled.mp4")  # as Kinetics comes
    with caplog.at_level(logging.WARNING):
        assert {v.path[:3] for v in folder_lists(tmp_path, 0.25).test} == {"val"}
    assert "1 video outside class folders not used" in caplog.text
    touch(tmp_path, "test/a/0.mp4", "test/b/0.mp4")
    assert {v.path[:4] for v in folder_lists(tmp_path, 0.25).test} == {"test"}
    for part in ("val", "test"):
        shutil.rmtree(tmp_path / part)
    lists = folder_lists(tmp_path, 0.25)
    assert lists.classes == ("a", "b")
    assert len(lists.train) + len(lists.test) == 8
    (tmp_path / "train").rename(tmp_path / "val")
    with pytest.raises(UserError, match="none to train on"):
        folder_lists(tmp_path, 0.25)


def test_a_class_may_be_called_test(tmp_path):
    touch(tmp_path, *(f"{c}/{n}.mp4" for c in ("test", "run", "jump") for n in range(4)))
    assert folder_lists(tmp_path, 0.25).classes == ("jump", "run", "test")
    touch(tmp_path, *(f"train/{n}.mp4" for n in range(4)))
    lists = folder_lists(tmp_path, 0.25, split_folders=False)
    assert lists.classes == ("jump", "run", "test", "train")


def views(**changes) -> ClipViews:
    options = {"length": 4, "stride": 2, "clips": 3, "crops": 1, "short_side": 32, "size": 24}
    return ClipViews(**{**options, **changes})


def test_views_of_a_file_are_its_clips_and_windows(tmp_path):
    for name in ("a/x.mp4", "a/y.mp4", "b/x.mp4", "b/y.mp4"):
        write_video(tmp_path / name, 40)
    options = folder(0.5)
    part = ActionVideos(root=tmp_path, part="train", **options)
    made = part.views(0, views(crops=3))
    assert made.shape == (9, 4, 3, 24, 24)
    assert made.dtype == np.uint8
    levels = made[::3, 0].astype(float).mean((1, 2, 3))
    assert levels[0] < levels[1] < levels[2]  # later clips of a video that grows brighter
    assert np.abs(np.diff(made[0].astype(float).mean((1, 2, 3))) - 7 / 3).max() < 1.5


def test_videos_shorter_than_a_clip_stay_at_their_last_frame(tmp_path):
    for name in ("a/x.mp4", "a/y.mp4", "b/x.mp4", "b/y.mp4"):
        write_video(tmp_path / name, 3)
    options = folder(0.5)
    made = ActionVideos(root=tmp_path, part="test", **options).views(0, views())
    assert (made[:, 2] == made[:, 3]).all()


def test_toy_videos_have_the_labels_of_the_world():
    world = ToyWorld(4, size=64)
    toy = ToyActions(world)
    assert toy.classes == ACTIONS
    assert toy.labels[2] == world.read(2, [0]).labels["action"]
    frames = views().frames(64, None)
    made = toy.views(2, views(short_side=64, size=64))
    expected = world.read(2, frames[1].tolist()).frames
    np.testing.assert_array_equal(made[1], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"clips": 0}, "clips=0"), ({"crops": 2}, "crops=2"), ({"size": 40}, "size=40")],
)
def test_views_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        views(**changes)


def test_clips_and_frames_are_encoded_and_normalised():
    torch.manual_seed(0)
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    small = SmallResNet3d(width=4, widths=[8], strides=[(1, 2)]).eval()
    features = ClipFeatures(small)(clips)
    x = (clips.transpose(1, 2).float() - 114.75) / 57.375
    torch.testing.assert_close(features, small(x).mean((2, 3, 4)).detach(), atol=1e-5, rtol=1e-4)
    images = ResNetEncoder(10, width=8, out_channels=16)
    features = ClipFeatures(images)(clips)
    assert features.shape == (2, 16)
    each = torch.stack([ClipFeatures(images)(clips[:, t : t + 1]) for t in range(4)]).mean(0)
    torch.testing.assert_close(features, each, atol=1e-5, rtol=1e-4)
    stills, seen = clips[:, :1].expand_as(clips), []
    handle = images.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    still = ClipFeatures(images)(stills)
    handle.remove()
    assert seen[-1] == 2  # one frame of each, for they are all alike
    alone = ClipFeatures(images)(clips[:, :1])
    torch.testing.assert_close(still, alone)
    bare = nn.Conv3d(3, 4, 1)
    bare.sees = "clip"
    with pytest.raises(UserError, match="Conv3d has no input_mean, which is needed here"):
        ClipFeatures(bare)


def test_retrieval_counts_queries_with_a_right_one_among_k():
    gallery = torch.eye(4)
    labels = torch.tensor([0, 1, 1, 2])
    queries = torch.tensor([[0.1, 1.0, 0.9, 0.0], [1.0, 0.8, 0.0, 0.9]])
    truth = torch.tensor([1, 2])
    found, similarity = neighbours(queries, gallery, 9)
    assert found.tolist() == [[1, 2, 0, 3], [0, 3, 1, 2]]
    assert (similarity.diff(dim=1) <= 0).all()
    assert recalls(found, labels, truth, (1, 2)) == {"R@1": 0.5, "R@2": 1.0}
    for temperature in (0.07, 0.001):
        votes = knn_scores(found[:, :3], similarity[:, :3], labels, 3, temperature)
        assert votes.isfinite().all()
        assert votes.argmax(1).tolist() == [1, 0]


def test_retrieval_leaves_out_what_any_order_would_give():
    labels = torch.tensor([0, 0, 0, 1])
    found = torch.arange(4).expand(2, 4)
    # of 3 videos that are not the one of class 1, one is of class 0; 4 are all
    assert recalls(found, labels, torch.tensor([0, 1]), (1, 2, 3, 4, 50)) == {
        "R@1": 0.5, "R@2": 0.5, "R@3": 0.5,
    }  # fmt: skip
    assert recalls(found, labels, torch.tensor([0, 0]), (1, 2)) == {"R@1": 1.0}
    assert recalls(found[:, :2], labels[:2], torch.tensor([0, 0]), (1, 2)) == {}


def test_top_five_is_told_of_more_than_five_classes():
    truth = torch.arange(4)
    assert list(top_scores("top", torch.eye(4, 5), truth)) == ["top1"]
    assert top_scores("top", torch.eye(4, 6), truth) == {"top1": 1.0, "top5": 1.0}


def test_equal_neighbours_come_in_the_order_of_the_gallery():
    found, _ = neighbours(torch.ones(1, 3), torch.ones(5, 3), 5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]


def test_the_linear_probe_separates_what_is_separable_and_is_deterministic():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=generator) * 4
    labels = torch.arange(60) % 3
    features = centres[labels] + torch.randn(60, 6, generator=generator)
    probes = [LinearProbe(features, labels, 3, penalty=1e-3, steps=100) for _ in range(2)]
    scores = probes[0].probabilities(centres[labels])
    assert top_k(scores, labels, 1) == 1.0
    assert torch.equal(probes[0].weight, probes[1].weight)
    torch.testing.assert_close(scores.sum(1), torch.ones(60).double())
    strong = LinearProbe(features, labels, 3, penalty=10.0, steps=100)
    assert strong.weight.norm() < 0.2 * probes[0].weight.norm()


class MeanColour(nn.Module):
    """Features that know the brightness of a clip and nothing else."""

    input_mean, input_std, sees = (0.0,) * 3, (1.0,) * 3, "clip"

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, 255 - x], 1)


def test_the_task_scores_videos_and_clips_and_takes_features_over(tmp_path, caplog):
    for action, level in (("dark", 20), ("light", 200)):
        for index in range(4):
            write_video(tmp_path / action / f"{index}.mp4", 10, level + index)
    options = folder(0.5)
    parts = [ActionVideos(root=tmp_path, part=p, **options) for p in ("train", "test")]
    task = Actions(
        train=parts[0], test=parts[1], views=views(), neighbours=2, temperature=0.07,
        recall_at=[1, 5], penalty=1e-3, probe_steps=50,
        few_shot=FewShot(
            ways=2, shots=[1, 9], queries=1, episodes=20, metric="euclidean", seed=0
        ),
        baselines=["untrained"], seed=0,
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    seen = []
    metrics = task.run(MeanColour(), out, progress=lambda *now: seen.append(now))
    assert metrics["linear_top1"] == metrics["linear_clip_top1"] == metrics["knn_top1"] == 1
    assert metrics["R@1"] == 1
    # of two classes and four videos to choose from, these would be right whatever was learned
    assert "R@5" not in metrics
    assert "linear_top5" not in metrics
    assert (metrics["fewshot_2way_1shot"], metrics["fewshot_2way_1shot_ci95"]) == (1, 0)
    assert "fewshot_2way_9shot" not in metrics
    assert seen[-1][:2] == (8, 8)
    assert task.beside == {}  # it has nothing to learn
    with (out / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["class"] == row["linear"] == row["knn"] for row in rows)
    assert len(rows) == len(parts[1].names)
    seen.clear()
    assert (
        task.run(MeanColour(), out, reuse=True, progress=lambda *now: seen.append(now)) == metrics
    )
    assert not seen
    file = out / "features_test.npz"
    for spoilt in (file.read_bytes()[:-50], (out / "features_train.npz").read_bytes(), b""):
        file.write_bytes(spoilt)
        caplog.clear()
        seen.clear()
        again = task.run(MeanColour(), out, reuse=True, progress=lambda *now: seen.append(now))
        assert again == metrics
        assert len(seen) == len(parts[1].names)
        assert (
            caplog.messages[0]
            == f"{file} is damaged or belongs to other videos; it is computed again."
        )


def test_the_untrained_encoder_stands_beside_and_videos_are_decoded_once(
    tmp_path, cmp_checkpoint, monkeypatch
):
    for action, level in (("dark", 20), ("light", 200)):
        for index in range(2):
            write_video(tmp_path / action / f"{index}.mp4", 10, level + index)
    parts = [ActionVideos(root=tmp_path, part=p, **folder(0.5)) for p in ("train", "test")]
    task = Actions(
        train=parts[0], test=parts[1], views=views(), neighbours=2, temperature=0.07, recall_at=[1],
        penalty=1e-3, probe_steps=5, few_shot=None, baselines=["untrained"], seed=5,
    )  # fmt: skip
    decoded = []
    read = ActionVideos.views
    monkeypatch.setattr(ActionVideos, "views", lambda *a: decoded.append(a[1]) or read(*a))
    encoder = load_encoder(cmp_checkpoint)
    metrics = task.run(encoder, tmp_path / "out")
    assert len(decoded) == 4
    beside = task.beside["untrained"]
    assert beside.keys() == metrics.keys()
    files = [tmp_path / "out" / p / "features_test.npz" for p in ("", "baselines/untrained")]
    ours, theirs = (np.load(file)["features"] for file in files)
    assert not np.allclose(ours, theirs)
    assert task.run(untrained_copy(encoder, 5), tmp_path / "fresh") == pytest.approx(beside)
    np.testing.assert_allclose(np.load(tmp_path / "fresh/features_test.npz")["features"], theirs)
    files[1].unlink()
    decoded.clear()
    task.run(encoder, tmp_path / "out", reuse=True)
    assert len(decoded) == 2
    np.testing.assert_array_equal(np.load(files[1])["features"], theirs)


def test_real_actions_are_read(shared):
    part = ActionVideos(root=shared / "data" / "actions", part="train", **folder(0.3))
    assert {"asl", "kinetics", "ucf101"} <= set(part.classes)
    made = part.views(len(part.names) - 1, views(clips=1))
    assert made.std() > 10


def test_frames_of_real_ucf101_files_are_those_shown(shared):
    """Some are packed MPEG-4 in AVI, whose time stamps are made up in the wrong order."""
    files = sorted((shared / "data" / "actions" / "ucf101").rglob("*.avi"))
    assert files
    for path in files:
        with av.open(str(path)) as container:
            shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        video = VideoFile(path, path.name)
        assert len(video.table.pts) == len(shown)
        wanted = [7, 2, 3, 50, len(shown) - 1]
        np.testing.assert_array_equal(video.read(wanted, None), [shown[i] for i in wanted])
        video.close()
