"""`FlowStore`: flow that `prepare=flow` wrote for videos or folders of frames.

A file per pair of frames, `<key of the video>/<first>-to-<second>.flowz`, and `store.json`, which
tells which distances there are. Frames of a video go by their numbers, frames in folders by their
names: a file that does not belong to a pair is not found, rather than taken for another's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.geometry import resize_flow, resize_valid
from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import FLOW_SUFFIXES, decode_flow

NAME = "store.json"
_FORMAT = 1


def frame_name(number: int) -> str:
    """What frame `number` of a video is called."""
    return f"{number:06d}"


def pair_file(first: str, second: str, suffix: str) -> str:
    """Name of the file of the flow between two frames."""
    return f"{first}-to-{second}{suffix}"


def describe_store(strides: Sequence[int], suffix: str) -> str:
    """Content of `store.json`."""
    return json.dumps({"format": _FORMAT, "strides": list(strides), "suffix": suffix}) + "\n"


class FlowStore:
    """Reads it; holds nothing open."""

    def __init__(self, root: str | Path | None) -> None:
        """Read `store.json`.

        Args:
            root: the folder that `prepare=flow` wrote to.

        Raises:
            UserError: there is no finished store.
        """
        if root is None:
            raise UserError(
                "data.flow=stored needs data.flow_root, the folder that `python -m "
                "selfsup_motion.prepare prepare=flow` wrote to: set it, or data.flow=dis."
            )
        self.root = Path(root)
        try:
            told: dict[str, Any] = json.loads((self.root / NAME).read_text(encoding="utf-8"))
            self.strides = [int(stride) for stride in told["strides"]]
            self.suffix = str(told["suffix"])
            known = told["format"] == _FORMAT and self.suffix in FLOW_SUFFIXES
        except OSError as error:
            raise UserError(
                f"data.flow_root={root} holds no finished flow ({NAME}: {error.strerror}): make it "
                "with `python -m selfsup_motion.prepare prepare=flow`, including all its shards."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.root / NAME} is damaged: make the flow again.") from error
        if not known:
            raise UserError(f"{self.root / NAME} was written by another version: make it again.")

    def read(
        self, key: str, frames: Sequence[int], names: Sequence[str], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read the flow from each frame to the next.

        Args:
            key: of the video.
            frames: numbers of T frames.
            names: of these frames, as in the file names.
            size: (height, width) of the frames; flow of another scale is resized to it.

        Returns:
            (T-1, 2, H, W) float32 flow, 0 where it is unknown, and (T-1, H, W) bool, where it is
            known.

        Raises:
            UserError: frames at a distance that was not stored.
            ClipReadError: a file is missing or damaged.
        """
        count = len(frames) - 1
        flow = np.zeros((count, *size, 2), np.float32)
        valid = np.zeros((count, *size), np.bool_)
        for t in range(count):
            stride = frames[t + 1] - frames[t]
            if stride not in self.strides:
                raise UserError(
                    f"{key}: flow at stride {stride} is not stored in {self.root}, only at "
                    f"{', '.join(map(str, self.strides))}: set data.stride to that (with "
                    "data.short=skip), prepare it with prepare.strides, or set data.flow=dis."
                )
            file = f"{key}/{pair_file(names[t], names[t + 1], self.suffix)}"
            data = self._bytes(key, file, names[t], stride)
            try:
                stored, known = decode_flow(data, self.suffix, file)
            except ValueError as error:
                raise ClipReadError(f"{error}.", file=key) from error
            _check_proportions(file, key, known.shape, size)
            stored = np.where(known, stored, np.float32(0))  # of .flo, 1e10
            flow[t] = resize_flow(np.ascontiguousarray(stored.transpose(1, 2, 0)), size)
            valid[t] = resize_valid(known, size)
        return flow.transpose(0, 3, 1, 2), valid

    def _bytes(self, key: str, file: str, first: str, stride: int) -> bytes:
        try:
            return read_bytes(self.root / file, file)
        except ClipReadError as error:
            if error.reason != "missing":
                raise
            raise ClipReadError(
                f"{key} has no stored flow from frame {first} at stride {stride}: there is no "
                f"{file} in {self.root}.",
                file=key,
                reason="no flow",
            ) from error


def _check_proportions(file: str, key: str, stored: tuple[int, ...], size: tuple[int, int]) -> None:
    """Refuse flow that cannot be of these frames: each side may be half a pixel off."""
    scale = size[0] / stored[0], size[1] / stored[1]
    if abs(scale[0] - scale[1]) * min(stored) > 1 + max(scale):
        raise ClipReadError(
            f"{file} is {stored[1]}×{stored[0]}, its frames are {size[1]}×{size[0]}: it was made "
            "from other images.",
            file=key,
        )
