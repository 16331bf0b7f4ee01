"""`VectorStore`: motion vectors that `prepare=motion_vectors` wrote.

A file for each video, `<video>.npz`, and `store.json`. The vectors are those of the video, to the
last digit; a file is read in pieces, so that a clip costs what its frames cost.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.motion_vectors.blocks import KINDS, FrameVectors
from selfsup_motion.errors import ClipReadError, UserError

NAME = "store.json"
SUFFIX = ".npz"
_FORMAT = 1
_FRAMES = 64
"""Of which the blocks are stored together."""


def describe_store() -> str:
    """Content of `store.json`."""
    return json.dumps({"format": _FORMAT}) + "\n"


def write_vectors(
    path: Path, frames: Sequence[FrameVectors], key_frames: NDArray[np.int64]
) -> None:
    """Write the vectors of a video.

    Args:
        path: of the file.
        frames: all of the video, at least one.
        key_frames: (K,) at which decoding can begin.

    Raises:
        ValueError: frames of different sizes.
    """
    first = frames[0]
    if any((f.size, f.quarters) != (first.size, first.quarters) for f in frames):
        raise ValueError("it has frames of different sizes")
    arrays: dict[str, NDArray[Any]] = {
        "kinds": np.array([KINDS.index(f.kind) for f in frames], np.uint8),
        "distances": np.array([f.distance for f in frames], np.int32),
        "scales": np.array([f.scale for f in frames], np.uint8),
        "counts": np.array([len(f.blocks) for f in frames], np.int32),
        "size": np.array([*first.size, first.quarters], np.int32),
        "key_frames": key_frames,
    }
    for begin in range(0, len(frames), _FRAMES):
        some = np.concatenate([f.blocks for f in frames[begin : begin + _FRAMES]])
        arrays[_piece(begin)] = some.T  # values of one kind side by side take half the space
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _piece(frame: int) -> str:
    return f"blocks{frame // _FRAMES:06d}"


class StoredVectors:
    """The vectors of one video."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the file.

        Args:
            path: of the file.
            name: of the video, for messages.

        Raises:
            ClipReadError: there is none, or it is damaged.
        """
        self._path, self._name = path, name
        try:
            with np.load(path, allow_pickle=False) as file:
                self.kinds: NDArray[np.uint8] = file["kinds"]
                """(N,) places in `KINDS`."""
                self.key_frames: NDArray[np.int64] = file["key_frames"]
                self._distances, self._scales = file["distances"], file["scales"]
                self._counts, size = file["counts"], file["size"]
        except FileNotFoundError as error:
            raise ClipReadError(
                f"{name} has no stored motion vectors: there is no {path}.",
                file=name,
                reason="no vectors",
            ) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise self._damaged() from error
        self._size = int(size[0]), int(size[1])
        self._quarters = int(size[2])

    @property
    def num_frames(self) -> int:
        """Of the video."""
        return len(self.kinds)

    def vectors(self, indices: Sequence[int]) -> list[FrameVectors]:
        """Those of frames, in the order of `indices`; raises `ClipReadError`."""
        if indices and not 0 <= min(indices) <= max(indices) < self.num_frames:
            raise ClipReadError(
                f"{self._name} has {self.num_frames} frames, there is no frame "
                f"{min(indices) if min(indices) < 0 else max(indices)}.",
                file=self._name,
                reason="too short",
            )
        try:
            with np.load(self._path, allow_pickle=False) as file:
                pieces = {name: file[name] for name in {_piece(index) for index in indices}}
            return [self._frame(index, pieces[_piece(index)]) for index in indices]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise self._damaged() from error

    def _frame(self, index: int, piece: NDArray[np.int16]) -> FrameVectors:
        begin = index - index % _FRAMES
        first = int(self._counts[begin:index].sum())
        blocks = piece[:, first : first + int(self._counts[index])].T
        if len(blocks) != self._counts[index]:
            raise ValueError("blocks are missing")
        kind, scale = KINDS[self.kinds[index]], int(self._scales[index])
        distance = int(self._distances[index])
        return FrameVectors(kind, blocks, scale, distance, self._size, self._quarters)

    def _damaged(self) -> ClipReadError:
        return ClipReadError(
            f"The stored motion vectors of {self._name} are damaged: remove {self._path} and run "
            "prepare=motion_vectors again.",
            file=self._name,
        )


class VectorStore:
    """What `prepare=motion_vectors` wrote; holds nothing open."""

    def __init__(self, root: str | Path) -> None:
        """Look for `store.json`.

        Args:
            root: the folder that it wrote to.

        Raises:
            UserError: there is no finished store.
        """
        self.root = Path(root)
        try:
            told: dict[str, Any] = json.loads((self.root / NAME).read_text(encoding="utf-8"))
            known = told["format"] == _FORMAT
        except OSError as error:
            raise UserError(
                f"data.vectors_root={root} holds no finished motion vectors ({NAME}: "
                f"{error.strerror}): make them with `python -m selfsup_motion.prepare "
                "prepare=motion_vectors`, including all its shards."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.root / NAME} is damaged: make the vectors again.") from error
        if not known:
            raise UserError(f"{self.root / NAME} was written by another version: make it again.")

    def open(self, key: str) -> StoredVectors:
        """Those of a video; raises `ClipReadError`."""
        return StoredVectors(self.root / f"{key}{SUFFIX}", key)
