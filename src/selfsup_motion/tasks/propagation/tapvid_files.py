"""TAP-Vid's files: pickles of videos with the tracks of points, and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.array_pickles import read_array_pickle
from selfsup_motion.data.reading.pictures import decode_image
from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown


@dataclass(frozen=True)
class TrackedVideo:
    """A video whose points are known.

    Attributes:
        name: of the video.
        frames: (T, 3, H, W) uint8.
        points: (N, T, 2) float64 x, y as shares of width and height; (0, 0) is the corner of the
            image, not the centre of its first pixel.
        occluded: (N, T) bool.
    """

    name: str
    frames: NDArray[np.uint8]
    points: NDArray[np.float64]
    occluded: NDArray[np.bool_]


class TrackedVideos(Protocol):
    """A set of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of all videos."""
        ...

    def open(self, name: str) -> TrackedVideo:
        """The video of that name."""
        ...


class TapVidFiles:
    """TAP-Vid in its pickles: DAVIS, RGB-Stacking, RoboTAP, the shards of Kinetics.

    A pickle holds a dict of videos by name, or a list of them; a video is a dict with `video`
    (T, H, W, 3) uint8 or T encoded images, `points` (N, T, 2) and `occluded` (N, T). One pickle is
    in memory at a time. Videos of a list are called by their number; where there are several
    pickles, names begin with the pickle's.

    Args:
        root: a pickle, or a folder of pickles.
    """

    def __init__(self, root: str) -> None:
        path = Path(root)
        files = [path] if path.is_file() else sorted(path.glob("*.pkl"))
        if not files:
            raise UserError(
                f"data.root={root}: there is no .pkl file, expected TAP-Vid's pickles, for "
                "example tapvid_davis.pkl."
            )
        self._content = lru_cache(maxsize=1)(_videos)
        self._places: dict[str, tuple[Path, Any]] = {}
        for file in files:
            for key in self._content(file):
                name = f"{key:04d}" if isinstance(key, int) else key
                name = name if len(files) == 1 else f"{file.stem}/{name}"
                self._places[name] = file, key
        self.names = list(self._places)

    def open(self, name: str) -> TrackedVideo:
        """The video of that name.

        Raises:
            UserError: its arrays are missing or do not fit together.
        """
        file, key = self._places[name]
        place = f"{file}: video {shown(name)}"
        entry = self._content(file)[key]
        if not isinstance(entry, Mapping) or not {"video", "points", "occluded"} <= set(entry):
            raise UserError(f"{place}: expected a dict with video, points and occluded.")
        frames = _frames(entry["video"], place)
        try:
            points = np.asarray(entry["points"], np.float64)
            occluded = np.asarray(entry["occluded"]).astype(bool)
        except (TypeError, ValueError) as error:
            raise UserError(f"{place}: points and occluded are no arrays of numbers.") from error
        tracks = points.shape[:1]
        if points.shape != (*tracks, len(frames), 2) or occluded.shape != (*tracks, len(frames)):
            raise UserError(
                f"{place}: points {points.shape} and occluded {occluded.shape} do not fit its "
                f"{len(frames)} frames, expected (N, {len(frames)}, 2) and (N, {len(frames)})."
            )
        if not np.isfinite(points[~occluded]).all():
            raise UserError(f"{place}: a visible point has no finite position.")
        return TrackedVideo(name, frames, points, occluded)


def _videos(file: Path) -> dict[Any, Any]:
    """The videos of a pickle, by name or number."""
    content = read_array_pickle(file)
    if isinstance(content, (list, tuple)):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file}: expected a dict or a list of videos, as TAP-Vid's pickles have.")
    for name in content:
        if isinstance(name, int):
            continue
        # results are files of this name
        if not isinstance(name, str) or name in (".", "..") or PurePosixPath(name).name != name:
            raise UserError(f"{file}: {name!r} is no name of a video, it cannot name a file.")
    return content


def _frames(video: Any, place: str) -> NDArray[np.uint8]:
    """(T, 3, H, W)."""
    if isinstance(video, np.ndarray) and video.dtype.kind == "O":
        video = list(video)
    encoded = isinstance(video, (list, tuple)) and len(video)
    if encoded and all(isinstance(frame, bytes) for frame in video):
        images = [decode_image(data, f"{place}, frame {i}") for i, data in enumerate(video)]
        if len({image.shape for image in images}) > 1:
            raise UserError(f"{place}: its frames differ in size.")
        video = np.stack(images)
    if (
        not isinstance(video, np.ndarray)
        or video.dtype != np.uint8
        or video.ndim != 4
        or video.shape[3] != 3
        or not video.size
    ):
        raise UserError(
            f"{place}: expected frames (T, H, W, 3) of uint8, or a list of encoded images."
        )
    return video.transpose(0, 3, 1, 2)
