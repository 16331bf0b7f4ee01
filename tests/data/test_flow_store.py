"""`prepare=flow`, and sources that read what it wrote."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from jobs import prepare
from video_files import write_video

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.data.preparation.estimators import DisPairs, batched, pairs_at, with_flow
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import read_flow_and_valid


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a" / "one.mp4", num_frames=7)
    write_video(root / "a" / "one.mov", num_frames=5)
    write_video(root / "with blank.mp4", num_frames=6)
    write_video(root / "short.mp4", num_frames=1)
    return root


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("flow")
    outcome = prepare("flow", root=videos, output=output, strides=[3, 1])
    assert (outcome.good, outcome.bad) == (3, {"too short": 1})
    assert outcome.lines[0].endswith("flow of 24 pairs of frames, from 3 videos")  # 15 at 1, 9 at 3
    return output


def place(source: Source, key: str) -> int:
    return next(i for i in range(len(source)) if source.info(i).key == key)


def assert_stored(ours: Clip, theirs: Clip) -> None:
    """Clips are the same, up to how flow is stored."""
    assert ours.key == theirs.key
    assert ours.flow is not None
    assert ours.valid is not None
    assert theirs.flow is not None
    assert theirs.valid is not None
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    np.testing.assert_array_equal(ours.valid, theirs.valid)
    valid = theirs.valid[:, None]
    np.testing.assert_allclose(ours.flow * valid, theirs.flow * valid, atol=1 / 64)


@pytest.mark.parametrize("frames", [[2, 3, 4], [1, 4], [0, 3, 4]])
def test_videos_come_with_their_stored_flow(videos: Path, store: Path, frames: list[int]) -> None:
    stored = VideoFolder(videos, flow="stored", flow_root=store)
    stored = pickle.loads(pickle.dumps(stored))
    estimated = VideoFolder(videos, flow="dis", flow_preset="medium")
    assert stored.no_flow is None
    for key in ("a/one.mp4", "a/one.mov", "with blank.mp4"):
        index = place(stored, key)
        assert_stored(stored.read(index, frames), estimated.read(index, frames))


def test_flow_has_the_size_that_frames_are_read_at(videos: Path, store: Path) -> None:
    small = VideoFolder(videos, short_side=32, flow="stored", flow_root=store)
    full = VideoFolder(videos, flow="stored", flow_root=store)
    index = place(small, "a/one.mp4")
    ours, theirs = small.read(index, [0, 1]).flow, full.read(index, [0, 1]).flow
    assert ours is not None
    assert theirs is not None
    assert ours.shape == (1, 2, 32, 48)
    shrunk = cv2.resize(theirs[0].transpose(1, 2, 0), (48, 32)).transpose(2, 0, 1) / 2
    np.testing.assert_allclose(ours[0].mean((1, 2)), shrunk.mean((1, 2)), atol=0.02)


def test_folders_of_frames_come_with_their_stored_flow(videos: Path, tmp_path: Path) -> None:
    frames, flow = tmp_path / "frames", tmp_path / "flow"
    prepare("frames", root=videos / "a", output=frames, short_side=None)
    outcome = prepare("flow", root=frames, output=flow, strides=[1, 2])
    assert outcome.good == 2

    stored = FrameFolder(frames, layout="folders", flow="stored", flow_root=flow)
    estimated = FrameFolder(frames, layout="folders", flow="dis", flow_preset="medium")
    index = place(stored, "one.mp4")
    for numbers in ([1, 2, 3], [3, 5]):
        assert_stored(stored.read(index, numbers), estimated.read(index, numbers))
    reduced = stored.first_frame_only().read(index, [3, 5])
    assert len(reduced.frames) == 1
    np.testing.assert_array_equal(reduced.flow, stored.read(index, [3, 5]).flow)  # type: ignore[arg-type]

    listed = FrameFolder(tmp_path, layout="pairs", lists=["flow/pairs.txt"], flow="stored")
    assert len(listed) == 6 + 5 + 4 + 3
    pair = place(listed, "frames/one.mp4/000003.jpg frames/one.mp4/000005.jpg")
    np.testing.assert_array_equal(
        listed.read(pair, [0, 1]).flow,  # type: ignore[arg-type]
        stored.read(index, [3, 5]).flow,  # type: ignore[arg-type]
    )


def test_a_pair_that_is_missing_is_told_with_video_and_stride(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for name in ("one.mp4", "two.mp4"):
        write_video(root / name, num_frames=4)
    prepare("flow", root=root, output=tmp_path / "flow", strides=[2])
    source = VideoFolder(root, flow="stored", flow_root=tmp_path / "flow")
    with pytest.raises(UserError, match=r"^one\.mp4: flow at stride 1 is not stored .* only at 2"):
        source.read(0, [0, 1])
    with pytest.raises(UserError, match=r"flow at stride 0 is not stored"):
        source.read(0, [3, 3])

    (tmp_path / "flow" / "two.mp4" / "000001-to-000003.flowz").unlink()
    with pytest.raises(
        ClipReadError, match=r"^two\.mp4 has no stored flow from frame 000001 at stride 2: .*flowz"
    ) as caught:
        source.read(1, [1, 3])
    assert caught.value.reason == "no flow"
    (tmp_path / "flow" / "two.mp4" / "000001-to-000003.flowz").write_bytes(b"nonsense")
    with pytest.raises(ClipReadError, match=r"000001-to-000003\.flowz is not a \.flowz"):
        source.read(1, [1, 3])
    # the video has become another one
    write_video(root / "two.mp4", num_frames=4, rotation=90)
    with pytest.raises(
        ClipReadError, match="is 96×64, its frames are 64×96: it was made from other"
    ):
        VideoFolder(root, flow="stored", flow_root=tmp_path / "flow").read(1, [0, 2])


def test_a_store_that_is_none_is_one_sentence(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs data\.flow_root, the folder that"):
        VideoFolder(videos, flow="stored")
    with pytest.raises(UserError, match=r"^data\.flow_root=.* holds no finished flow"):
        VideoFolder(videos, flow="stored", flow_root=tmp_path)
    for text, message in (("{", "is damaged"), ('{"strides": [1], "suffix": ".flowz"}', "damaged")):
        (tmp_path / "store.json").write_text(text)
        with pytest.raises(UserError, match=message):
            VideoFolder(videos, flow="stored", flow_root=tmp_path)
    (tmp_path / "store.json").write_text('{"strides": [1], "suffix": ".flowz", "format": 99}')
    with pytest.raises(UserError, match="written by another version"):
        VideoFolder(videos, flow="stored", flow_root=tmp_path)


def test_flow_of_frames_with_blanks_is_stored_and_listed(videos: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    prepare("frames", root=videos, output=frames)
    outcome = prepare("flow", root=frames, output=tmp_path / "flow")
    assert outcome.lines[-1].startswith("or with data=yfcc data.root=")
    listed = FrameFolder(
        tmp_path, layout="pairs", lists=["flow/pairs.txt"], flow="stored", split="all"
    )
    keys = [listed.info(index).key for index in range(len(listed))]
    index = next(index for index, key in enumerate(keys) if key.startswith("frames/with blank/"))
    assert listed.read(index, [0, 1]).flow is not None
    source = FrameFolder(frames, layout="folders", flow="stored", flow_root=tmp_path / "flow")
    assert source.read(place(source, "with blank"), [0, 1]).flow is not None


def test_what_flow_cannot_be_made_of_is_refused(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    (folder / "some").mkdir(parents=True)
    for name in ("some/0.jpg", "some/1.jpg"):
        cv2.imwrite(str(folder / name), np.zeros((16, 16, 3), np.uint8))
    out = tmp_path / "flow"
    with pytest.raises(UserError, match=r"lies in prepare\.root="):
        prepare("flow", root=folder, output=folder / "flow")
    with pytest.raises(
        UserError, match=r"^prepare\.strides=\[0\]: give one or more different distances"
    ):
        prepare("flow", root=folder, output=out, strides=[0])
    with pytest.raises(UserError, match=r"prepare\.suffix=\.gz is unknown"):
        prepare("flow", root=folder, output=out, suffix=".gz")
    with pytest.raises(UserError, match=r"prepare\.flow=best is unknown: choose dis"):
        prepare("flow", root=folder, output=out, flow="best")
    write_video(folder / "more" / "x.mp4", num_frames=2)
    with pytest.raises(UserError, match=r"holds videos and folders of images: set prepare\.input"):
        prepare("flow", root=folder, output=out)
    assert prepare("flow", root=folder, output=out, input="frames").good == 1
    cv2.imwrite(str(folder / "0.jpg"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="has images directly in it"):
        prepare("flow", root=folder, output=tmp_path / "flow2", input="frames")
    with pytest.raises(UserError, match=r"prepare\.root=.*nowhere: there is no such folder"):
        prepare("flow", root=tmp_path / "nowhere", output=out, input="frames")


def test_pairs_of_all_distances_come_in_order_and_batches(videos: Path) -> None:
    images = [np.full((1, 1, 3), number, np.uint8) for number in range(5)]
    pairs = list(pairs_at(images, [1, 3]))
    assert [pair[:2] for pair in pairs] == [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (1, 4)]
    assert all(a == first[0, 0, 0] and b == second[0, 0, 0] for a, b, first, second in pairs)
    assert [len(some) for some in batched(range(7), 3)] == [3, 3, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_flow_does_not_depend_on_the_batch_it_is_estimated_in(videos: Path, size: int) -> None:
    source = VideoFolder(videos / "a")
    frames = list(source.read(place(source, "one.mp4"), range(7)).frames.transpose(0, 2, 3, 1))
    estimator = DisPairs(DISFlow("fast", check=False))
    estimator.batch_size = size
    given = list(with_flow(frames, estimator))
    assert [image is frame for (image, _), frame in zip(given, frames, strict=True)] == [True] * 7
    expected, _ = DISFlow("fast", check=False)(np.stack(frames))
    assert given[0][1] is None
    for (_, flow), wanted in zip(given[1:], expected, strict=True):
        assert flow is not None
        np.testing.assert_array_equal(flow[0], wanted)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an untrained network: its flow means nothing, but is the same at every call."""
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small().state_dict(), path)
    return path


