"""At which packets of a video decoding can begin so that all that follows is exact.

Containers and FFmpeg mark more packets as key frames than that. In H.264 with periodic intra
refresh they mark points from which the picture is renewed bit by bit, and what is decoded from
there can differ from what is decoded from the start, for good. Some QuickTime and AVI files of
MPEG mark every packet.
"""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.stream import VideoStream

_H264_SLICE, _H264_PARTITION, _H264_IDR, _H264_SEI = 1, 2, 5, 6
_INTRA = (2, 7)
"""Slice types I: of the slice, of all slices of the picture."""
_RECOVERY_POINT = 6
_HEVC_IRAP = range(16, 24)
_HEVC_PICTURES = range(32)
_TYPE = {
    "mpeg1video": (b"\0\0\1\0", 5, 3, 7, 1),
    "mpeg2video": (b"\0\0\1\0", 5, 3, 7, 1),
    "mpeg4": (b"\0\0\1\xb6", 4, 6, 3, 0),
}
"""Start code of a picture, the byte behind it in which its type is, shift and mask of the type, and
the value for intra pictures."""
_HEAD = 64
"""Bytes of a slice in which the beginning of its header is."""
_BEGINNING = 4096
"""Bytes of a packet, or of its supplemental information, that are looked at."""


def is_entry_point(packet: Packet[VideoStream]) -> bool:
    """Whether decoding can begin at a key frame.

    All frames from it on, in order of presentation, are then the same to the bit as if decoding had
    begun further ahead.
    """
    codec = packet.stream.codec_context.name
    data = memoryview(packet)
    if codec in _TYPE:
        start, place, shift, mask, intra = _TYPE[codec]
        head = bytes(data[:_BEGINNING])
        at = head.find(start) + place
        return at < place or (len(head) > at and head[at] >> shift & mask == intra)
    if codec not in ("h264", "hevc"):
        return True  # a key frame is one
    extradata = packet.stream.codec_context.extradata or b""
    if codec == "hevc":
        for unit in _units(data, _length_size(extradata, 21)):
            kind = unit[0] >> 1 & 63
            if kind in _HEVC_PICTURES:
                return kind in _HEVC_IRAP
        return False
    return _is_h264_entry(data, _length_size(extradata, 4))


def _is_h264_entry(data: memoryview, length_size: int) -> bool:
    """An IDR picture; or one of intra slices only that is said to be an exact point of recovery."""
    recovers = found = False
    for unit in _units(data, length_size):
        kind = unit[0] & 31
        if kind == _H264_IDR and not found:
            return True
        if kind == _H264_SEI:
            recovers = recovers or _recovers_at_once(_unescaped(unit[1:_BEGINNING]))
        elif kind in (_H264_SLICE, _H264_PARTITION, _H264_IDR):
            found = True
            bits = _Bits(_unescaped(unit[1:_HEAD]))
            bits.unsigned()  # first macroblock
            if not recovers or bits.unsigned() not in _INTRA:
                return False
    return found


def _recovers_at_once(message: bytes) -> bool:
    """Whether supplemental information says that everything is exact from this picture on."""
    at = 0
    while at + 2 <= len(message) and message[at] != 0x80:  # 0x80 ends it
        numbers = []
        for _ in ("type", "size"):
            value = 0
            while at < len(message) and message[at] == 255:
                value, at = value + 255, at + 1
            if at == len(message):
                return False
            numbers.append(value + message[at])
            at += 1
        kind, size = numbers
        if kind == _RECOVERY_POINT:
            bits = _Bits(message[at : at + size])
            return bits.unsigned() == 0 and bits.one() == 1  # frames until then; exact match
        at += size
    return False


class _Bits:
    """Reads bits, the highest first; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def one(self) -> int:
        """The next bit."""
        self._left -= 1
        return self._value >> self._left & 1 if self._left >= 0 else 0

    def unsigned(self) -> int:
        """An Exp-Golomb code, ue(v); -1 if there is none."""
        zeros = 0
        while not self.one():
            zeros += 1
            if zeros > 32 or self._left < 0:
                return -1
        value = 1
        for _ in range(zeros):
            value = value << 1 | self.one()
        return value - 1


def _length_size(extradata: bytes, place: int) -> int:
    """Bytes of the length before each unit (MP4, Matroska); 0: start codes are between them."""
    return (extradata[place] & 3) + 1 if len(extradata) > place and extradata[0] == 1 else 0


def _units(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet, none of them empty."""
    spans: list[slice] = []
    at = 0 if length_size else -1
    while 0 <= at < len(data):
        end = at + length_size + int.from_bytes(data[at : at + length_size], "big")
        spans.append(slice(at + length_size, end))
        at = end
    if at == len(data):
        yield from (data[span] for span in spans if span.start < span.stop)
    else:  # some files have start codes against their own word
        pieces = bytes(data).split(b"\0\0\1")[1:]
        yield from (memoryview(piece) for piece in pieces if piece)


def _unescaped(data: memoryview) -> bytes:
    """Without the bytes that keep start codes out of a unit."""
    return bytes(data).replace(b"\0\0\3", b"\0\0")
