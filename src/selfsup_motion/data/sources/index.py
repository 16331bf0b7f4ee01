"""`VideoIndex`: what is known of many videos without opening one, in a single file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import UserError

NAME = "index.npz"
_FORMAT = 1


class VideoIndex(Sequence[VideoInfo]):
    """Keys, lengths, rates and sizes of N videos, a few arrays whatever N.

    Attributes:
        keys: N names.
        num_frames: (N,) int32.
        fps: (N,) float64, NaN where it is unknown.
        size: (N, 2) int32, height and width in pixels.
        more: further arrays whose first axis is N, for example `uneven`, bool: whether the frames
            of a video are not evenly spaced.
    """

    def __init__(
        self,
        keys: PathList,
        num_frames: NDArray[np.int32],
        fps: NDArray[np.float64],
        size: NDArray[np.int32],
        more: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> None:
        self.keys = keys
        self.num_frames = num_frames
        self.fps = fps
        self.size = size
        self.more = dict(more or {})

    @classmethod
    def of(
        cls, infos: Iterable[VideoInfo], more: Mapping[str, NDArray[np.generic]] | None = None
    ) -> VideoIndex:
        """Pack descriptions."""
        infos = list(infos)
        return cls(
            PathList(info.key for info in infos),
            np.array([info.num_frames for info in infos], np.int32),
            np.array([np.nan if info.fps is None else info.fps for info in infos], np.float64),
            np.array([(info.height, info.width) for info in infos], np.int32).reshape(-1, 2),
            more,
        )

    def __len__(self) -> int:
        return len(self.num_frames)

    def __getitem__(self, index: int) -> VideoInfo:  # type: ignore[override]  # no slices
        height, width = self.size[index].tolist()
        fps = float(self.fps[index])
        return VideoInfo(
            self.keys[index],
            int(self.num_frames[index]),
            None if np.isnan(fps) else fps,
            height,
            width,
        )

    def only(self, keys: Sequence[str]) -> VideoIndex:
        """The index of these videos, in this order; `KeyError` if one is not in it."""
        if keys == self.keys:
            return self
        places = {key: place for place, key in enumerate(self.keys)}
        kept = np.array([places[key] for key in keys], np.int64)
        more = {name: array[kept] for name, array in self.more.items()}
        return VideoIndex(
            PathList(keys), self.num_frames[kept], self.fps[kept], self.size[kept], more
        )

    def save(self, path: Path) -> None:
        """Write an uncompressed `.npz`; not atomic."""
        text, ends = self.keys.arrays()
        arrays: dict[str, NDArray[np.generic]] = {
            "format": np.array(_FORMAT),
            "keys": text,
            "key_ends": ends,
            "num_frames": self.num_frames,
            "fps": self.fps,
            "size": self.size,
            **{f"more_{name}": array for name, array in self.more.items()},
        }
        with path.open("wb") as stream:  # of a path, NumPy would change the suffix
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, key: str = "data.index") -> VideoIndex:
        """Read what `save` wrote.

        Args:
            path: the file, or the folder with an `index.npz`.
            key: the setting that names it, for messages.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = path / NAME if path.is_dir() else path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{key}={path}: {error.strerror}; `python -m selfsup_motion.prepare` makes one."
            ) from error
        return cls.parse(data, f"{key}={path}")

    @classmethod
    def parse(cls, data: bytes, name: str) -> VideoIndex:
        """Read the content of such a file; `name` is for messages.

        Raises:
            UserError: it is damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                if int(arrays["format"]) != _FORMAT:
                    raise ValueError(f"its format is {arrays['format']}, not {_FORMAT}")
                return cls(
                    PathList.from_arrays(arrays["keys"], arrays["key_ends"]),
                    arrays["num_frames"],
                    arrays["fps"],
                    arrays["size"],
                    {n.removeprefix("more_"): arrays[n] for n in arrays if n.startswith("more_")},
                )
        # the last three: what zipfile raises where a bit of its table of contents is wrong
        except (
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile,
            NotImplementedError, RuntimeError, zlib.error,
        ) as error:  # fmt: skip
            raise UserError(
                f"{name} is not an index or is damaged ({error}): make it again with "
                "`python -m selfsup_motion.prepare`."
            ) from error
