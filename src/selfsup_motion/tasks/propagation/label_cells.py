"""Labels of pixels as shares of the cells that an encoder's features have, and back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.ops.label_cells import labels_to_cells
from selfsup_motion.tasks.propagation.propagation_settings import LabelResize, Pixels

_BAND_BYTES = 32 << 20


def reduce_labels(
    index: Tensor,
    count: int,
    stride: int,
    resize: LabelResize,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """A hard label per pixel → soft labels per cell.

    Args:
        index: (H, W) integer in [0, count).
        count: number of labels D.
        stride: pixels per cell; the last row and column are repeated up to whole cells.
        resize: as of `LabelPropagator`.
        size: (height, width) that the frames are resized to before they are encoded; None: (H, W).

    Returns:
        (D, ceil(height / stride), ceil(width / stride)) float32, summing to 1.
    """
    height, width = size or (index.shape[0], index.shape[1])
    cells = -(-height // stride), -(-width // stride)
    if resize == "corners":
        maps = [(index == label).float()[None, None] for label in range(count)]
        return torch.cat(
            [F.interpolate(own, cells, mode="bilinear", align_corners=True)[0] for own in maps]
        )
    if resize == "nearest":
        index = F.interpolate(index[None, None].float(), cells, mode="nearest-exact")[0, 0]
        return torch.stack([(index == label).float() for label in range(count)])
    if size is not None and size != tuple(index.shape):
        if resize == "mean":
            return _mean_of_resized(index, count, stride, size)
        index = F.interpolate(index[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    bottom, right = -index.shape[0] % stride, -index.shape[1] % stride
    # in floating point: padding by repetition takes nothing else
    padded = F.pad(index[None, None].float(), (0, right, 0, bottom), mode="replicate")[0]
    labels = torch.arange(count, device=index.device).view(-1, 1, 1)
    if resize == "mean":
        # label by label: at full resolution there is room for one
        return torch.cat([F.avg_pool2d((padded == label).float(), stride) for label in labels])
    if resize == "subsample" or stride % 2:
        start = 0 if resize == "subsample" else stride // 2  # an odd cell has a central pixel
        return (padded[:, start::stride, start::stride] == labels).float()
    blend = resize == "blend_ids"
    return labels_to_cells(padded.long(), count, stride, blend_ids=blend)[0]


def cells_to_labels(soft: Tensor, stride: int) -> Tensor:
    """(D, h, w) soft labels per cell → (h·stride, w·stride) the best label of each pixel.

    Bilinear; in bands of rows, so that all labels at full resolution need not fit into memory.
    """
    return torch.cat([_best(rows) for rows in _enlarged(soft, stride)])


def pixel_labels(
    soft: Tensor,
    stride: int,
    seen: tuple[int, int],
    size: tuple[int, int],
    *,
    pixels: Pixels = "own",
    stretch: bool = False,
) -> Tensor:
    """The best label of each pixel of a frame.

    Args:
        soft: (D, h, w) soft labels per cell.
        stride: pixels per cell.
        seen: (height, width) of the frame as it was encoded.
        size: (H, W) of the frame itself.
        pixels: where it is chosen, as of `LabelPropagator`.
        stretch: stretch each label's map to [0, 1] before, see `min_max`.

    Returns:
        (H, W) int64.
    """

    def bands() -> Iterator[Tensor]:
        """Rows (D, n, width) of the maps at the pixels where the best label is chosen."""
        if pixels == "cells":
            yield soft
        elif pixels == "corners":
            yield F.interpolate(soft[None], size, mode="bilinear", align_corners=True)[0]
        elif pixels == "own" and seen != size:
            yield from _enlarged_to(soft, stride, seen, size)
        else:
            row = 0
            for rows in _enlarged(soft, stride):
                yield rows[:, : max(seen[0] - row, 0), : seen[1]]
                row += rows.shape[1]

    if stretch:
        ends = [rows.flatten(1).aminmax(dim=1) for rows in bands() if rows.numel()]
        low = torch.stack([end.min for end in ends]).amin(0)[:, None, None]
        high = torch.stack([end.max for end in ends]).amax(0)[:, None, None]
        known = high > 0
        low, span = torch.where(known, low, 0), torch.where(known & (high > low), high - low, 1)
        found = torch.cat([_best((rows - low) / span) for rows in bands()])
    else:
        found = torch.cat([_best(rows) for rows in bands()])
    if pixels == "cells":
        found = found.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
        found = found[: seen[0], : seen[1]]
    if tuple(found.shape) != size:
        found = F.interpolate(found[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    return found


def _enlarged(soft: Tensor, stride: int) -> Iterator[Tensor]:
    """Bands (D, n, w·stride) of soft labels (D, h, w) at the pixels, from top to bottom."""
    labels, height, width = soft.shape
    band = max(1, _BAND_BYTES // (4 * labels * stride**2 * width))
    for top in range(0, height, band):
        bottom = min(top + band, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # their neighbours have a say
        large = F.interpolate(
            soft[None, :, first:last], scale_factor=stride, mode="bilinear", align_corners=False
        )
        yield large[0, :, (top - first) * stride : (bottom - first) * stride]


def _enlarged_to(
    soft: Tensor, stride: int, seen: tuple[int, int], size: tuple[int, int]
) -> Iterator[Tensor]:
    """Bands (D, n, W) at the pixels of a frame that was resized before it was encoded."""
    down, across = (
        _interpolation(cells, stride * size[axis] / seen[axis], size[axis], soft)
        for axis, cells in enumerate(soft.shape[1:])
    )
    band = max(1, _BAND_BYTES // (4 * len(soft) * size[1]))
    wide = soft.float() @ across.T
    for rows in torch.split(down, band):
        yield rows @ wide


def _interpolation(cells: int, stride: float, pixels: int, like: Tensor) -> Tensor:
    """(pixels, cells) weights of linear interpolation, for cells of a stride that is not whole."""
    place = (torch.arange(pixels, device=like.device, dtype=torch.float64) + 0.5) / stride - 0.5
    place = place.clamp(0, cells - 1)
    before = place.floor().clamp(max=max(cells - 2, 0))
    weights = torch.zeros(pixels, cells, device=like.device, dtype=torch.float64)
    share = (place - before)[:, None]
    weights.scatter_add_(1, before.long()[:, None], 1 - share)
    weights.scatter_add_(1, (before.long()[:, None] + 1).clamp(max=cells - 1), share)
    return weights.float()


def _mean_of_resized(index: Tensor, count: int, stride: int, size: tuple[int, int]) -> Tensor:
    """Shares of the labels in the cells of a resized frame, label by label."""
    right, bottom = -size[1] % stride, -size[0] % stride
    shares = []
    for label in range(count):
        own = (index == label).float()[None, None]
        if size[0] < index.shape[0] or size[1] < index.shape[1]:
            own = F.interpolate(own, size, mode="area")
        else:
            own = F.interpolate(own, size, mode="nearest-exact")
        shares.append(F.avg_pool2d(F.pad(own, (0, right, 0, bottom), mode="replicate"), stride)[0])
    return torch.cat(shares)


def _best(soft: Tensor) -> Tensor:
    """`soft.argmax(0)`, label by label: several times faster on a CPU."""
    best, index = soft[0], torch.zeros_like(soft[0], dtype=torch.int64)
    for label in range(1, len(soft)):
        index.masked_fill_(soft[label] > best, label)
        best = torch.maximum(best, soft[label])
    return index
