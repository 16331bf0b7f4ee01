"""The network of CMP: a few vectors on an image → the motion of all its pixels.

`CMP` trains it. It stands by itself so that whoever only asks it need not import Lightning, which
takes longer than an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.methods.cmp.propagate import EncodedImages, Points, encode, propagate
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.models.precision import own_precision, wide
from selfsup_motion.models.resnet import published_init_
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.motion_code import MotionCode
from selfsup_motion.ops.pictures import Pictures

FLOW_BINS = FlowBins()
"""The published motion code."""


class CMPNetwork(nn.Module):
    """Image and sparse motion → dense motion, without what trains it."""

    def __init__(
        self,
        *,
        encoder: nn.Module,
        propagation: Callable[..., nn.Module] | None = None,
        motion_code: MotionCode = FLOW_BINS,
        published_init: bool = False,
        use_guidance: bool = True,
    ) -> None:
        """Assemble the network.

        Args:
            encoder: see `CMP`.
            propagation: see `CMP`.
            motion_code: see `CMP`.
            published_init: see `CMP`.
            use_guidance: see `CMP`.
        """
        super().__init__()
        self.encoder = encoder
        check_sees(encoder, "image", "CMP")
        feature_channels = declared(encoder, "feature_channels")
        if propagation is None:
            propagation = partial(SparsePropagation, stride=declared(encoder, "stride"))
        self.motion_code = motion_code
        self.propagation = propagation(feature_channels=feature_channels, motion_code=motion_code)
        self.use_guidance = use_guidance
        if published_init:
            published_init_(self)
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.get_buffer("mean").device

    def forward(self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor) -> Tensor:
        """Score the motion of every pixel.

        Args:
            image: (B, 3, H, W) uint8, or float in [0, 255]; RGB.
            points: (B, K, 2) float, x, y in pixels.
            vectors: (B, K, 2) float, displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.

        Returns:
            (B, motion_code.channels, h, w) scores at the propagation module's resolution.
        """
        return self.score_all(image, points, vectors, point_mask)[0]

    def score_all(
        self, image: Tensor, points: Tensor, vectors: Tensor, point_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores at all the resolutions that the propagation module has, the finest first."""
        height, width = image.shape[-2:]
        return self.spread(self.features(image), points, vectors, point_mask, (height, width))

    def spread(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, ...]:
        """Features and guidance → scores, the finest first."""
        if not self.use_guidance:
            points, vectors, point_mask = map(torch.zeros_like, (points, vectors, point_mask))
        with own_precision(self):
            scores = self.propagation(features, points, vectors, point_mask, size)
        return (scores,) if isinstance(scores, Tensor) else tuple(scores)

    def spread_image(self, features: Mapping[str, Tensor], guidance: Tensor) -> tuple[Tensor, ...]:
        """As `spread`, of guidance that is an image already: only with the published propagation.

        Args:
            features: of `features` or `prepare`.
            guidance: (B, 4, H, W): x motion, y motion, mask, mask.
        """
        if not isinstance(self.propagation, SparsePropagation):
            raise ValueError(f"{type(self.propagation).__name__} takes points, not an image")
        if not self.use_guidance:
            guidance = torch.zeros_like(guidance)
        with own_precision(self):
            scores = self.propagation.spread(features, guidance)
        return (scores,) if isinstance(scores, Tensor) else tuple(scores)

    def prepare(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do what of `spread` depends on the image alone, if there are several sets of guidance."""
        if isinstance(self.propagation, SparsePropagation):
            with own_precision(self):
                return self.propagation.prepare(features)
        return dict(features)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What the propagation module sees of an image (B, 3, H, W), as in `forward`."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        image = image.to(wide(mean.dtype))
        normalised = (image - mean) / std
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        with own_precision(self):
            features: dict[str, Tensor] = self.encoder.forward_features(normalised)  # type: ignore[operator]
        return {**features, "image": normalised, "rgb": image / 255}

    def decode(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores → (B, 2, H, W) flow in pixels: decoded where they are, then enlarged."""
        flow = self.motion_code.decode(scores)
        return F.interpolate(flow, size, mode="bilinear", align_corners=True)

    def propagate(
        self,
        image: Pictures,
        points: Points,
        vectors: Points,
        point_mask: Tensor | None = None,
        *,
        short_side: int | None = None,
        dtype: torch.dtype | None = None,
        differentiable: bool = False,
    ) -> Tensor:
        """Spread the motion of a few points over an image of any size.

        The image is resized to `short_side` for the network, points and vectors with it, and the
        flow is resized back: in and out, everything is in pixels of the image given. Whole numbers
        are pixel centres; the image begins at -0.5. The image is encoded once, however many sets of
        guidance there are. The network must be in evaluation mode, which `load_method` sets.

        Args:
            image: RGB, uint8 or float in [0, 1]: a tensor (3, H, W) or (B, 3, H, W), an array
                (H, W, 3) or (B, H, W, 3), a PIL image, or a list of these of equal size.
            points: where the motion is given, (x, y): (K, 2) for one image, (B, K, 2) for a batch,
                each with T before the K if the points differ over time; or, where their number
                differs, a list along the first of these dimensions. Tensors, arrays or lists; while
                they are on the host, checking them does not wait for a GPU.
            vectors: displacement of the points, alike. With T only here, the same points move
                differently at each time.
            point_mask: bool, as `points` without the 2: rows to use. None: all.
            short_side: pixels; of the size that the network was trained at. None: the image's own.
                Rounded to the encoder's stride, at least 8 strides.
            dtype: torch.float16 or torch.bfloat16 computes in mixed precision.
            differentiable: keep the graph (else gradients are off).

        Returns:
            float32 flow in pixels on the network's device, (2, H, W) for one image, (B, 2, H, W)
            for a batch, with T before the 2 if the guidance has it. Zero points give the network's
            guess.

        Raises:
            ValueError: shapes that do not fit, a point outside the image, infinite values or NaN;
                a network in training mode without `differentiable`.
        """
        return propagate(
            self, image, points, vectors, point_mask,
            short_side=short_side, dtype=dtype, differentiable=differentiable,
        )  # fmt: skip

    def encode(
        self,
        image: Pictures,
        *,
        short_side: int | None = None,
        dtype: torch.dtype | None = None,
        differentiable: bool = False,
    ) -> EncodedImages:
        """Look at images once, to ask for their motion several times.

        `encode(image, …).propagate(points, vectors)` is `propagate(image, points, vectors, …)`.

        Args:
            image: see `propagate`.
            short_side: see `propagate`.
            dtype: see `propagate`.
            differentiable: see `propagate`.
        """
        return encode(
            self, image, short_side=short_side, dtype=dtype, differentiable=differentiable
        )
