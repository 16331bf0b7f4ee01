"""Images whose pixels stand for something: decoded, but not yet interpreted."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.data.reading.pictures import read_bytes
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.palette import palette

Values = NDArray[np.int32]
"""(H, W) indices, grey values, or colours packed as R · 65536 + G · 256 + B."""

BLACK = 0
_GREY_MODES = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_OPAQUE = 128
_MANY_COLOURS = 64


@dataclass(frozen=True)
class MaskImage:
    """A decoded mask.

    Attributes:
        kind: what the values are.
        values: see `Values`.
        colours: (N, 3) uint8, of an indexed image.
        background: the index that the file declares transparent, if it is one.
        lossy: the file format loses detail (JPEG).
        notes: what was chosen, in sentences.
    """

    kind: Literal["indexed", "grey", "colour"]
    values: Values
    colours: NDArray[np.uint8] | None = None
    background: int | None = None
    lossy: bool = False
    notes: list[str] = field(default_factory=list)

    def as_colours(self) -> MaskImage:
        """An indexed image by the colours of its palette."""
        assert self.colours is not None
        packed = pack(self.colours)
        values = packed[np.minimum(self.values, len(packed) - 1)]
        if self.background is not None:
            values[self.values == self.background] = BLACK
        return MaskImage("colour", values, lossy=self.lossy, notes=self.notes)


def decode_mask(path: Path) -> MaskImage:
    """Read an image file, or an array that NumPy saved, without interpreting its values.

    Grey images that are stored as RGB count as grey. Of an image with an alpha channel that
    varies, the alpha is the mask, unless the opaque part is drawn in a few colours; transparent
    pixels are then black.

    Raises:
        ClipReadError: the file is missing or damaged.
        UserError: it holds several pages, or values that stand for nothing.
    """
    data = read_bytes(path, str(path))
    if path.suffix.lower() == ".npy":
        return MaskImage("grey", _array(data, path))
    try:
        image = Image.open(io.BytesIO(data))
        pages = getattr(image, "n_frames", 1)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ClipReadError(
            f"{path} cannot be decoded as an image: the file is damaged or is no image.",
            file=str(path),
        ) from error
    if pages > 1:
        raise UserError(
            f"{path}: holds {pages} images, expected the mask of one frame; save only that one."
        )
    lossy = image.format in ("JPEG", "MPO", "JPEG2000")
    if image.mode == "P":
        return _indexed(image, path)
    if image.mode == "1":
        return MaskImage("grey", np.asarray(image).astype(np.int32))
    if image.mode in _GREY_MODES or image.mode == "F":
        return MaskImage("grey", whole_numbers(np.asarray(image), path), lossy=lossy)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _with_alpha(np.asarray(image.convert("RGBA")))
    return _coloured(np.asarray(image.convert("RGB")), lossy=lossy)


def pack(colours: NDArray[np.uint8]) -> Values:
    """(…, 3) RGB → (…) numbers."""
    parts = colours.astype(np.int32)
    packed: Values = (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]
    return packed


def unpack(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(…) numbers → (…, 3) RGB."""
    return np.stack([(values >> shift) & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)


def used(values: Values) -> NDArray[np.int64]:
    """The different values, in rising order."""
    if values.size and values.min() >= 0 and values.max() < 1 << 16:
        return np.flatnonzero(np.bincount(values.ravel()))  # much faster than sorting them
    return np.unique(values).astype(np.int64)


def rim(values: Values) -> Values:
    """The values of the pixels at the image's border, (N,)."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])


def flat(values: Values) -> NDArray[np.bool_]:
    """(H, W) bool: all of a pixel's 3 x 3 neighbours have its value."""
    exact = values.astype(np.float64)
    kernel = np.ones((3, 3), np.uint8)
    same: NDArray[np.bool_] = cv2.erode(exact, kernel) == cv2.dilate(exact, kernel)
    return same


def reordered(image: MaskImage) -> str | None:
    """Why the indices of an indexed image are unlikely to be ids, or None.

    Programs that reduce colours sort their palettes as they like: black, the usual background, is
    then not at 0, or the colours of VOC are at other places than theirs.
    """
    if image.colours is None:
        return None
    indices = used(image.values)
    indices = indices[indices < len(image.colours)]
    colours = pack(image.colours)[indices].tolist()
    zero = tuple(int(level) for level in image.colours[0])
    if zero != (0, 0, 0) and BLACK in colours:
        return f"index 0 of its palette is {zero}, black is index {indices[colours.index(BLACK)]}"
    usual = {int(colour): index for index, colour in enumerate(pack(palette()).tolist())}
    places = [usual.get(colour) for colour in colours]
    if len(places) > 1 and None not in places and places != indices.tolist():
        return "its palette has the colours of VOC and DAVIS in another order"
    return None


def whole_numbers(array: NDArray[np.generic], path: Path) -> Values:
    """(H, W) numbers as integers.

    Raises:
        UserError: fractions, negative or huge numbers, or another shape.
    """
    values = array.astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise UserError(f"{path}: expected one value per pixel, got the shape {values.shape}.")
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise UserError(
            f"{path}: has fractions, expected whole numbers: 0 for the background and an id for "
            "each object."
        )
    if values.min() < 0 or values.max() >= 1 << 31:
        raise UserError(
            f"{path}: has values from {values.min():.0f} to {values.max():.0f}, expected 0 for "
            "the background and a positive id for each object."
        )
    return values.astype(np.int32)


def _array(data: bytes, path: Path) -> Values:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ClipReadError(f"{path} is not a NumPy array: {error}.", file=str(path)) from error
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected numbers, got an array of {array.dtype}.")
    return whole_numbers(array, path)


def _indexed(image: Image.Image, path: Path) -> MaskImage:
    levels = image.getpalette() or []
    colours = np.array(levels, np.uint8).reshape(-1, 3)
    transparent = image.info.get("transparency")
    background = transparent if isinstance(transparent, int) else None
    if isinstance(transparent, bytes):  # an alpha for each index
        clear = [index for index, alpha in enumerate(transparent) if alpha == 0]
        background = clear[0] if len(clear) == 1 else None
    values = np.asarray(image).astype(np.int32)
    shades = colours[used(values)[used(values) < len(colours)]]
    if (shades == used(values)[: len(shades), None]).all():  # also if there is no palette
        return MaskImage("grey", values)
    return MaskImage("indexed", values, colours, background)


def _coloured(rgb: NDArray[np.uint8], *, lossy: bool) -> MaskImage:
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return MaskImage("grey", rgb[..., 0].astype(np.int32), lossy=lossy)
    return MaskImage("colour", pack(rgb), lossy=lossy)


def _with_alpha(rgba: NDArray[np.uint8]) -> MaskImage:
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min() == alpha.max():
        return _coloured(rgb, lossy=False)
    opaque = alpha >= _OPAQUE
    drawn = used(pack(rgb)[opaque])
    if 1 < len(drawn) <= _MANY_COLOURS:
        drawing = _coloured(np.where(opaque[..., None], rgb, 0), lossy=False)
        drawing.notes.append("transparent parts are used as background")
        return drawing
    note = "its alpha channel is used as the mask"
    return MaskImage("grey", alpha.astype(np.int32), notes=[note])
