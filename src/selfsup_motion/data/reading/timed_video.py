"""Finding the frames of a video file exactly, by PyAV; what is made of them is its users' affair.

Containers cannot be trusted for frame counts and constant rates, and seeking lands where it likes.
So each file is demuxed once (no decoding) into a table of presentation times; a frame is then
found by its time, decoded from the key frame before it.
"""

from __future__ import annotations

import logging
import math
import stat
import time
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from selfsup_motion.data.reading.entry_points import is_entry_point
from selfsup_motion.data.reading.frame_times import are_even
from selfsup_motion.errors import ClipReadError
from selfsup_motion.text.names import ffmpeg_name

log = logging.getLogger(__name__)

MAX_PIXELS = 1 << 26
"""Of a frame, before resizing: 8192×8192. A damaged header can ask for any amount of memory."""
_CHECKED = 4096
"""Bytes of a packet that its checksum is of."""
TIME_LIMIT = 60.0
"""Seconds that opening, or one `read`, may take."""

_Taken = TypeVar("_Taken")


@dataclass(frozen=True)
class FrameTable:
    """What one pass over the packets tells of a video with N frames and K key frames."""

    pts: NDArray[np.int64]
    """(N,) presentation times, ascending, in units of `time_base`."""
    key_pts: NDArray[np.int64]
    """(K,) those of the key frames at which decoding can begin, ascending."""
    key_dts: NDArray[np.int64]
    """(K,) their decoding times."""
    key_places: NDArray[np.int64]
    """(K, 2) position in the file and checksum of their packets, by which they are known again."""
    time_base: float
    """Seconds."""
    fps: float | None
    """Mean rate."""
    height: int
    """Of the first frame as displayed."""
    width: int
    counted: bool
    """The time stamps are unusable: `pts` are frame numbers, found by decoding from the start."""

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """(N,) from the first frame."""
        seconds: NDArray[np.float64] = (self.pts - self.pts[0]) * self.time_base
        return seconds

    @cached_property
    def uneven_seconds(self) -> NDArray[np.float64] | None:
        """`seconds`; None if the frames are evenly spaced."""
        return None if are_even(self.seconds, self.time_base) else self.seconds


