"""Edge-aware interpolation that has learned: a CMP for dozens of points of many motions.

Edge-aware interpolation moves a pixel by the mean of the points' vectors, weighted by how near
they are along the colours of the image. Three things about it are fixed that depend on the image:
how fast the weights fall, whether to continue the vectors' trend or their mean, and which points
belong to the pixel if colours do not tell. Here a network decides them for every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.motion_decoders.padding import without_padding
from selfsup_motion.models.motion_decoders.sparse_image import early_channels
from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.interpolate import point_distances
from selfsup_motion.ops.motion_code import FlowRegression

_STEP = 0.2
"""Cost of a step between cells of one colour, beside distances in Lab, as in edge-aware
interpolation."""
_SOFTNESS = (3.0, 6.0, 12.0, 24.0)
"""Distances at which the heads' weights fall to 1/e before training."""
_RIDGE = 0.003
"""Squared distance, in short sides, that points have to be apart to tell more than a shift, before
training."""
_REMAINDER = 0.25
_SWEEPS = 3


class GeodesicAttentionDecoder(nn.Module):
    """Image features and guidance points → flow.

    Four heads of attention over the points, from near to far. The logits are distances along
    colours, divided by a softness, plus the likeness of learned keys; softness and ridge are
    predicted per pixel. Each head proposes the weighted mean of the vectors and the affine motion
    that fits them; a convolutional network mixes these eight and adds a small remainder. Before
    training the keys are silent and the mixture is even, which already is edge-aware interpolation
    with a local fit. The answer follows a common shift, and a common factor, of all vectors
    exactly.

    Args:
        feature_channels: channels of the image encoder's "stem" (stride 2), "layer1" (stride 4) and
            "output" features.
        motion_code: what is predicted: `FlowRegression`.
        width: channels at stride 2; more at coarser strides.
        key_channels: of a head, by which pixels and points are compared.
    """

    def __init__(
        self,
        *,
        feature_channels: Mapping[str, int],
        motion_code: FlowRegression,
        width: int = 32,
        key_channels: int = 8,
    ) -> None:
        super().__init__()
        if not isinstance(motion_code, FlowRegression):
            raise ValueError(
                "attention along colours predicts flow itself (motion_code=smooth_l1), not "
                f"{type(motion_code).__name__}"
            )
        layer1, stem = early_channels(feature_channels, "attention along colours")
        heads = len(_SOFTNESS)
        self.look8 = _block(feature_channels["output"], 2 * width)
        self.look4 = _block(2 * width + layer1, 2 * width)
        self.look2 = _block(2 * width + stem, width)
        self.query = nn.Conv2d(width, heads * key_channels, 1)
        self.key = nn.Conv2d(width, heads * key_channels, 1)
        self.shape = nn.Conv2d(width, 2 * heads, 1)  # log softness, log ridge
        evidence = (4 + 3 + 1) * heads + 2
        self.mix = nn.Sequential(
            _block(width + evidence, width),
            _Residual(width, 1),
            _Residual(width, 2),
            _Residual(width, 4),
        )
        self.head = nn.Conv2d(width, 2 * heads + 2, 1)  # share of each proposal, remainder
        for silent in (self.query, self.shape, self.head):
            nn.init.zeros_(silent.weight)
            assert silent.bias is not None
            nn.init.zeros_(silent.bias)
        self.log_softness = nn.Parameter(torch.tensor(_SOFTNESS).log())
        self.log_ridge = nn.Parameter(torch.full((heads,), math.log(_RIDGE)))

    def forward(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Propagate.

        Args:
            features: the image encoder's features, and the image as "rgb" in [0, 1].
            points: (B, K, 2) x, y in pixels.
            vectors: (B, K, 2) displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.
            size: (height, width) of the image.

        Returns:
            (B, 2, H, W): flow in pixels; zero for an item without points.
        """
        points, vectors, point_mask = without_padding(points, vectors, point_mask)
        look = self.look8(features["output"])
        look = self.look4(torch.cat([_resized(look, features["layer1"]), features["layer1"]], 1))
        look = self.look2(torch.cat([_resized(look, features["stem"]), features["stem"]], 1))
        queries, keys = self.query(look).float(), self.key(look).float()
        shape = self.shape(look).float().clamp(-4, 4).chunk(2, 1)
        with torch.autocast(look.device.type, enabled=False):  # differences of large sums
            softness, ridge = (
                (start.float()[:, None, None] + change).exp()
                for start, change in zip((self.log_softness, self.log_ridge), shape, strict=True)
            )
            centre, scale, unit = _normal(vectors.float(), point_mask)
            with torch.no_grad():
                distance = self._distances(features["rgb"], points, point_mask)
            weights = _weights(queries, keys, distance, softness, points, point_mask, size)
            proposals, evidence = _proposals(weights, points, unit, ridge, size)
        near = distance.amin(1, keepdim=True)
        told = [evidence, softness.log() / 4, (-near / 8).exp(), (-near / 30).exp()]
        out = self.head(self.mix(torch.cat([look, *(t.to(look.dtype) for t in told)], 1))).float()
        share = out[:, :-2].softmax(1)
        flow = (share[:, :, None] * proposals).sum(1) + _REMAINDER * out[:, -2:]
        flow = centre[..., None] + scale * flow
        flow = F.interpolate(flow, size, mode="bilinear")
        return flow * point_mask.any(1).view(-1, 1, 1, 1)

    def _distances(self, image: Tensor, points: Tensor, mask: Tensor) -> Tensor:
        """(B, K, h, w) at stride 2, along colours; far for padding."""
        lab = rgb_to_lab(F.avg_pool2d(image.float().clamp(0, 1), 2))
        x, y = ((points + 0.5) / 2).long().unbind(-1)
        x, y = x.clamp(0, lab.shape[3] - 1), y.clamp(0, lab.shape[2] - 1)
        distance = point_distances(lab, x, y, step_cost=_STEP, sweeps=_SWEEPS)
        return distance.masked_fill(~mask[..., None, None], 1e4)


def _weights(
    queries: Tensor,
    keys: Tensor,
    distance: Tensor,
    softness: Tensor,
    points: Tensor,
    mask: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """How much each pixel takes of each point.

    Args:
        queries: (B, heads c, h, w).
        keys: alike.
        distance: (B, K, h, w) of the pixels to the points.
        softness: (B, heads, h, w) of the heads.
        points: (B, K, 2) in pixels.
        mask: (B, K).
        size: (height, width) of the image.

    Returns:
        (B, heads, N, K) for N pixels, of sum 1.
    """
    batch, heads = softness.shape[:2]
    places = (2 * (points + 0.5) / constant_like([size[1], size[0]], points) - 1)[:, :, None]
    at = F.grid_sample(keys, places, align_corners=False)[..., 0]
    at = at.reshape(batch, heads, -1, at.shape[-1])  # (B, heads, c, K)
    asked = queries.reshape(batch, heads, at.shape[2], -1)
    likeness = asked.transpose(2, 3) @ at / math.sqrt(at.shape[2])
    far = (distance[:, None] / softness[:, :, None]).flatten(3).transpose(2, 3)
    return (likeness - far).masked_fill(~mask[:, None, None], -1e4).softmax(-1)


def _normal(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, 2, 1) and deviation (B, 1, 1, 1) of vectors (B, K, 2), and these without both."""
    known = mask[..., None].float()
    count = known.sum(1).clamp(min=1)
    mean = (vectors * known).sum(1) / count
    apart = (vectors - mean[:, None]) * known
    deviation = (apart.square().sum((1, 2)) / count[:, 0]).sqrt().clamp(min=1e-4)[:, None, None]
    return mean[..., None], deviation[..., None], apart / deviation


def _proposals(
    weights: Tensor, points: Tensor, vectors: Tensor, ridge: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What each head proposes.

    Args:
        weights: (B, heads, N, K).
        points: (B, K, 2) in pixels.
        vectors: (B, K, 2) in any unit.
        ridge: (B, heads, h, w).
        size: (height, width) of the image.

    Returns:
        Motions (B, 2 heads, 2, h, w), means first; evidence for the mixture (B, 7 heads, h, w):
        motions less the first head's mean, spread of the vectors, distance to their centre, largest
        weight.
    """
    batch, heads = weights.shape[:2]
    rows, columns = ridge.shape[2:]
    side = float(min(size))
    places = (points + 0.5) / side
    x = (torch.arange(columns, device=points.device) + 0.5) * (size[1] / columns / side)
    y = (torch.arange(rows, device=points.device) + 0.5) * (size[0] / rows / side)
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
    px, py = places.unbind(-1)
    u, v = vectors.unbind(-1)
    moments = torch.stack(
        [px, py, u, v, px * px, px * py, py * py, px * u, py * u, px * v, py * v, u * u + v * v], -1
    )
    mx, my, mu, mv, xx, xy, yy, xu, yu, xv, yv, squares = (weights @ moments[:, None]).unbind(-1)
    lift = ridge.flatten(2)
    xx, xy, yy = xx - mx * mx + lift, xy - mx * my, yy - my * my + lift
    xu, yu, xv, yv = xu - mx * mu, yu - my * mu, xv - mx * mv, yv - my * mv
    area = (xx * yy - xy * xy).clamp(min=1e-9)
    dx, dy = pixels[:, 0] - mx, pixels[:, 1] - my
    along, across = (yy * dx - xy * dy) / area, (xx * dy - xy * dx) / area
    mean = torch.stack([mu, mv], 2)  # (B, heads, 2, N)
    fitted = torch.stack([mu + along * xu + across * yu, mv + along * xv + across * yv], 2)
    fitted = fitted.clamp(-20, 20)
    deviation = (squares - mu * mu - mv * mv).clamp(min=1e-6).sqrt()
    away = (dx * dx + dy * dy + 1e-6).sqrt()
    proposals = torch.cat([mean, fitted], 1)
    told = torch.cat(
        [
            (proposals - mean[:, :1]).flatten(1, 2),
            deviation,
            2 * away,
            weights.amax(-1),
        ],
        1,
    )
    shape = batch, -1, rows, columns
    return proposals.view(batch, 2 * heads, 2, rows, columns), told.reshape(shape)


def _block(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """3×3 convolution, normalisation, rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = _block(channels, channels, dilation)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


def _resized(coarse: Tensor, fine: Tensor) -> Tensor:
    """At the resolution of another map."""
    return F.interpolate(coarse, fine.shape[-2:], mode="bilinear").to(fine.dtype)
