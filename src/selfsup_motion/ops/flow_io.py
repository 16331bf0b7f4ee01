"""Flow files, by their suffix, and pairs of grey JPEGs.

| suffix | holds | error | range |
|---|---|---|---|
| `.flo` | Middlebury: float32 | 0 | any |
| `.png` | KITTI: 16 bits, with validity | 1/128 px | ±512 px |
| `.flowz` | our compact store: 16 bits, differences, deflated; with validity | 1/64 px | ±1023 px |

A pair of 8-bit JPEGs (x and y), as the CMP data set has them, covers ±50 px with a step of 0.39 px
and knows no zero.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FLOW_SUFFIXES = (".flowz", ".flo", ".png")

_FLO_MAGIC = b"PIEH"  # 202021.25 as little-endian float32
_FLO_UNKNOWN = 1e9
_KITTI_SCALE = 64.0
_KITTI_ZERO = 1 << 15
_FLOWZ_MAGIC = b"FLZ1"
_FLOWZ_SCALE = 32.0
_JPEG_LEVELS = (np.arange(256, dtype=np.float32) / 255 * 100 - 50).astype(np.float32)

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def read_flow(path: str | PathLike[str]) -> FloatArray:
    """Flow of a `.flo`, KITTI `.png` or `.flowz` file: (2, H, W) float32, (x, y) in pixels.

    Values are as stored; `read_flow_and_valid` tells which of them mean something.

    Raises:
        ValueError: the file is damaged, truncated or of another kind; the message names it.
        FileNotFoundError: there is no such file.
    """
    return read_flow_and_valid(path)[0]


def read_flow_and_valid(path: str | PathLike[str]) -> tuple[FloatArray, BoolArray]:
    """Flow (2, H, W) float32 and where it is known (H, W) bool; see `read_flow`."""
    path = Path(path)
    if path.suffix not in FLOW_SUFFIXES:
        raise ValueError(_unknown_suffix(str(path), path.suffix))
    return decode_flow(path.read_bytes(), path.suffix, str(path))


def write_flow(
    path: str | PathLike[str], flow: NDArray[np.floating], valid: BoolArray | None = None
) -> None:
    """Write (2, H, W) flow in pixels; the suffix chooses the format (see above).

    Args:
        path: of the file.
        flow: (2, H, W), (x, y) displacement.
        valid: (H, W) bool, where the flow is known; the rest is marked as unknown. None: all.

    Raises:
        ValueError: wrong shape, another suffix, or flow that the format cannot hold.
    """
    path = Path(path)
    if path.suffix == ".flo" and valid is None and flow.ndim == 3 and flow.shape[0] == 2:
        with path.open("wb") as file:  # row by row, for flow of large photos
            file.writelines(_flo_parts(flow, np.ones((flow.shape[1], 1), np.bool_)))
        return
    path.write_bytes(encode_flow(flow, path.suffix, valid, str(path)))


def decode_flow(data: bytes, suffix: str, name: str) -> tuple[FloatArray, BoolArray]:
    """Flow (2, H, W) and validity (H, W) of a file's bytes; `name` is for messages.

    Raises:
        ValueError: as `read_flow`.
    """
    if suffix == ".flo":
        flow = _decode_flo(data, name)
        return flow, np.all(np.abs(flow) <= _FLO_UNKNOWN, axis=0)
    if suffix == ".png":
        return _decode_kitti(data, name)
    if suffix == ".flowz":
        return _decode_flowz(data, name)
    raise ValueError(_unknown_suffix(name, suffix))


def encode_flow(
    flow: NDArray[np.floating], suffix: str, valid: BoolArray | None = None, name: str = "flow"
) -> bytes:
    """The bytes of a flow file; arguments and errors as for `write_flow`."""
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(f"flow must be (2, H, W), got {flow.shape}")
    if valid is None:
        valid = np.ones(flow.shape[1:], np.bool_)
    if valid.shape != flow.shape[1:] or valid.dtype != np.bool_:
        raise ValueError(f"valid must be bool {flow.shape[1:]}, got {valid.dtype} {valid.shape}")
    if suffix in (".png", ".flowz") and not np.isfinite(flow[:, valid]).all():
        raise ValueError(
            f"{name}: the flow has NaN or infinite values; mark unknown pixels in `valid`"
        )
    if suffix == ".flo":
        return b"".join(_flo_parts(flow, valid))
    if suffix == ".png":
        return _encode_kitti(flow, valid, name)
    if suffix == ".flowz":
        return _encode_flowz(flow, valid, name)
    raise ValueError(_unknown_suffix(name, suffix))


def read_flow_jpegs(x: str | PathLike[str], y: str | PathLike[str]) -> FloatArray:
    """Flow (2, H, W) float32 of two grey JPEGs, coded as value / 255 · 100 − 50 pixels.

    Raises:
        ValueError: a file cannot be decoded, or their sizes differ.
        FileNotFoundError: there is no such file.
    """
    x, y = Path(x), Path(y)
    return decode_flow_jpegs(x.read_bytes(), y.read_bytes(), (str(x), str(y)))


def decode_flow_jpegs(x: bytes, y: bytes, names: tuple[str, str]) -> FloatArray:
    """As `read_flow_jpegs`, of the bytes of the two files; `names` are for messages."""
    codes = []
    for data, name in zip((x, y), names, strict=True):
        code = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        # a truncated JPEG decodes, with grey in place of what is missing
        if code is None or b"\xff\xd9" not in data[-4096:]:
            raise ValueError(f"{name} cannot be decoded as a JPEG image: the file is damaged")
        codes.append(code)
    if codes[0].shape != codes[1].shape:
        raise ValueError(f"{names[0]} and {names[1]} are of different sizes")
    flow = cv2.LUT(cv2.merge(codes), _JPEG_LEVELS)
    return np.asarray(flow, np.float32).transpose(2, 0, 1)


def write_flow_jpegs(
    x: str | PathLike[str], y: str | PathLike[str], flow: NDArray[np.floating], quality: int = 95
) -> None:
    """Write (2, H, W) flow as two grey JPEGs (see `read_flow_jpegs`); clipped to ±50 pixels.

    Raises:
        ValueError: another shape, or NaN, which they cannot hold.
    """
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(f"flow must be (2, H, W), got {flow.shape}")
    if np.isnan(flow).any():
        raise ValueError(f"{x}: the flow has NaN values, which JPEGs cannot hold; write a .flowz")
    codes = np.rint((np.clip(flow, -50, 50) + 50) / 100 * 255).astype(np.uint8)
    for path, code in zip((x, y), codes, strict=True):
        encoded, buffer = cv2.imencode(".jpg", code, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not encoded:
            raise ValueError(f"{path}: OpenCV could not encode flow of shape {flow.shape} as JPEG")
        Path(path).write_bytes(buffer.tobytes())


def _flo_parts(flow: NDArray[np.floating], valid: BoolArray) -> Iterator[bytes]:
    """A `.flo` file piece by piece: its head, then its rows. `valid` is (H, W) or (H, 1)."""
    yield _FLO_MAGIC + np.array([flow.shape[2], flow.shape[1]], "<i4").tobytes()
    for row, known in zip(flow.transpose(1, 2, 0), valid, strict=True):
        yield np.where(known[:, None], row, 2 * _FLO_UNKNOWN).astype("<f4").tobytes()


def _decode_flo(data: bytes, name: str) -> FloatArray:
    if data[:4] != _FLO_MAGIC or len(data) < 12:
        raise ValueError(f"{name} is not a .flo file: it does not begin with a Middlebury header")
    width, height = (int(n) for n in np.frombuffer(data, "<i4", 2, 4))
    expected = 12 + 8 * width * height
    if width <= 0 or height <= 0 or len(data) != expected:
        raise ValueError(
            f"{name} has {len(data)} bytes, but its header ({width}x{height}) asks for {expected}: "
            "the file is damaged or incomplete"
        )
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)


def _decode_kitti(data: bytes, name: str) -> tuple[FloatArray, BoolArray]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if bgr is None:
        raise ValueError(f"{name} cannot be decoded as a PNG image: the file is damaged")
    if bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] != 3:
        raise ValueError(f"{name} is not KITTI flow: expected a 16-bit PNG with three channels")
    flow = (bgr[..., :0:-1].astype(np.float32) - _KITTI_ZERO) / _KITTI_SCALE
    return np.ascontiguousarray(flow.transpose(2, 0, 1)), bgr[..., 0] > 0


def _encode_kitti(flow: NDArray[np.floating], valid: BoolArray, name: str) -> bytes:
    code = np.rint(np.where(valid, flow, 0.0) * _KITTI_SCALE) + _KITTI_ZERO
    if not ((code >= 0) & (code < 1 << 16)).all():
        raise ValueError(f"{name}: a KITTI .png holds flow within ±512 px; write a .flo instead")
    u, v = code
    bgr = np.stack([valid, v, u], axis=-1).astype(np.uint16)
    encoded, buffer = cv2.imencode(".png", bgr)
    if not encoded:
        raise ValueError(f"{name}: OpenCV could not encode flow of shape {flow.shape} as .png")
    return buffer.tobytes()


def _encode_flowz(flow: NDArray[np.floating], valid: BoolArray, name: str) -> bytes:
    """Header (magic, height, width), then deflated: low bytes, high bytes, validity bits.

    The bytes are of the differences between neighbours in x, of those in y, modulo 2^16, with the
    sign in the lowest bit, so that small differences of either sign have a high byte of zero.
    """
    code = np.rint(np.where(valid, flow, 0.0) * _FLOWZ_SCALE)
    if not (np.abs(code) < 1 << 15).all():
        raise ValueError(f"{name}: a .flowz holds flow within ±1023 px; write a .flo instead")
    difference = code.astype(np.int16)
    difference[:, :, 1:] -= difference[:, :, :-1].copy()
    difference[:, 1:] -= difference[:, :-1].copy()
    folded = ((difference << 1) ^ (difference >> 15)).view(np.uint16)
    planes = (folded & 0xFF).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    bits = b"" if valid.all() else np.packbits(valid).tobytes()
    size = np.array(flow.shape[1:], "<u4").tobytes()
    return _FLOWZ_MAGIC + size + zlib.compress(planes + bits, 6)


def _decode_flowz(data: bytes, name: str) -> tuple[FloatArray, BoolArray]:
    if data[:4] != _FLOWZ_MAGIC or len(data) < 12:
        raise ValueError(f"{name} is not a .flowz file: it does not begin with its header")
    height, width = (int(n) for n in np.frombuffer(data, "<u4", 2, 4))
    pixels = height * width
    try:
        # of a damaged header or body, never more than it may hold
        inflater = zlib.decompressobj()
        raw = inflater.decompress(data[12:], 4 * pixels + (pixels + 7) // 8 + 1)
    except (zlib.error, OverflowError) as error:
        raise ValueError(f"{name} is damaged or incomplete: {error}") from error
    complete = inflater.eof and len(raw) in (4 * pixels, 4 * pixels + (pixels + 7) // 8)
    if not complete or not pixels:
        raise ValueError(f"{name} is damaged or incomplete")
    low, high = np.frombuffer(raw, np.uint8, 4 * pixels).reshape(2, 2, height, width)
    folded = low | (high.astype(np.uint16) << 8)
    difference = (folded >> 1) ^ (~(folded & 1) + np.uint16(1))
    code = np.cumsum(np.cumsum(difference, axis=1, dtype=np.uint16), axis=2, dtype=np.uint16)
    flow = code.view(np.int16).astype(np.float32) / np.float32(_FLOWZ_SCALE)
    if len(raw) == 4 * pixels:
        return flow, np.ones((height, width), np.bool_)
    bits = np.frombuffer(raw, np.uint8, offset=4 * pixels)
    return flow, np.unpackbits(bits, count=pixels).reshape(height, width).astype(np.bool_)


def _unknown_suffix(name: str, suffix: str) -> str:
    return (
        f"{name}: flow files end in .flo (Middlebury), .png (KITTI) or .flowz (compact), not "
        f"{suffix!r}"
    )