class TimedVideo:
    """One open video whose frames are found by number; not to be shared by threads or processes."""

    def __init__(
        self,
        path: Path,
        name: str,
        table: FrameTable | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """Open the best video stream of a file.

        Args:
            path: of the file.
            name: for messages.
            table: of an earlier opening, to save the pass over the packets.
            time_limit: seconds that opening, or one `read`, may take.

        Raises:
            ClipReadError: not a readable video.
        """
        self.path = path
        self.name = name
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit
        self._check_file()
        self._open()
        try:
            self.table = table or self._scan()
        except (av.FFmpegError, ValueError) as error:
            raise self._refusal(f"{name} is damaged: {reason_of(error)}.") from error

    def _collect(
        self, indices: Sequence[int], take: Callable[[VideoFrame], _Taken]
    ) -> dict[int, _Taken]:
        """Decode frames and keep what `take` makes of each, by their numbers.

        Raises:
            ClipReadError: a frame does not exist or cannot be decoded.
        """
        self._deadline = time.monotonic() + self._time_limit
        wanted = sorted(set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < len(self.table.pts):
            raise self._refusal(
                f"{self.name} has {len(self.table.pts)} frames, there is no frame "
                f"{wanted[0] if wanted[0] < 0 else wanted[-1]}."
            )
        found: dict[int, _Taken] = {}
        if self.table.counted:
            self._read_counted(wanted, take, found)
        else:
            keys = np.searchsorted(self.table.key_pts, self.table.pts[wanted], side="right") - 1
            for key, group in groupby(zip(keys.tolist(), wanted, strict=True), lambda x: x[0]):
                self._read_group(max(key, 0), [index for _, index in group], take, found)
        return found

    def _decoded(self, start: int) -> Iterator[VideoFrame]:
        """All frames from one on, by decoding from a key frame before it."""
        if self.table.counted or start == 0:
            yield from islice(self._decode_all(), start, None)
            return
        self._deadline = math.inf
        first = int(self.table.pts[start])
        key = int(np.searchsorted(self.table.key_pts, first, side="right")) - 1
        # one that only continues the pictures before it does not give the frame itself
        for begin in dict.fromkeys([max(key, 0), max(key - 1, 0), 0]):
            begun = False
            for frame in self._decode_from(self._key(begin)):
                if frame.pts is not None and frame.pts >= first:
                    if not begun and (frame.pts != first or frame.is_corrupt):
                        break
                    begun = True
                    yield frame
            if begun:
                return
        raise ValueError(f"frame {start} cannot be decoded")

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _check_file(self) -> None:
        try:
            status = self.path.stat()
        except OSError as error:
            raise self._refusal(
                f"{self.name} cannot be opened: {reason_of(error)}.", "missing"
            ) from error
        if not stat.S_ISREG(status.st_mode):  # opening a pipe waits for ever
            raise self._refusal(f"{self.name} cannot be opened: it is not a file.", "not a file")
        if status.st_size == 0:
            raise self._refusal(f"{self.name} cannot be opened: it is empty.", "empty")

    def _location(self) -> str | IO[bytes]:
        """What FFmpeg opens."""
        return ffmpeg_name(self.path)

    def _open(self) -> None:
        try:
            self._container: InputContainer = av.open(self._location(), "r")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._refusal(
                f"{self.name} cannot be opened: {reason_of(error)}.", "no video"
            ) from error
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            self._container.close()
            raise self._refusal(f"{self.name} has no video stream.", "no video")
        if stream.codec_context is None:  # whatever the annotations say
            self._container.close()
            raise self._refusal(f"{self.name} has a format that cannot be decoded here.")
        if stream.width * stream.height > MAX_PIXELS:
            self._container.close()
            raise self._refusal(
                f"{self.name} has frames of {stream.width}×{stream.height} pixels, more than "
                f"{MAX_PIXELS}: it is damaged or has to be scaled down.",
                "too large",
            )
        self._stream = stream
        stream.codec_context.thread_count = 1  # loaders scale by processes

    def _scan(self) -> FrameTable:
        count = len(self._container.streams.video)
        if count > 1:
            size = f"{self._stream.width}×{self._stream.height}"
            log.info("%s has %d video streams: taking the best, %s.", self.name, count, size)
        pts: list[int] = []
        keys: list[KeyPacket] = []
        stamped, renewed = True, False
        for packet in self._container.demux(self._stream):
            self._check_time()
            if not packet.size or packet.is_discard or packet.is_corrupt or _is_hidden(packet):
                continue
            if packet.pts is None:
                stamped = False
                break
            pts.append(packet.pts)
            if packet.is_keyframe:
                entry = is_entry_point(packet)
                if not keys:  # decoding begins here in any case
                    renewed = not entry
                if entry or not keys:
                    keys.append(KeyPacket.of(packet))
        # AVI stores no presentation times: FFmpeg makes them up, for H.264 unaware of reordering,
        # for packed MPEG-4 (some of UCF101) in the wrong order
        reordered = self._stream.codec_context.has_b_frames
        made_up = self._container.format.name == "avi" and reordered
        # two packets for one time: fields, or stamps that mean nothing
        counted = not stamped or made_up or len(set(pts)) < len(pts) or not keys
        rate = float(self._stream.average_rate) if self._stream.average_rate else None
        if counted:
            keys = [KeyPacket(0, 0, 0, 0)]
            time_base = 1 / rate if rate else 1.0
            first, count = self._count()
            pts = list(range(count))
        else:
            keys.sort()
            time_base = float(self._stream.time_base or 1)
            first = next(self._decode_from(keys[0]), None)
            if first is not None and first.pts is not None and first.pts >= keys[0].pts:
                # where a video was cut, pictures that build on earlier ones are never shown
                begin = first.pts if renewed else keys[0].pts
                pts = [time for time in pts if time >= begin]
            if len(pts) > 1:
                rate = (len(pts) - 1) / ((max(pts) - min(pts)) * time_base)
        if first is None:
            raise self._refusal(f"{self.name} has no frame that can be decoded.")
        turned = first.rotation % 180 != 0
        return FrameTable(
            pts=np.sort(np.array(pts, np.int64)),
            key_pts=np.array([key.pts for key in keys], np.int64),
            key_dts=np.array([key.dts for key in keys], np.int64),
            key_places=np.array([(key.position, key.checksum) for key in keys], np.int64),
            time_base=time_base,
            fps=rate,
            height=first.width if turned else first.height,
            width=first.height if turned else first.width,
            counted=counted,
        )

    def _count(self) -> tuple[VideoFrame | None, int]:
        """Decode everything; the first frame and the number of frames."""
        self._restart()
        first, count = None, 0
        for frame in self._container.decode(self._stream):
            self._check_time()
            first = first or frame
            count += 1
        return first, count

    def _restart(self) -> None:
        self._container.close()
        self._open()

    def _read_group(
        self,
        key: int,
        indices: list[int],
        take: Callable[[VideoFrame], _Taken],
        found: dict[int, _Taken],
    ) -> None:
        """Decode frames between one key frame and the next."""
        pts = {int(self.table.pts[index]): index for index in indices}
        last = max(pts)
        reason = "the decoder returns no frame"
        # a key frame from which decoding cannot begin (gradual refresh): begin further ahead
        for start in dict.fromkeys([key, max(key - 1, 0), 0]):
            try:
                begin = self._key(start)
                previous = None
                for frame in self._decode_from(begin, frozenset(pts)):
                    if previous is not None and frame.pts is not None and frame.pts <= previous:
                        raise ValueError("its time stamps are out of order")
                    previous = frame.pts
                    if frame.is_corrupt and (frame.pts is None or frame.pts >= begin.pts):
                        # what follows builds on it, without being marked itself
                        raise ValueError("a frame before it is incomplete")
                    if frame.pts in pts:
                        found[pts.pop(frame.pts)] = take(frame)
                    if frame.pts is not None and frame.pts >= last:
                        break
            except (av.FFmpegError, ValueError) as error:
                reason = reason_of(error)
            if not pts:
                return
        raise self._refusal(
            f"{self.name} is damaged: frame {min(pts.values())} of {len(self.table.pts)} cannot be "
            f"decoded ({reason})."
        )

    def _key(self, number: int) -> KeyPacket:
        table = self.table
        pts, dts = int(table.key_pts[number]), int(table.key_dts[number])
        return KeyPacket(pts, dts, *table.key_places[number].tolist())

    def _decode_from(
        self, key: KeyPacket, wanted: Container[int] | None = None
    ) -> Iterator[VideoFrame]:
        """Decode from a key frame on, in order of presentation; all frames, or at least those."""
        # frames that no other frame builds on need no decoding: a third of the time, same pixels
        selective = self._stream.codec_context.name in ("h264", "hevc")
        for packet in self._packets_from(key):
            self._check_time()
            if selective and wanted is not None:
                needed = packet.pts is None or packet.pts in wanted
                self._stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from packet.decode()

    def _packets_from(self, key: KeyPacket) -> Iterator[Packet[VideoStream]]:
        """Packets from a key frame on, wherever seeking lands."""
        for target in self._targets(key):
            if target is None:
                self._restart()
            else:
                self._container.seek(target, stream=self._stream, backward=True)
            packets = self._container.demux(self._stream)
            for packet in packets:
                if not packet.size:
                    break
                if packet.pts == key.pts and KeyPacket.of(packet) == key:
                    yield packet
                    yield from packets
                    return
                if packet.dts is not None and packet.dts > key.dts:
                    break  # landed behind it

    def _targets(self, key: KeyPacket) -> Iterator[int | None]:
        """Times to seek to for a key frame, the likeliest first; None is the beginning."""
        yield key.pts
        yield key.dts
        # in program streams, the packets next to where seeking lands may have wrong times
        if hasattr(self, "table"):
            number = int(np.searchsorted(self.table.key_pts, key.pts))
            for before in (1, 4):
                if number >= before:
                    yield int(self.table.key_dts[number - before])
        yield None

    def _decode_all(self) -> Iterator[VideoFrame]:
        """From the position of the container to the end."""
        yield from self._container.decode(self._stream)

    def _read_counted(
        self,
        wanted: list[int],
        take: Callable[[VideoFrame], _Taken],
        found: dict[int, _Taken],
    ) -> None:
        remaining = set(wanted)
        reason = "the decoder returns no frame"
        try:
            self._restart()
            for index, frame in enumerate(self._decode_all()):
                self._check_time()
                if index in remaining:
                    found[index] = take(frame)
                    remaining.remove(index)
                if not remaining:
                    return
        except (av.FFmpegError, ValueError) as error:
            reason = reason_of(error)
        raise self._refusal(
            f"{self.name} is damaged: frame {min(remaining)} of {len(self.table.pts)} cannot be "
            f"decoded ({reason})."
        )

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise self._refusal(
                f"{self.name} takes more than {self._time_limit:g} seconds to read.", "too slow"
            )

    def _refusal(self, message: str, reason: str = "damaged") -> ClipReadError:
        return ClipReadError(message, file=self.name, reason=reason)


class KeyPacket(NamedTuple):
    """A packet at which decoding begins."""

    pts: int
    dts: int
    position: int
    """In the file; -1: unknown."""
    checksum: int

    @classmethod
    def of(cls, packet: Packet[VideoStream]) -> KeyPacket:
        pts = -1 if packet.pts is None else packet.pts
        dts = pts if packet.dts is None else packet.dts
        position = -1 if packet.pos is None else packet.pos
        return cls(pts, dts, position, zlib.crc32(memoryview(packet)[:_CHECKED]))


def _is_hidden(packet: Packet[VideoStream]) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own."""
    if packet.stream.codec_context.name not in ("vp8", "libvpx"):
        return False
    return not bytes(memoryview(packet)[:1])[0] & 0x10  # RFC 6386, 9.1: show_frame


def reason_of(error: Exception) -> str:
    """What FFmpeg says, as a part of a sentence."""
    text = str(getattr(error, "strerror", None) or error)
    return text[:1].lower() + text[1:]
