"""CMP as a module: a few vectors on an image of any size → flow of that size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.pictures import Pictures, as_tensor, grey_levels

Points = Tensor | NDArray[Any] | Sequence[Any]
"""Coordinates as a tensor, an array or nested lists; where numbers of points differ, a list of
these."""

_CHUNK = 8
"""Sets of guidance that pass through the decoder at once."""
_LEAST_CELLS = 8
"""Features of a working image are at least so many cells high and wide."""
_MAX_ASPECT = 4
"""A working image longer than so many short sides is squeezed."""


class GuidedNetwork(Protocol):
    """What is asked of `CMP` here; its methods say what they do."""

    training: bool

    @property
    def encoder(self) -> nn.Module:
        """Has a `stride`."""
        ...

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Of (B, 3, H, W) images."""
        ...

    def prepare(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features → what `spread` does faster with."""
        ...

    def spread(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, ...]:
        """Features and guidance → scores."""
        ...

    def decode(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores → (B, 2, H, W) flow."""
        ...


def propagate(
    method: GuidedNetwork,
    image: Pictures,
    points: Points,
    vectors: Points,
    point_mask: Tensor | None = None,
    *,
    short_side: int | None = None,
    dtype: torch.dtype | None = None,
    differentiable: bool = False,
) -> Tensor:
    """See `CMP.propagate`."""
    images, single = _images(method, image)
    # a mistake in the guidance is told before the network is at work
    size = images.shape[-2], images.shape[-1]
    guidance = _Guidance.of(points, vectors, point_mask, len(images), single, images, size)
    return _encode(method, images, single, short_side, dtype, differentiable).answer(guidance)


def encode(
    method: GuidedNetwork,
    image: Pictures,
    *,
    short_side: int | None = None,
    dtype: torch.dtype | None = None,
    differentiable: bool = False,
) -> EncodedImages:
    """See `CMP.encode`."""
    images, single = _images(method, image)
    return _encode(method, images, single, short_side, dtype, differentiable)


def _encode(
    method: GuidedNetwork,
    images: Tensor,
    single: bool,
    short_side: int | None,
    dtype: torch.dtype | None,
    differentiable: bool,
) -> EncodedImages:
    if method.training and not differentiable:
        raise ValueError(
            "the network is in training mode, in which an answer depends on the batch: call "
            "method.eval() first"
        )
    size = images.shape[-2], images.shape[-1]
    work = working_size(size, short_side, int(method.encoder.stride))  # type: ignore[arg-type]
    with _modes(images.device, dtype, differentiable):
        if work != size:
            images = F.interpolate(images, work, mode="bilinear", antialias=True)
        features = method.prepare(method.features(images))
    return EncodedImages(method, features, images, size, single, dtype, differentiable)


@dataclass(frozen=True)
class EncodedImages:
    """Images that a network has looked at, to be asked any number of times.

    Attributes:
        method: the network.
        features: what it sees of them.
        images: (B, 3, h, w) float32 in [0, 255], as they passed through the network.
        size: (height, width) of the images given.
        single: whether one image was given, without a batch.
        dtype: see `CMP.propagate`.
        differentiable: see `CMP.propagate`.
    """

    method: GuidedNetwork
    features: Mapping[str, Tensor]
    images: Tensor
    size: tuple[int, int]
    single: bool
    dtype: torch.dtype | None
    differentiable: bool

    def propagate(
        self,
        points: Points,
        vectors: Points,
        point_mask: Tensor | None = None,
        *,
        full_size: bool = True,
    ) -> Tensor:
        """Spread the motion of a few points over the images; see `CMP.propagate`.

        Args:
            points: see `CMP.propagate`.
            vectors: see `CMP.propagate`.
            point_mask: see `CMP.propagate`.
            full_size: False leaves the flow at the resolution of the network's answer, which is a
                half or a quarter of the working image's. It still is in pixels of the images given.
        """
        return self.answer(self.guidance(points, vectors, point_mask), full_size)

    def one_by_one(self, points: Points, vectors: Points) -> Iterator[Tensor]:
        """The flows of `propagate`, where it returns several of one image: (2, H, W) each.

        All of them together would take much memory if the image is large.

        Args:
            points: see `CMP.propagate`.
            vectors: (T, K, 2).
        """
        guidance = self.guidance(points, vectors)
        with self.modes():
            flows = list(self._answers(guidance, full_size=True))
        for several in flows:
            for flow in several:
                # held by nobody here while the next one is made
                yield self._whole_alone(flow)

    def guidance(
        self, points: Points, vectors: Points, point_mask: Tensor | None = None
    ) -> _Guidance:
        """What `propagate` takes, checked and in one form."""
        given = points, vectors, point_mask
        return _Guidance.of(*given, len(self.images), self.single, self.images, self.size)

    def rows(self, item: Tensor) -> dict[str, Tensor]:
        """The features of some images, (N,) indices. One alone is not copied."""
        if len(self.images) == 1:
            return {
                name: value.expand(len(item), *value.shape[1:])
                for name, value in self.features.items()
            }
        return {name: value[item] for name, value in self.features.items()}

    def answer(self, guidance: _Guidance, full_size: bool = True) -> Tensor:
        """As `propagate`, of guidance that was checked."""
        with self.modes():
            flow = self._flow(guidance, full_size)  # (B, T, 2, H, W)
        if not guidance.over_time:
            flow = flow[:, 0]
        return flow[0] if self.single else flow

    def modes(self) -> contextlib.AbstractContextManager[None]:
        """Where the network computes with the precision and the gradients that were asked for."""
        return _modes(self.images.device, self.dtype, self.differentiable)

    @property
    def scale(self) -> Tensor:
        """(2,): by how much the working images are larger than those given, in x and y."""
        work, (height, width) = self.images.shape[-2:], self.size
        return constant_like([work[1] / width, work[0] / height], self.images)

    def _flow(self, guidance: _Guidance, full_size: bool) -> Tensor:
        """(B, T, 2, H, W) float32."""
        flows = list(self._answers(guidance, full_size))
        if full_size:
            flows = [self._whole(flow) for flow in flows]
        else:
            flows = [flow / self.scale.view(2, 1, 1) for flow in flows]
        flow = torch.cat(flows) if len(flows) > 1 else flows[0]
        return flow.view(*guidance.points.shape[:2], *flow.shape[1:])

    def _answers(self, guidance: _Guidance, full_size: bool) -> Iterator[Tensor]:
        """(N, 2, h, w) for a few sets of guidance at a time, in pixels of the working images."""
        work = self.images.shape[-2], self.images.shape[-1]
        for given in self.asked(guidance):
            scores = self.method.spread(*given, work)[0].float()
            size = work if full_size else (scores.shape[-2], scores.shape[-1])
            yield self.method.decode(scores, size)

    def _whole(self, flow: Tensor) -> Tensor:
        """The flow of working images as that of the images given."""
        scale = self.scale.view(2, 1, 1)
        if flow.shape[-2:] == self.size:
            return flow / scale
        flow = F.interpolate(flow, self.size, mode="bilinear", antialias=True)
        return flow / scale if self.differentiable else flow.div_(scale)

    def _whole_alone(self, flow: Tensor) -> Tensor:
        """`_whole` of one (2, h, w)."""
        with self.modes():
            return self._whole(flow[None])[0]

    def asked(
        self, guidance: _Guidance
    ) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor, Tensor]]:
        """Features, points, vectors and mask for the network, a few sets of guidance at a time."""
        scale = self.scale
        # pixel centres are whole numbers, so the image begins at -0.5
        points = (guidance.points + 0.5) * scale - 0.5
        # unused rows may hold anything, NaN too
        points = torch.where(guidance.used[..., None], points, 0)
        vectors = torch.where(guidance.used[..., None], guidance.vectors * scale, 0)

        batch, steps = points.shape[:2]
        for start in range(0, batch * steps, _CHUNK):
            rows = torch.arange(start, min(start + _CHUNK, batch * steps), device=points.device)
            yield (
                self.rows(rows // steps),
                points.flatten(0, 1)[rows],
                vectors.flatten(0, 1)[rows],
                guidance.used.flatten(0, 1)[rows],
            )


@contextlib.contextmanager
def _modes(device: torch.device, dtype: torch.dtype | None, differentiable: bool) -> Iterator[None]:
    with contextlib.ExitStack() as modes:
        modes.enter_context(torch.set_grad_enabled(differentiable))
        if dtype is not None:
            modes.enter_context(torch.autocast(device.type, dtype))
        yield


def working_size(size: tuple[int, int], short_side: int | None, stride: int) -> tuple[int, int]:
    """The size at which an image passes through the network.

    Sides are multiples of the encoder's stride, at least 8 strides and at most 4 short sides long;
    within that, the proportions are kept.

    Args:
        size: (height, width) of the image.
        short_side: wanted, in pixels; None keeps the size.
        stride: of the encoder.
    """
    scale = 1.0 if short_side is None else short_side / min(size)
    least = _LEAST_CELLS * stride
    sides = [max(least, round(side * scale / stride) * stride) for side in size]
    most = _MAX_ASPECT * min(sides)
    return min(sides[0], most), min(sides[1], most)


@dataclass(frozen=True)
class _Guidance:
    """points, vectors: (B, T, K, 2), K ≥ 1; used: (B, T, K)."""

    points: Tensor
    vectors: Tensor
    used: Tensor
    over_time: bool

    @classmethod
    def of(
        cls,
        points: Points,
        vectors: Points,
        point_mask: Tensor | None,
        batch: int,
        single: bool,
        like: Tensor,
        size: tuple[int, int],
    ) -> _Guidance:
        """Check what `CMP.propagate` takes and bring it into one form, on the device of `like`.

        If all of it comes from the host, it is checked there: nothing waits for a GPU.
        """
        rows = _as_tensors(points), _as_tensors(vectors)
        home = _home([*rows, [] if point_mask is None else point_mask], like)
        points, there = _padded(rows[0], home)
        vectors, _ = _padded(rows[1], home)
        mask = there if point_mask is None else point_mask.to(home.device, torch.bool)
        given = points.shape, vectors.shape, mask.shape
        if single:
            points, vectors, there, mask = points[None], vectors[None], there[None], mask[None]
        over_time = 4 in (points.ndim, vectors.ndim)
        points, vectors = (t[:, None] if t.ndim == 3 else t for t in (points, vectors))
        there, mask = (t[:, None] if t.ndim == 2 else t for t in (there, mask))
        if not all(t.ndim == 4 for t in (points, vectors)) or mask.ndim != 3:
            raise ValueError(_shapes(given, batch))
        shape = (batch, max(points.shape[1], vectors.shape[1]), points.shape[2], 2)
        for tensor, whole in ((points, shape), (vectors, shape), (mask, shape[:-1])):
            if tensor.shape not in (whole, (batch, 1, *whole[2:])):
                raise ValueError(_shapes(given, batch))
        used = (there & mask).expand(shape[:-1])
        lone = int(shape[2] == 0)  # a network without any point still wants one, unused
        points, vectors = (F.pad(t.expand(shape), (0, 0, 0, lone)) for t in (points, vectors))
        guidance = cls(points, vectors, F.pad(used, (0, lone)), over_time)
        guidance.check(size)
        return guidance.to(like.device)

    def to(self, device: torch.device) -> _Guidance:
        """The same there, from where it is or from the host."""
        points, vectors, used = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.points, self.vectors, self.used)
        )
        return _Guidance(points, vectors, used, self.over_time)

    def check(self, size: tuple[int, int]) -> None:
        """Refuse points outside the image, NaN and infinite values."""
        height, width = size
        finite = torch.cat([self.points, self.vectors], -1).isfinite().all(-1)
        corner = constant_like([width - 0.5, height - 0.5], self.points)
        inside = ((self.points >= -0.5) & (self.points <= corner)).all(-1)
        fine = torch.stack([(good | ~self.used).all() for good in (finite, inside)])
        all_finite, all_inside = fine.tolist()  # one wait for both, if they are on a GPU
        if not all_finite:
            raise ValueError("points and vectors must be finite")
        if not all_inside:
            raise ValueError(
                f"points must lie in the image of {height}x{width} pixels; leave others out with "
                "point_mask"
            )


