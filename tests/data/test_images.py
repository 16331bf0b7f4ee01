"""ImageFolder: still images of every kind, upright."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsup_motion.data.reading.pictures import decode_image
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.errors import ClipReadError, UserError


def photo(height: int = 40, width: int = 60) -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 250
    pixels[:, width // 2 :, 2] = 250
    return Image.fromarray(pixels)


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or photo()).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "deep/er/a.png", "a.webp", "a.bmp", "a.tif"])
def test_formats_are_read_as_rgb(tmp_path: Path, name: str) -> None:
    save(tmp_path / name)
    source = ImageFolder(tmp_path)
    info = source.info(0)
    assert (info.key, info.num_frames, info.height, info.width) == (name, 1, 40, 60)
    clip = source.read(0, [0])
    assert clip.frames.shape == (1, 3, 40, 60)
    assert clip.frames[0, :, 20, 10].tolist() == pytest.approx([250, 0, 0], abs=12)
    assert clip.frames[0, :, 20, 50].tolist() == pytest.approx([0, 0, 250], abs=12)
    assert clip.flow is None


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    save(tmp_path / f"a.{suffix}", photo().convert(mode))
    clip = ImageFolder(tmp_path).read(0, [0])
    assert clip.frames.shape == (1, 3, 40, 60)
    left = clip.frames[0, :, 20, 10].astype(int)
    assert left[0] > 60
    if mode != "L":
        assert left[0] > 150
        assert left[2] < 60


def test_odd_colour_profile_is_passed_over_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain, odd = save(tmp_path / "a.png"), save(tmp_path / "b.png", icc_profile=b"odd" * 60)
    assert len(odd.read_bytes()) > len(plain.read_bytes())
    source = ImageFolder(tmp_path)
    first, second = (source.read(i, [0]).frames for i in range(2))
    assert (first == second).all()
    assert capfd.readouterr().err == ""
    with pytest.raises(ClipReadError, match="damaged"):
        decode_image(odd.read_bytes()[:60], "b.png")  # ends within the profile


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise
    save(tmp_path / "a.jpg", exif=exif)
    source = ImageFolder(tmp_path)
    info = source.info(0)
    assert (info.height, info.width) == (60, 40)
    clip = source.read(0, [0])
    assert clip.frames.shape == (1, 3, 60, 40)
    assert clip.frames[0, 0, 10, 20] > 200  # the left is the top now


def test_short_side(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    source = ImageFolder(tmp_path, short_side=20)
    assert (source.info(0).height, source.info(0).width) == (20, 30)
    assert source.read(0, [0]).frames.shape == (1, 3, 20, 30)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.05, 0.0])
def test_incomplete_files_are_told(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ClipReadError, match=rf"a\.{suffix} (is empty|cannot be decoded)") as caught:
        ImageFolder(tmp_path).read(0, [0])
    assert caught.value.file == f"a.{suffix}"


def test_an_embedded_thumbnail_does_not_hide_a_missing_end(tmp_path: Path) -> None:
    thumbnail = save(tmp_path / "thumbs/small.jpg").read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    whole = save(tmp_path / "images/a.jpg", Image.fromarray(noise)).read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "images/a.jpg"
    path.write_bytes(whole[:2] + segment + whole[2:])
    assert ImageFolder(tmp_path / "images").read(0, [0]).frames.shape == (1, 3, 80, 80)
    path.write_bytes(whole[:2] + segment + whole[2:-500])
    with pytest.raises(ClipReadError):
        ImageFolder(tmp_path / "images").read(0, [0])


def test_train_and_val_folders_are_splits(tmp_path: Path) -> None:
    for name in ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg"):
        save(tmp_path / name)
    keys = {
        split: [
            ImageFolder(tmp_path, split=split).info(0).key,
            len(ImageFolder(tmp_path, split=split)),
        ]
        for split in ("train", "val", "all")
    }
    assert keys == {
        "train": ["train/cat/1.jpg", 2],
        "val": ["val/cat/3.jpg", 1],
        "all": ["train/cat/1.jpg", 3],
    }


def test_a_still_image_has_one_frame(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(ClipReadError, match="still image"):
        ImageFolder(tmp_path).read(0, [0, 1])
    assert pickle.loads(pickle.dumps(ImageFolder(tmp_path))).read(0, [0, 0]).frames.shape[0] == 2


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("")
    with pytest.raises(UserError, match=r"holds no images .*, only 1 × \.mp4"):
        ImageFolder(tmp_path)


@pytest.mark.timeout(300)
def test_a_pipe_is_told_without_waiting(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")  # opening it would wait for ever
    source = ImageFolder(tmp_path)
    assert len(source) == 2
    for ask in (source.info, lambda index: source.read(index, [0])):
        with pytest.raises(ClipReadError, match=r"^b\.jpg is not a regular file") as caught:
            ask(1)
        assert caught.value.reason == "not a file"
