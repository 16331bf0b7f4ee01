"""FrameFolder: the paper's lists of pairs, and folders of frames."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.pair_lists import PairList
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import write_flow, write_flow_jpegs

SIZE = (48, 64)


def grey(index: int) -> int:
    return 10 + 20 * index


def write_frame(path: Path, level: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), level, np.uint8))


def make_flow(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    flow = np.empty((2, *size), np.float32)
    flow[0], flow[1] = index + 1, -index
    return flow


def write_pairs(root: Path, count: int = 3, flow: str = ".flo", folder: str = "") -> list[str]:
    """Pairs of grey levels (i, i + 1) whose flow is (i + 1, -i); returns the list's lines."""
    lines = []
    for index in range(count):
        stem = f"{folder}pair{index}"
        write_frame(root / f"{stem}_0.jpg", grey(index))
        write_frame(root / f"{stem}_1.jpg", grey(index + 1))
        columns = [f"{stem}_0.jpg", f"{stem}_1.jpg"]
        if flow == "jpg":
            columns += [f"{stem}_x.jpg", f"{stem}_y.jpg"]
            write_flow_jpegs(root / columns[2], root / columns[3], make_flow(index), 100)
        else:
            columns += [f"{stem}{flow}"]
            write_flow(root / columns[2], make_flow(index))
        lines.append(" ".join(columns))
    return lines


def write_list(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def pairs(root: Path, **options: object) -> FrameFolder:
    return FrameFolder(root, layout="pairs", **{"flow": "stored", **options})


@pytest.mark.parametrize(
    ("kind", "error"), [("jpg", 0.6), (".flo", 0), (".png", 0.01), (".flowz", 0.02)]
)
def test_pairs_come_with_their_stored_flow(tmp_path: Path, kind: str, error: float) -> None:
    write_list(tmp_path / "lists/train.txt", write_pairs(tmp_path, flow=kind))
    source = pairs(tmp_path)
    assert len(source) == 3
    for index in range(3):
        info = source.info(index)
        assert (info.num_frames, info.height, info.width) == (2, *SIZE)
        clip = source.read(index, [0, 1])
        assert clip.frames.mean(axis=(1, 2, 3)) == pytest.approx([grey(index), grey(index + 1)])
        assert clip.flow is not None
        assert clip.flow_origin == "stored"  # nobody has said how it was made
        np.testing.assert_allclose(clip.flow[0], make_flow(index), atol=error)
        assert clip.key == info.key


def test_second_frame_is_not_touched_when_only_flow_counts(tmp_path: Path) -> None:
    write_list(tmp_path / "lists/train.txt", write_pairs(tmp_path))
    whole = pairs(tmp_path)
    (tmp_path / "pair1_1.jpg").unlink()
    clip = whole.first_frame_only().read(1, [0, 1])
    assert clip.frames.shape == (1, 3, *SIZE)
    assert clip.flow is not None
    np.testing.assert_array_equal(clip.flow[0], make_flow(1))
    with pytest.raises(ClipReadError, match=r"pair1_1\.jpg does not exist"):
        whole.read(1, [0, 1])


def test_second_frame_is_read_when_flow_is_estimated_from_it(tmp_path: Path) -> None:
    write_list(tmp_path / "lists/train.txt", write_pairs(tmp_path))
    clip = pairs(tmp_path, flow="dis").first_frame_only().read(0, [0, 1])
    assert len(clip.frames) == 2
    assert clip.flow is not None


def test_lists_follow_one_another_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    first, second, third = write_pairs(tmp_path)
    (tmp_path / "a.txt").write_text(f"\n{first}  \n \t\n\n{second}")  # no line break at its end
    (tmp_path / "b.txt").write_text(f"{third}\r\n\r\n")
    names = [pairs(tmp_path, lists=["a.txt", "b.txt"]).info(i).key for i in range(3)]
    assert names == [f"pair{i}_0.jpg pair{i}_1.jpg" for i in range(3)]


def test_three_and_four_columns_mix(tmp_path: Path) -> None:
    lines = write_pairs(tmp_path, 1, folder="a/") + write_pairs(tmp_path, 1, "jpg", folder="b/")
    write_list(tmp_path / "all.txt", lines)
    source = pairs(tmp_path)
    for index in range(2):
        flow = source.read(index, [0, 1]).flow
        assert flow is not None
        np.testing.assert_allclose(flow[0], make_flow(0), atol=0.6)


@pytest.mark.parametrize("line", ["a.jpg b.jpg", "a.jpg b.jpg c.jpg d.jpg e.jpg"])
def test_wrong_columns_are_told_with_the_line(tmp_path: Path, line: str) -> None:
    write_list(tmp_path / "all.txt", [*write_pairs(tmp_path), "", line])
    with pytest.raises(UserError, match=r"all\.txt:5: expected image1 image2 flow, or .* got"):
        pairs(tmp_path)


def test_a_list_relative_to_another_folder_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path / "inner")
    write_list(tmp_path / "inner/lists/train.txt", [f"inner/{x}" for x in ("a b c", "d e f")])
    with pytest.raises(UserError, match=r"set data\.root to the folder that the paths"):
        pairs(tmp_path / "inner")