def _shapes(given: Sequence[Sequence[int]], batch: int) -> str:
    points, vectors, mask = (tuple(shape) for shape in given)
    return (
        "points and vectors must be (K, 2) or (T, K, 2) for one image, (B, K, 2) or (B, T, K, 2) "
        f"for {batch}, and point_mask without the 2; got {points}, {vectors} and {mask}"
    )


def _images(method: GuidedNetwork, image: Pictures) -> tuple[Tensor, bool]:
    """(B, 3, H, W) float32 in [0, 255] on the network's device, and whether it is a single one."""
    images = as_tensor(image)
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or 0 in images.shape:
        raise ValueError(f"image must be (3, H, W) or (B, 3, H, W), got {tuple(images.shape)}")
    single = images.ndim == 3
    device = next(method.encoder.parameters(), images).device
    # from a GPU to the host, what is not waited for may not be there yet
    from_host = images.device.type == "cpu"
    levels = grey_levels(images[None] if single else images)
    return levels.to(device, non_blocking=from_host), single


def _as_tensors(rows: Points) -> Tensor | list[Tensor]:
    if isinstance(rows, Tensor):
        return rows
    if isinstance(rows, np.ndarray) or not any(isinstance(r, (Tensor, np.ndarray)) for r in rows):
        try:
            array = np.array(rows, np.float32)
        except ValueError:  # lists of different length
            return [_single(row) for row in rows]
        return torch.from_numpy(array if array.size else array.reshape(-1, 2))
    return [_single(row) for row in rows]


