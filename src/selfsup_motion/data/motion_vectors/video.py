"""Motion vectors out of a video file, by PyAV, without making pictures."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np
from av.codec.context import Flags2
from av.sidedata.motionvectors import MotionVectors
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from selfsup_motion.data.motion_vectors.blocks import FrameVectors, Kind, past_blocks
from selfsup_motion.data.reading.timed_video import KeyPacket, TimedVideo
from selfsup_motion.errors import ClipReadError

_CODECS = frozenset(
    {
        "h264",
        "mpeg4",
        "mpeg1video",
        "mpeg2video",
        "h263",
        "flv1",
        "wmv1",
        "wmv2",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4v3",
    }
)
"""Whose decoders give them."""
_KINDS: dict[PictureType, Kind] = {PictureType.I: "I", PictureType.SI: "I", PictureType.B: "B"}
WHAT_TO_DO = (
    "encode the videos anew as H.264 or MPEG-4 with P frames (ffmpeg -i in.webm -c:v mpeg4 -g 12 "
    "-bf 0 out.mp4)"
)


class CompressedVideo(TimedVideo):
    """One open video and what its packets say about motion; not to be shared by threads.

    FFmpeg gives the vectors of a frame when it decodes it. The loop filter and the inverse
    transform, which only pixels need, are left out, and so are frames that no frame asked for
    builds on; motion compensation cannot be.
    """

    def vectors(self, indices: Sequence[int]) -> list[FrameVectors]:
        """Read the vectors of frames, in the order of `indices`, 0 ≤ index < N.

        Raises:
            ClipReadError: a frame cannot be decoded, or the video has no vectors.
        """
        self.check()
        found = self._collect(indices, self._vectors)
        return [found[index] for index in indices]

    def check(self) -> None:
        """Make sure that there are vectors; raises `ClipReadError`."""
        if (reason := self.no_vectors) is not None:
            raise ClipReadError(
                f"{self.name} has no motion vectors, {reason}: {WHAT_TO_DO}.",
                file=self.name,
                reason="no vectors",
            )

    @property
    def no_vectors(self) -> str | None:
        """Why there are none, as a clause; None if there are."""
        codec = self._stream.codec_context.codec.canonical_name
        if codec not in _CODECS:
            return f"because it is coded as {codec}"
        table = self.table
        if not table.counted and len(table.pts) > 1 and len(table.key_pts) == len(table.pts):
            return "because every frame is coded by itself"
        return None

    @property
    def key_frames(self) -> NDArray[np.int64]:
        """(K,) numbers of the frames at which decoding can begin."""
        if self.table.counted:
            return np.zeros(1, np.int64)
        return np.searchsorted(self.table.pts, self.table.key_pts).astype(np.int64)

    def _open(self) -> None:
        super()._open()
        context = self._stream.codec_context
        context.flags2 |= Flags2.export_mvs
        context.options = {"skip_loop_filter": "all", "skip_idct": "all"}

    def _decode_from(
        self, key: KeyPacket, wanted: Container[int] | None = None
    ) -> Iterator[VideoFrame]:
        yield from self._watched(super()._decode_from(key, wanted))

    def _decode_all(self) -> Iterator[VideoFrame]:
        yield from self._watched(super()._decode_all())

    def _watched(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The frames, noting before each how long ago the last I or P frame was."""
        last: int | None = None
        for number, frame in enumerate(frames):
            # where time stamps are of no use, no frame is left out, and all can be counted
            place = number
            if hasattr(self, "table") and not self.table.counted and frame.pts is not None:
                place = int(np.searchsorted(self.table.pts, frame.pts))
            self._distance = 1 if last is None else max(1, place - last)
            yield frame
            if frame.pict_type != PictureType.B:
                last = place

    def _vectors(self, frame: VideoFrame) -> FrameVectors:
        kind = _KINDS.get(PictureType(frame.pict_type), "P")
        size = frame.height, frame.width
        quarters = round(frame.rotation / 90) % 4
        data: MotionVectors | None = frame.side_data.get("MOTION_VECTORS")
        if data is None:
            nothing = np.empty((0, 6), np.int16)
            return FrameVectors(kind, nothing, 1, self._distance, size, quarters)
        blocks, scale = past_blocks(data.to_ndarray())
        return FrameVectors(kind, blocks, scale, self._distance, size, quarters)
