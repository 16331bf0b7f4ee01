"""`data=worlds`: stills of natural statistics with exact motion, and the cut-outs they may hold."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.data.preparation.cutouts import CutOut, cut
from selfsup_motion.data.preparation.work import Work
from selfsup_motion.data.worlds import Worlds
from selfsup_motion.data.worlds.cutouts import LIST, Cutouts
from selfsup_motion.data.worlds.scene import Mixture
from selfsup_motion.data.worlds.shapes import area, outline
from selfsup_motion.errors import ClipReadError, UserError

WORLDS = Worlds(num_stills=1000, size=64)


def blob(size: int = 64, radius: int = 12) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return ((x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2).astype(np.uint8)


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a/0", "b/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(f"{tmp_path / name}.png", rng.integers(0, 255, (64, 64, 3), np.uint8))
        cv2.imwrite(f"{tmp_path / name}_mask.png", blob())
    shift = [[1.0, 0, 3.0], [0, 1.0, -2.0]]
    (tmp_path / LIST).write_text(json.dumps({"a/0": [shift], "b/0": [shift]}))
    return tmp_path


def test_a_still_depends_on_its_number_alone() -> None:
    again = pickle.loads(pickle.dumps(WORLDS))
    WORLDS.read(3, [0])  # another one in between
    for index in (0, 7):
        first, second = WORLDS.read(index, [0]), again.read(index, [0])
        assert np.array_equal(first.frames, second.frames)
        assert np.array_equal(first.flow, second.flow)
    assert not np.array_equal(WORLDS.read(0, [0]).frames, WORLDS.read(1, [0]).frames)


def motion_of(seen: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The (3, 2) motion of a piece, fitted to where it is seen."""
    y, x = np.nonzero(seen)
    return np.linalg.lstsq(np.column_stack([x, y, np.ones_like(x)]), flow[:, y, x].T, rcond=None)[0]


def test_both_pieces_carry_their_joint_to_the_same_place() -> None:
    stiff = Worlds(num_stills=1000, size=64, mixture=Mixture(things=(1, 2), bends=0.0))
    turning = 0
    for index in range(40):
        clip = stiff.read(index, [0])
        pieces, masks = clip.labels["pieces"][0], clip.labels["masks"][0]
        assert np.array_equal(pieces > 0, masks > 0)
        joints = zip(clip.labels["joints"], clip.labels["joined"], strict=True)
        for joint, pair in joints:
            seen = [pieces == number for number in pair]
            if min(one.sum() for one in seen) < 12:
                continue
            assert len({*masks[seen[0]].tolist(), *masks[seen[1]].tolist()}) == 1
            motions = [motion_of(one, clip.flow[0]) for one in seen]
            ends = [np.append(joint, 1) @ motion for motion in motions]
            np.testing.assert_allclose(ends[0], ends[1], atol=2e-3)
            turning += not np.allclose(*motions, atol=1e-3)
    assert turning >= 3


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "val"}])
def test_seeds_and_splits_are_different_worlds(other: dict[str, object]) -> None:
    theirs = Worlds(num_stills=1000, size=64, **other)  # type: ignore[arg-type]
    assert not np.array_equal(WORLDS.read(0, [0]).frames, theirs.read(0, [0]).frames)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999))
def test_what_rests_rests_and_what_moves_moves(index: int) -> None:
    clip = WORLDS.read(index, [0])
    assert clip.flow is not None
    length, things = np.hypot(*clip.flow[0]), clip.labels["masks"][0]
    moving = clip.labels["moving"].tolist()
    rests = ~np.isin(things, moving)
    assert not length[rests].any()
    for number in moving:
        assert length[things == number].max() > 0.2
    assert length.max() < 64


def test_flow_is_where_the_pixels_go(cutouts: Path) -> None:
    mixture = Mixture(in_place=1.0)
    worlds = Worlds(num_stills=10, size=64, cutouts=cutouts, mixture=mixture)
    for index in range(10):
        clip = worlds.read(index, [0])
        assert clip.flow is not None
        seen = clip.labels["masks"][0] == 1
        assert seen.any()
        assert np.hypot(*clip.flow[0])[seen].min() > 0.1


def test_cutouts_are_pasted(cutouts: Path) -> None:
    plain = Worlds(num_stills=10, size=64, mixture=Mixture(in_place=0.0))
    pasted = Worlds(num_stills=10, size=64, cutouts=cutouts, mixture=Mixture(in_place=0.0))
    frames = [(a.read(i, [0]).frames, i) for i in range(10) for a in (plain, pasted)]
    assert any(
        not np.array_equal(a[0], b[0]) for a, b in zip(frames[::2], frames[1::2], strict=True)
    )


