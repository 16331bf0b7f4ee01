"""What the jobs that read whole videos share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.geometry import check_short_side
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.frame_times import nearest
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.data.reading.timed_video import FrameTable
from selfsup_motion.errors import ClipReadError, UserError

_BYTES_AT_ONCE = 200_000_000
_ROUNDING = 1e-6  # seconds


class FolderPerVideo:
    """What the jobs have in common that make a folder of pictures of each video.

    Args:
        root: folder of videos.
        output: folder for the folders.
        extensions: of the files that are videos.
    """

    def __init__(self, root: str | Path, output: str | Path, extensions: Sequence[str]) -> None:
        self.root, self.output = Path(root), Path(output)
        self.extensions = list(extensions)

    def units(self) -> list[str]:
        """The videos."""
        return list(self.folders)

    @cached_property
    def folders(self) -> dict[str, str]:
        """The folder of each video, relative to `output`."""
        return folder_names(
            find_files(self.root, self.extensions, "videos", key="prepare.root", regular_only=False)
        )

    def stamp(self, unit: str) -> list[int]:
        """Size and time of the video file."""
        return file_stamp(self.root / unit)


def file_stamp(path: Path) -> list[int]:
    """Size and time of modification."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def folder_names(videos: Sequence[str]) -> dict[str, str]:
    """A folder name for each video: its path without extension, unless two would share it or it
    has videos itself (`a.mp4` beside `a/b.mp4`), whose folders would lie in it."""
    stems = Counter(str(PurePosixPath(video).with_suffix("")) for video in videos)
    folders = {str(parent) for video in videos for parent in PurePosixPath(video).parents}
    files = frozenset(videos)
    names = {}
    for video in videos:
        stem = str(PurePosixPath(video).with_suffix(""))
        alone = stems[stem] == 1 and stem not in files and stem not in folders
        names[video] = stem if alone else video
    return names


def open_video(root: Path, name: str) -> VideoFile:
    """Open a video, to be read for as long as `Work` allows; raises `ClipReadError`."""
    return VideoFile(root / name, name, time_limit=math.inf)


def chosen_frames(table: FrameTable, fps: float | None, name: str) -> NDArray[np.int64]:
    """Numbers of the frames nearest to the times 0, 1/fps, 2/fps, … (of two, the earlier); all of
    them without `fps`."""
    total = len(table.pts)
    if fps is None:
        return np.arange(total)
    if table.counted and table.fps is None:
        raise ClipReadError(f"{name} has no frame rate: leave out fps.", file=name)
    wanted = np.arange(0.0, table.seconds[-1] + _ROUNDING, 1 / fps)
    return np.unique(nearest(table.seconds, wanted))


def decoded(
    video: VideoFile, numbers: NDArray[np.int64], short_side: int | None
) -> Iterator[NDArray[np.uint8]]:
    """Frames (H, W, 3) RGB of a video in bounded memory; raises `ClipReadError`."""
    height, width = video.table.height, video.table.width
    scale = 1.0 if short_side is None else short_side / min(height, width)
    # each group decodes anew from the key frame before it: as long as memory allows
    group = max(8, int(_BYTES_AT_ONCE / (3 * height * width * scale**2)))
    for start, stop in pairwise([*range(0, len(numbers), group), len(numbers)]):
        yield from video.read(numbers[start:stop].tolist(), short_side)


def jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """(H, W, 3) RGB as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    data: bytes = buffer.tobytes()
    return data


def check_pictures(
    short_side: int | None, quality: int | None = None, fps: float | None = None
) -> None:
    """Refuse what cannot work, as a `UserError`."""
    check_short_side(short_side, "prepare.short_side")
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"prepare.quality must be between 1 and 100, got {quality}.")
    if fps is not None and fps <= 0:
        raise UserError(f"prepare.fps must be positive, got {fps:g}.")


def picture_settings(short_side: int | None, quality: int, fps: float | None) -> dict[str, Any]:
    """As they are written down."""
    return {"short_side": short_side, "quality": quality, "fps": fps}
