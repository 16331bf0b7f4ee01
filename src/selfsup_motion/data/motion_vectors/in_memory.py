"""Videos that are in memory."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import IO

from selfsup_motion.data.motion_vectors.video import CompressedVideo
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.timed_video import FrameTable, TimedVideo


class _InMemory(TimedVideo):
    def __init__(self, data: bytes, name: str, table: FrameTable | None = None) -> None:
        """Open it.

        Args:
            data: the bytes of a file.
            name: for messages.
            table: of an earlier opening.

        Raises:
            ClipReadError: not a readable video.
        """
        self._data = data
        super().__init__(Path(name), name, table)

    def _check_file(self) -> None:
        """There is none."""

    def _location(self) -> IO[bytes]:
        return BytesIO(self._data)


class EncodedPictures(_InMemory, VideoFile):
    """Its pictures."""


class EncodedVectors(_InMemory, CompressedVideo):
    """Its motion vectors."""