def test_no_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no list of frame pairs"):
        pairs(tmp_path)


def test_published_val_list_is_found(tmp_path: Path) -> None:
    lines = write_pairs(tmp_path)
    write_list(tmp_path / "lists/train.txt", lines[:2])
    write_list(tmp_path / "lists/val.txt", lines[2:])
    assert [len(pairs(tmp_path, split=s)) for s in ("train", "val")] == [2, 1]


def test_held_out_pairs_are_whole_folders_and_stay(tmp_path: Path) -> None:
    lines = [line for i in range(20) for line in write_pairs(tmp_path, 3, folder=f"video{i}/")]
    write_list(tmp_path / "lists/train.txt", lines)

    def folders(split: str) -> set[str]:
        source = pairs(tmp_path, split=split, val_share=0.3)
        return {source.info(i).key.split("/")[0] for i in range(len(source))}

    train, val = folders("train"), folders("val")
    assert len(train) + len(val) == 20
    assert val
    assert not train & val
    write_list(tmp_path / "lists/train.txt", lines[:-6])
    assert folders("val") <= val


def test_lists_take_no_objects_per_pair(tmp_path: Path) -> None:
    count = 20_000
    file = write_list(
        tmp_path / "x.txt", [f"v/{i}_0.jpg v/{i}_1.jpg v/{i}.flo" for i in range(count)]
    )
    source = PairList([file])
    assert len(source) == count
    assert source[12345] == ["v/12345_0.jpg", "v/12345_1.jpg", "v/12345.flo"]
    # two numbers per pair beside the text
    assert len(pickle.dumps(source)) < file.stat().st_size + 16 * count + 2000


def test_flow_of_another_size_and_damage_are_told(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path))
    write_flow(tmp_path / "pair0.flo", make_flow(0, (48, 32)))
    data = (tmp_path / "pair1.flo").read_bytes()
    (tmp_path / "pair1.flo").write_bytes(data[:100])
    (tmp_path / "pair2_0.jpg").write_bytes((tmp_path / "pair2_0.jpg").read_bytes()[:-30])
    source = pairs(tmp_path)
    for index, message in enumerate(
        ["its image 64×48", "damaged or incomplete", "cannot be decod"]
    ):
        with pytest.raises(ClipReadError, match=message) as caught:
            source.read(index, [0, 1])
        assert caught.value.file.startswith(f"pair{index}")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path, 1))
    source = pairs(tmp_path)
    (tmp_path / "pair0_0.jpg").unlink()
    os.mkfifo(tmp_path / "pair0_0.jpg")
    with pytest.raises(ClipReadError, match="not a regular file"):
        source.info(0)


def test_short_side_resizes_flow_with_the_frames(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path))
    source = pairs(tmp_path, short_side=24)
    clip = source.read(1, [0, 1])
    assert clip.frames.shape == (2, 3, 24, 32)
    assert clip.flow is not None
    np.testing.assert_allclose(clip.flow[0], make_flow(1, (24, 32)) / 2)
    assert (source.info(1).height, source.info(1).width) == (24, 32)