def test_raft_stores_what_it_estimates(weights: Path, tmp_path: Path) -> None:
    from selfsup_motion.data.flow.device import RaftFlow

    root, output = tmp_path / "videos", tmp_path / "flow"
    write_video(root / "one.mp4", num_frames=4)
    options = {"flow": "raft_small", "flow_weights": str(weights), "flow_batch": 2}
    outcome = prepare("flow", root=root, output=output, suffix=".flo", **options)
    assert outcome.good == 1

    frames = torch.from_numpy(VideoFolder(root).read(0, range(4)).frames.copy())
    expected, known = RaftFlow("raft_small", weights)(frames[:-1], frames[1:])
    for t in range(3):
        flow, valid = read_flow_and_valid(output / "one.mp4" / f"{t:06d}-to-{t + 1:06d}.flo")
        assert (valid == known[t].numpy()).mean() > 0.999
        both = valid & known[t].numpy()
        np.testing.assert_allclose(flow[:, both], expected[t].numpy()[:, both], atol=1e-3)
    other = tmp_path / "other.pth"
    other.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(UserError, match="was started with flow="):
        prepare(
            "flow",
            root=root,
            output=output,
            suffix=".flo",
            **(options | {"flow_weights": str(other)}),
        )


def test_raft_without_weights_is_told_before_anything_is_done(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"^prepare\.flow=raft_large needs weights, .*flow_weights"):
        prepare("flow", root=videos, output=tmp_path / "out", flow="raft_large")
    assert not (tmp_path / "out").exists()