def _single(row: Any) -> Tensor:
    """(…, K, 2)"""
    tensor = row if isinstance(row, Tensor) else torch.from_numpy(np.array(row, np.float32))
    return tensor if tensor.numel() or tensor.ndim > 1 else tensor.reshape(0, 2)


def _home(given: Sequence[Tensor | list[Tensor]], like: Tensor) -> Tensor:
    """Of the type of `like`, where guidance is checked: on the host, unless some is elsewhere."""
    tensors = [t for rows in given for t in (rows if isinstance(rows, list) else [rows])]
    on_host = all(tensor.device.type == "cpu" for tensor in tensors)
    return like.new_empty(0, device="cpu") if on_host else like


def _padded(rows: Tensor | list[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Points of different number, as one tensor (..., K, 2), and which rows are no padding."""
    if isinstance(rows, Tensor):
        rows = rows.to(like)
        return rows, torch.ones(rows.shape[:-1], dtype=torch.bool, device=like.device)
    longest = max((row.shape[-2] for row in rows), default=0)
    gaps = [longest - row.shape[-2] for row in rows]
    filled = [F.pad(row.to(like), (0, 0, 0, gap)) for row, gap in zip(rows, gaps, strict=True)]
    there = [
        F.pad(torch.ones(row.shape[:-1], dtype=torch.bool, device=like.device), (0, gap))
        for row, gap in zip(rows, gaps, strict=True)
    ]
    return torch.stack(filled), torch.stack(there)