def test_folders_of_cutouts_are_drawn_from_evenly(tmp_path: Path) -> None:
    names = {f"many/{i}": [[[1, 0, 0], [0, 1, 0]]] for i in range(100)}
    (tmp_path / LIST).write_text(json.dumps({**names, "few/0": [[[1, 0, 0], [0, 1, 0]]]}))
    found = Cutouts(tmp_path)
    ranks = np.searchsorted(found._until, np.random.default_rng(0).random(2000))
    share = np.mean([found.names[r].startswith("few") for r in ranks])
    assert 0.2 < share < 0.28  # 1 against the fourth root of 100


def test_photos_are_backgrounds(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((80, 90, 3), (0, 0, 200), np.uint8))
    mixture = Mixture(photos=1.0, things=(1, 1), area=(0.01, 0.02))
    worlds = Worlds(num_stills=20, size=64, textures=tmp_path, mixture=mixture)
    redness = [np.median(worlds.read(i, [0]).frames[0], (1, 2)) for i in range(20)]
    assert np.mean([r > g + 40 and r > b + 40 for r, g, b in redness]) > 0.8


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"split": "other"}, "split must be one of"),
        ({"size": 8}, "size must be at least 32"),
        ({"num_stills": 0}, "num_stills must be at least 1"),
        ({"cutouts": "nowhere"}, "data.cutouts=nowhere"),
        ({"textures": "nowhere"}, "data.textures"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Worlds(**settings)  # type: ignore[arg-type]


def test_a_second_frame_is_refused() -> None:
    with pytest.raises(ClipReadError, match=r"data\.length=1"):
        WORLDS.read(0, [0, 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_outlines_are_of_unit_size(seed: int) -> None:
    assert area(outline(np.random.default_rng(seed))) == pytest.approx(np.pi, rel=0.05)


def moved_square(shift: int, camera: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 90, (30, 40, 3), np.uint8), (360, 270))
    thing = cv2.resize(rng.integers(160, 255, (8, 8, 3), np.uint8), (70, 70))
    first, second = ground[20:244, 20:319].copy(), ground[20:244, 20 + camera : 319 + camera].copy()
    first[80:150, 60:130] = thing
    second[80:150, 60 + shift : 130 + shift] = thing
    mask = np.zeros(first.shape[:2], bool)
    mask[80:150, 60:130] = True
    return first, second, mask


def test_a_moving_camera_moves_every_pixel() -> None:
    still = Worlds(num_stills=10, size=64, mixture=Mixture(camera=1.0, bends=0)).read(0, [0])
    resting = ~np.isin(still.labels["masks"][0], still.labels["moving"])
    y, x = np.nonzero(resting)
    flow = still.flow[0][:, y, x].T
    fit, *_ = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], 1).astype(float), flow, rcond=None)
    assert np.hypot(*flow.T).min() > 0
    assert np.abs(np.stack([x, y, np.ones_like(x)], 1) @ fit - flow).max() < 1e-3


def test_prepare_makes_a_folder_of_cutouts(tmp_path: Path) -> None:
    clips = tmp_path / "clips" / "park"
    clips.mkdir(parents=True)
    frames = [moved_square(shift)[1] for shift in range(0, 24, 2)]
    with av.open(str(clips / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width - width % 2, height, "yuv420p"
        stream.options = {"threads": "1", "crf": "10"}
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image[:, : stream.width].copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    job = CutOut(
        root=tmp_path / "clips",
        output=tmp_path / "cut",
        per_video=3,
        gaps=[2],
        extensions=[".mp4"],
    )
    told = Work(num_workers=1).run(job).lines
    assert told[0].startswith(f"{tmp_path / 'cut' / LIST}: 3 of 3 frames")
    assert len(Cutouts(tmp_path / "cut")) == 3
    still = Worlds(num_stills=4, size=64, cutouts=tmp_path / "cut", mixture=Mixture(in_place=1.0))
    assert still.read(0, [0]).labels["moving"].tolist() == [1]
    next((tmp_path / "cut").rglob("*_mask.png")).unlink()
    again = Work(num_workers=1).run(job)  # what is missing is made again
    assert again.done == 1


@pytest.mark.parametrize("camera", [0, 2])
def test_what_moves_is_cut_along_its_outline(camera: int) -> None:
    first, second, mask = moved_square(6, camera)
    scene = cut(first, second, DISFlow("medium"))
    assert scene is not None
    found = scene.mask > 0
    assert (found & mask).sum() / (found | mask).sum() > 0.9
    wanted = np.array([6 + camera, 0])  # relative to the ground
    centre = np.array([94.5, 114.5])
    moved = scene.motions[0][:, :2] @ centre + scene.motions[0][:, 2] - centre
    assert np.abs(moved - wanted).max() < 0.7


def test_frames_in_which_nothing_moves_are_left_out() -> None:
    first, _, _ = moved_square(0)
    assert cut(first, first, DISFlow("medium")) is None
