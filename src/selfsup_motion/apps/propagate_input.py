"""What `propagate` reads: a video file or a folder of frames, one frame at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsup_motion.apps.arrows import Rows, parse_rows, read_json
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis_files import FrameFolderVideo
from selfsup_motion.tasks.propagation.sequences import Frame

if TYPE_CHECKING:
    from selfsup_motion.tasks.propagation.keypoints import Points

PointList = str | Rows | Mapping[str, Sequence[float]]
"""[[x, y], ...] or {"nose": [x, y], ...} in pixels, or the path of a JSON file of that."""

_FOLDER_FPS = 25.0


@dataclass(frozen=True)
class FrameStream:
    """Frames that are decoded while they are read.

    Attributes:
        path: of the file or folder.
        frame_names: a name for each frame, for result files.
        fps: frames per second.
    """

    path: Path
    frame_names: list[str]
    fps: float
    _video: VideoFile | FrameFolderVideo

    def frames(self) -> Iterator[Frame]:
        """(3, H, W) uint8 RGB, in order.

        Raises:
            UserError: a frame cannot be read, or differs in size from the first.
        """
        if isinstance(self._video, FrameFolderVideo):
            yield from self._video.frames()
            return
        size = None
        for time, image in enumerate(self._video.stream()):
            size = size or image.shape
            if image.shape != size:
                raise UserError(
                    f"{self.path}: frame {time} is {image.shape[1]}x{image.shape[0]} pixels, the "
                    f"first {size[1]}x{size[0]}; convert the video to one size."
                )
            yield image.transpose(2, 0, 1)


def read_points(points: PointList) -> tuple[list[str], Points]:
    """Names and positions of the points that are to be followed.

    Args:
        points: see `PointList`.

    Returns:
        K names, numbers where none are given, and (K, 2) x, y.

    Raises:
        UserError: naming the file and the entry.
    """
    where, content = "points", points
    if isinstance(points, str):
        where, content = points, read_json(points, "points", "[[x,y]]")
    rows: Any = list(content.values()) if isinstance(content, Mapping) else content
    found = parse_rows(rows, where, 2, "x, y")
    if not len(found):
        raise UserError(f"{where}: no point to follow; give at least one, as [[x,y]].")
    return [str(name) for name in _names(content)], found


def _names(content: Any) -> Collection[Any]:
    return content.keys() if isinstance(content, Mapping) else range(len(content))


def open_inputs(
    video: str, mask: str | None, points: PointList | None, fps: float | None = None
) -> FrameStream:
    """Make sure that there is a video, and one thing that says what to follow in it.

    Args:
        video: file, or folder of frames; an image in it that `mask` names is none of them.
        mask: file of the first frame's objects; or
        points: its points.
        fps: see `open_frames`.

    Raises:
        UserError: something is missing or cannot be read.
    """
    if (mask is None) == (points is None):
        raise UserError(
            "What is to be followed? Give mask=<indexed PNG of the first frame> or "
            "points=[[x,y],...], one of them."
        )
    if points is not None:
        read_points(points)
    stream = open_frames(Path(video), fps, [] if mask is None else [Path(mask)])
    if len(stream.frame_names) < 2:
        raise UserError(f"video={video}: has a single frame, nothing can be followed in it.")
    return stream


def open_frames(path: Path, fps: float | None, leave_out: Collection[Path] = ()) -> FrameStream:
    """Open a video file or a folder of frames.

    Args:
        path: of it.
        fps: frames per second; None: the file's, 25 for a folder.
        leave_out: images in the folder that are no frames.

    Raises:
        UserError: there is no such file, nothing in it can be read, or the order of the frames
            cannot be told.
    """
    if not path.exists():
        raise UserError(f"video={path}: there is no such file or folder.")
    if path.is_dir():
        folder = FrameFolderVideo(path, leave_out=leave_out)
        return FrameStream(path, folder.frame_names, fps or _FOLDER_FPS, folder)
    video = VideoFile(path, str(path))
    count = len(video.table.pts)
    digits = max(5, len(str(count - 1)))
    names = [f"{time:0{digits}d}" for time in range(count)]
    return FrameStream(path, names, fps or video.table.fps or _FOLDER_FPS, video)
