"""Flow files: Middlebury `.flo` (float32) and KITTI `.png` (16 bit, 1/64 px, with validity)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_FLO_MAGIC = b"PIEH"  # 202021.25 as little-endian float32
_FLO_UNKNOWN = 1e9
_KITTI_SCALE = 64.0
_KITTI_ZERO = 1 << 15

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def read_flow(path: str | PathLike[str]) -> FloatArray:
    """Flow of a `.flo` or KITTI `.png` file: (2, H, W) float32, (x, y) in pixels.

    Values are as stored; `read_flow_and_valid` tells which of them mean something.

    Raises:
        ValueError: the file is damaged, truncated or of another kind; the message names it.
        FileNotFoundError: there is no such file.
    """
    return read_flow_and_valid(path)[0]


def read_flow_and_valid(path: str | PathLike[str]) -> tuple[FloatArray, BoolArray]:
    """Flow (2, H, W) float32 and where it is known (H, W) bool; see `read_flow`."""
    path = Path(path)
    if path.suffix == ".flo":
        flow = _decode_flo(path)
        return flow, np.all(np.abs(flow) <= _FLO_UNKNOWN, axis=0)
    if path.suffix == ".png":
        return _decode_kitti(path)
    raise ValueError(_unknown_suffix(path))


def write_flow(
    path: str | PathLike[str], flow: NDArray[np.floating], valid: BoolArray | None = None
) -> None:
    """Write (2, H, W) flow in pixels as `.flo` (exact) or KITTI `.png` (1/64 px, ±512 px).

    Args:
        path: the suffix chooses the format.
        flow: (2, H, W), (x, y) displacement.
        valid: (H, W) bool, where the flow is known; the rest is marked as unknown. None: all.

    Raises:
        ValueError: wrong shape, another suffix, or flow that a `.png` cannot hold.
    """
    path = Path(path)
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(f"flow must be (2, H, W), got {flow.shape}")
    if valid is None:
        valid = np.ones(flow.shape[1:], np.bool_)
    if path.suffix == ".flo":
        stored = np.where(valid, flow, 2 * _FLO_UNKNOWN).astype("<f4")
        size = np.array([flow.shape[2], flow.shape[1]], "<i4")
        path.write_bytes(_FLO_MAGIC + size.tobytes() + stored.transpose(1, 2, 0).tobytes())
        return
    if path.suffix != ".png":
        raise ValueError(_unknown_suffix(path))
    code = np.rint(np.where(valid, flow, 0.0) * _KITTI_SCALE) + _KITTI_ZERO
    if not ((code >= 0) & (code < 1 << 16)).all():
        raise ValueError(f"{path}: a KITTI .png holds flow within ±512 px; write a .flo instead")
    u, v = code
    bgr = np.stack([valid, v, u], axis=-1).astype(np.uint16)
    encoded, buffer = cv2.imencode(".png", bgr)
    if not encoded:
        raise ValueError(f"{path}: OpenCV could not encode flow of shape {flow.shape} as .png")
    path.write_bytes(buffer.tobytes())


def _decode_flo(path: Path) -> FloatArray:
    data = path.read_bytes()
    if data[:4] != _FLO_MAGIC or len(data) < 12:
        raise ValueError(f"{path} is not a .flo file: it does not begin with a Middlebury header")
    width, height = (int(n) for n in np.frombuffer(data, "<i4", 2, 4))
    expected = 12 + 8 * width * height
    if width <= 0 or height <= 0 or len(data) != expected:
        raise ValueError(
            f"{path} has {len(data)} bytes, but its header ({width}x{height}) asks for {expected}: "
            "the file is damaged or incomplete"
        )
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)


def _decode_kitti(path: Path) -> tuple[FloatArray, BoolArray]:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if bgr is None:
        raise ValueError(f"{path} cannot be decoded as a PNG image: the file is damaged")
    if bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] != 3:
        raise ValueError(f"{path} is no KITTI flow: expected a 16-bit PNG with three channels")
    flow = (bgr[..., :0:-1].astype(np.float32) - _KITTI_ZERO) / _KITTI_SCALE
    return np.ascontiguousarray(flow.transpose(2, 0, 1)), bgr[..., 0] > 0


def _unknown_suffix(path: Path) -> str:
    return f"{path}: flow files end in .flo (Middlebury) or .png (KITTI), not {path.suffix!r}"