def test_unknown_flow_is_invalid_and_harmless(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path))
    valid = np.ones(SIZE, bool)
    valid[:, :10] = False
    write_flow(tmp_path / "pair0.flo", make_flow(0), valid)
    clip = pairs(tmp_path).read(0, [0, 1])
    assert clip.valid is not None
    assert clip.flow is not None
    np.testing.assert_array_equal(clip.valid[0], valid)
    assert np.abs(clip.flow).max() == 1


def test_stored_flow_leads_from_first_to_second_only(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path))
    with pytest.raises(UserError, match="length 2 at stride 1"):
        pairs(tmp_path).read(0, [1, 0])


def test_source_survives_pickling(tmp_path: Path) -> None:
    write_list(tmp_path / "all.txt", write_pairs(tmp_path))
    source = pairs(tmp_path)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read(2, [0, 1]).frames, source.read(2, [0, 1]).frames)


def write_folders(root: Path) -> None:
    for video, count in (("a/long", 12), ("b", 3)):
        for index in range(count):
            write_frame(root / video / f"{index + 1}.jpg", grey(index))
    (root / "b/notes.txt").write_text("not a frame")


def test_folders_are_videos_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_folders(tmp_path)
    source = FrameFolder(tmp_path, layout="folders", fps=5)
    assert [source.info(i).key for i in range(2)] == ["a/long", "b"]
    assert [source.info(i).num_frames for i in range(2)] == [12, 3]
    clip = source.read(0, [0, 9, 10, 1])  # 1.jpg 10.jpg 11.jpg 2.jpg
    assert clip.frames.mean(axis=(1, 2, 3)) == pytest.approx([grey(i) for i in (0, 9, 10, 1)])
    assert clip.times is not None
    assert clip.times.tolist() == [0, 1.8, 2, 0.2]
    assert clip.flow is None


def test_a_folder_whose_frames_cannot_be_told_is_a_bad_one(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write_frame(tmp_path / "b/2.png", grey(9))  # a mask?
    source = FrameFolder(tmp_path)
    assert source.info(0).num_frames == 12
    for read in (source.info, lambda index: source.read(index, [0])):
        with pytest.raises(ClipReadError, match=r"b has 2\.jpg and 2\.png") as caught:
            read(1)
        assert caught.value.file == "b"


def test_csv_names_folders_and_counts(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "x.csv").write_text("b,2\n\na/long,12\n")
    source = FrameFolder(tmp_path, layout="folders", lists=["x.csv"], flow="dis")
    assert [source.info(i).key for i in range(2)] == ["b", "a/long"]
    assert source.info(0).num_frames == 2
    flow = source.read(1, [3, 4, 5]).flow
    assert flow is not None
    assert flow.shape == (2, 2, *SIZE)
    (tmp_path / "x.csv").write_text("b\n")
    with pytest.raises(UserError, match=r"x\.csv:1: expected a folder and its number .* got 'b'"):
        FrameFolder(tmp_path, layout="folders", lists=["x.csv"])


def test_folders_that_are_gone_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("gone,2\n")
    source = FrameFolder(tmp_path, layout="folders", lists=["x.csv"])
    with pytest.raises(ClipReadError, match="gone cannot be listed"):
        source.info(0)
    with pytest.raises(UserError, match=r"No folder in .* holds images"):
        FrameFolder(tmp_path, layout="folders")


def test_stored_flow_of_folders_needs_its_store(tmp_path: Path) -> None:
    write_folders(tmp_path)
    with pytest.raises(UserError, match=r"needs data\.flow_root, the folder that"):
        FrameFolder(tmp_path, layout="folders", flow="stored")
    with pytest.raises(UserError, match="set both"):
        FrameFolder(tmp_path, layout="folders", val_lists=["x.csv"])
    assert "stored or dis" in str(FrameFolder(tmp_path, layout="folders").no_flow)
