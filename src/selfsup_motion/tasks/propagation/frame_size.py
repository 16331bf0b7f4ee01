"""How large frames are when an encoder sees them; what is found goes back to their own size."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

_SMALLEST = 8


class FrameSize:
    """The size that frames are resized to before they are encoded.

    Without arguments they keep their own.

    Args:
        short_side: of the frames in pixels; their proportions are kept.
        enlarge: also frames whose short side is smaller; otherwise these keep their size.
        long_side_multiple: the long side is cut down to a multiple of so many pixels, which changes
            the proportions a little (DINO: 64).
        frame_size: (height, width) of all frames, whatever their proportions; instead of the
            others.
        more_scales: frames are encoded at these multiples of that size as well, see
            `shared_features.features_of`.

    Raises:
        ValueError: a size below 8 pixels, a multiple below 1, a scale that is not positive, or both
            ways of giving a size.
    """

    def __init__(
        self,
        short_side: int | None = None,
        enlarge: bool = False,
        long_side_multiple: int = 1,
        frame_size: Sequence[int] | None = None,
        more_scales: Sequence[float] = (),
    ) -> None:
        fixed = None if frame_size is None else tuple(frame_size)
        if fixed is not None and (len(fixed) != 2 or min(fixed) < _SMALLEST):
            raise ValueError(
                f"frame_size is [height, width] of at least {_SMALLEST} pixels, got {list(fixed)}"
            )
        if short_side is not None and short_side < _SMALLEST:
            raise ValueError(f"short_side must be at least {_SMALLEST} pixels, got {short_side}")
        if fixed is not None and short_side is not None:
            raise ValueError("short_side and frame_size both give the size of frames: drop one")
        if long_side_multiple < 1:
            raise ValueError(f"long_side_multiple must be at least 1, got {long_side_multiple}")
        if any(not 0.1 <= scale <= 4 for scale in more_scales):
            raise ValueError(f"more_scales must lie between 0.1 and 4, got {list(more_scales)}")
        self.more_scales = tuple(more_scales)
        self.short_side, self.enlarge = short_side, enlarge
        self.long_side_multiple = long_side_multiple
        self.fixed = None if fixed is None else (fixed[0], fixed[1])

    def __str__(self) -> str:
        more = "".join(f" and {scale:g} times that" for scale in self.more_scales)
        if self.fixed is not None:
            return f"frames of {self.fixed[1]}x{self.fixed[0]}{more}"
        if self.short_side is not None:
            return f"frames of short side {self.short_side}{more}"
        return f"frames of their own size{more}" if more else ""

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at which frames of this (height, width) are encoded."""
        if self.fixed is not None:
            return self.fixed
        short, long = min(size), max(size)
        if self.short_side is not None and (short > self.short_side or self.enlarge):
            short, long = self.short_side, round(long * self.short_side / short)
        long = max(long // self.long_side_multiple, 1) * self.long_side_multiple
        return (short, long) if size[0] <= size[1] else (long, short)


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames at another size, averaged where they get smaller.

    Args:
        frames: (B, 3, H, W) uint8, or float in [0, 255].
        size: (height, width).

    Returns:
        (B, 3, *size): the frames themselves if they have that size, else float32.
    """
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames.float(), size, mode="bilinear", align_corners=False, antialias=True)
