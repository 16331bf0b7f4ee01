"""What people upload: into a file of the session, decoded once to see that it is what it claims.

What a file is called, and what the browser says of its type, decides nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Session, Stored

_PHOTOS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}
_SHOWN_SIDE = 2048
"""Longest side of the copy that the page shows."""
_LOSSLESS = 1.5e6
"""Pixels up to which that copy is without loss."""
_QUALITY = 92

# Playlists and lists of files are formats too, which would make the decoder open other files.
_VIDEO_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".mkv"),
    (8, b"AVI ", ".avi"),
    (0, b"\x47", ".ts"),
    (0, b"\x00\x00\x01\xba", ".mpg"),
    (4, b"moov", ".mov"),
    (4, b"mdat", ".mov"),
    (4, b"wide", ".mov"),
    (0, b"OggS", ".ogv"),
)


@dataclass(frozen=True)
class Limits:
    """Of what is uploaded.

    Attributes:
        megabytes: of a file.
        megapixels: of a photo, or of a frame.
        seconds: of a video.
    """

    megabytes: float
    megapixels: float
    seconds: float

    def as_json(self) -> dict[str, float]:
        """What the page may know."""
        return {
            "megabytes": self.megabytes,
            "megapixels": self.megapixels,
            "seconds": self.seconds,
        }


async def receive(parts: AsyncIterator[bytes], path: Path, megabytes: float) -> None:
    """Write what a browser sends to a file; nothing stays of what is too much.

    Args:
        parts: as they come.
        path: of the new file.
        megabytes: at most.

    Raises:
        Refusal: too much, or nothing at all.
    """
    size = 0
    try:
        with path.open("wb") as file:
            async for part in parts:
                size += len(part)
                if size > megabytes * 1e6:
                    raise Refusal(too_large(megabytes), 413)
                file.write(part)
        if not size:
            raise Refusal("The file is empty.")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def too_large(megabytes: float) -> str:
    """What to say of a file that is larger."""
    return (
        f"The file is larger than {megabytes:g} MB, the most that this studio takes: make it "
        "smaller, or start the studio with a larger max_megabytes."
    )


def add_photo(session: Session, draft: Path, name: str, limits: Limits) -> Stored:
    """Let a session have a photo.

    The file stays as it was sent, for the computations. The page is shown a copy of its pixels
    alone, upright: nothing else that the file holds reaches a browser.

    Args:
        session: its owner.
        draft: of `receive`; it becomes the session's, or is removed.
        name: to show.
        limits: of its pixels.

    Returns:
        A photo with `width` and `height` (of the upright photo) and `view`, the id of the copy.

    Raises:
        UserError: it is no photo, a damaged one, or too large.
    """
    # PyTorch is behind it
    from selfsup_motion.apps.photo import read_photo

    try:
        check_picture(draft, limits.megapixels)
        photo = read_photo(draft, name=name)
        height, width = photo.shape[-2:]
        view = session.new_path()
        shown = np.ascontiguousarray(photo.permute(1, 2, 0).numpy())
        media_type = _write_view(view, shown)
    except UserError:
        draft.unlink(missing_ok=True)
        raise
    copy = session.add(view, name, "view", media_type)
    about = {"width": width, "height": height, "view": copy.id}
    return session.add(draft, name, "photo", "application/octet-stream", about)


def check_picture(path: Path, megapixels: float) -> tuple[int, int]:
    """Look at the head of a picture before it is decoded.

    Returns:
        Its (height, width), as stored.

    Raises:
        Refusal: it is of no kind that is taken, or has too many pixels.
    """
    kinds = f"{', '.join(list(_PHOTOS)[:-1])} or {list(_PHOTOS)[-1]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(read_bytes(path, "The file")), formats=list(_PHOTOS))
    except Image.DecompressionBombError as error:
        raise Refusal(_too_many(megapixels), 413) from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise Refusal(
            f"The file is not a picture that can be read: give a {kinds} file.", 415
        ) from error
    with picture:
        if picture.width * picture.height > megapixels * 1e6:
            raise Refusal(_too_many(megapixels, picture.width, picture.height), 413)
        return picture.height, picture.width


def video_suffix(path: Path) -> str:
    """The usual suffix of a video file, by how it begins.

    Raises:
        Refusal: it begins as none of the kinds that are taken.
    """
    with path.open("rb") as file:
        start = file.read(16)
    for at, mark, suffix in _VIDEO_STARTS:
        if start[at : at + len(mark)] == mark:
            return suffix
    raise Refusal("The file is not a video that can be read: give MP4, MOV, WebM, MKV or AVI.", 415)


def _write_view(path: Path, photo: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """Write (H, W, 3) RGB for a browser; returns the media type."""
    height, width = photo.shape[:2]
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    picture = Image.fromarray(photo)
    if photo.shape[0] * photo.shape[1] <= _LOSSLESS:
        picture.save(path, "PNG", compress_level=1)
        return "image/png"
    picture.save(path, "JPEG", quality=_QUALITY)
    return "image/jpeg"


def _too_many(megapixels: float, width: int = 0, height: int = 0) -> str:
    size = f" of {width}x{height} pixels" if width else ""
    return (
        f"A picture{size} has more than {megapixels:g} megapixels, the most that this studio "
        "takes: make it smaller, or start the studio with a larger max_megapixels."
    )
