"""Attention over guidance points with the alternative of resting: a CMP that answers one arrow.

Where all points move, a softmax over them tells no pixel whether it belongs to any: over a single
point it is always 1. Here every pixel may also decide to rest, by comparing how well the points
explain it with a threshold of its own; and it is told how far, along the colours of the image, it
lies from what moves, from what is pinned and from the border.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.motion_decoders.padding import without_padding
from selfsup_motion.models.motion_decoders.sparse_image import early_channels
from selfsup_motion.ops.color import rgb_to_lab
from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.geodesic import geodesic_distance
from selfsup_motion.ops.moving_flow import MovingFlow

_STEP = 0.2
"""Cost of a step between pixels of one colour, beside distances in Lab."""
_MOST_MARGIN = 8.0
"""Beyond it, how much more a pixel looks like one point than like the others tells nothing."""
_MOVES = 0.3
"""Points whose vector is longer than this share of the longest one count as moving."""
PATH_CHANNELS = 9


class RestAttentionDecoder(nn.Module):
    """Image features and guidance points → flow and the score of moving, at half the resolution.

    Rounds of attention at strides 8, 4 and 2, each of several heads, each round seeing the evidence
    of the one before. The answer is a mixture of resting and the motions that two heads have
    fitted, plus a small remainder.

    Args:
        feature_channels: channels of the image encoder's "stem" (stride 2), "layer1" (stride 4) and
            "output" (stride 8) features.
        motion_code: what is predicted: `MovingFlow`.
        widths: channels at strides 8, 4 and 2.
        heads: at strides 8, 4 and 2; at least 2 at the last.
        key_channels: of a head, by which pixels and points are compared.
    """

    def __init__(
        self,
        *,
        feature_channels: Mapping[str, int],
        motion_code: MovingFlow,
        widths: tuple[int, int, int] = (96, 48, 32),
        heads: tuple[int, int, int] = (4, 2, 2),
        key_channels: int = 16,
    ) -> None:
        super().__init__()
        if not isinstance(motion_code, MovingFlow):
            raise ValueError(
                "attention with rest predicts flow and moving (motion_code=moving_flow), not "
                f"{type(motion_code).__name__}"
            )
        if heads[2] < 2:
            raise ValueError(f"heads: the last round needs at least 2, got {heads[2]}")
        layer1, stem = early_channels(feature_channels, "attention with rest")
        wide, middle, narrow = widths
        self.max_flow = motion_code.max_flow
        self.look8 = _Block(feature_channels["output"] + PATH_CHANNELS, wide)
        self.attend8 = RestAttention(wide, heads[0], key_channels)
        self.mix8 = nn.Sequential(
            _Block(wide + self.attend8.out_channels, wide),
            *(_Residual(wide, dilation) for dilation in (1, 2, 4, 1)),
        )
        self.look4 = _Block(wide + layer1 + PATH_CHANNELS, middle)
        self.attend4 = RestAttention(middle, heads[1], key_channels)
        self.mix4 = nn.Sequential(
            _Block(middle + self.attend4.out_channels, middle), _Residual(middle, 1)
        )
        self.look2 = _Block(middle + stem + PATH_CHANNELS, narrow)
        self.attend2 = RestAttention(narrow, heads[2], key_channels)
        self.mix2 = nn.Sequential(
            _Block(narrow + self.attend2.out_channels, narrow), _Residual(narrow, 1)
        )
        self.head = nn.Conv2d(narrow, 5, 1)  # rest, two motions, remainder
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

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
            (B, 3, H/2, W/2): flow in pixels, score of moving.
        """
        gates, motions, remainder = self._answer(features, points, vectors, point_mask, size)
        scale, share = self._scale, gates.softmax(1)
        moved = share[:, 1, None] * motions[:, 0] + share[:, 2, None] * motions[:, 1]
        flow = scale * (moved + (1 - share[:, :1]) * remainder)
        flow = flow.clamp(-2 * self.max_flow, 2 * self.max_flow)
        moving = torch.logsumexp(gates[:, 1:], 1, keepdim=True) - gates[:, :1]
        return torch.cat([flow, moving], 1)

    def mixture(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """What the flow of `forward` is the mean of: resting and two motions.

        Args:
            features: see `forward`.
            points: see `forward`.
            vectors: see `forward`.
            point_mask: see `forward`.
            size: see `forward`.

        Returns:
            (B, 3, H/2, W/2) shares, which sum up to 1, and (B, 3, 2, H/2, W/2) motions in pixels,
            the first of them zero.
        """
        gates, motions, remainder = self._answer(features, points, vectors, point_mask, size)
        motions = self._scale * (motions[:, :2] + remainder[:, None])
        motions = motions.clamp(-2 * self.max_flow, 2 * self.max_flow)
        return gates.softmax(1), torch.cat([torch.zeros_like(motions[:, :1]), motions], 1)

    @property
    def _scale(self) -> float:
        """Brings vectors to about unit size."""
        return self.max_flow / 4

    def _answer(
        self,
        features: Mapping[str, Tensor],
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of rest and two motions (B, 3, h, w), fitted motions (B, heads, 2, h, w) and what
        is added to those (B, 2, h, w), in units of `_scale`."""
        points, vectors, point_mask = without_padding(points, vectors, point_mask)
        guidance = points, vectors / self._scale, point_mask, size
        with torch.no_grad():
            paths = self._paths(features["rgb"], points, vectors, point_mask)

        x8 = self.look8(_joined(features["output"].shape, features["output"], paths))
        x8 = self.mix8(torch.cat([x8, self.attend8(x8, *guidance)[0]], 1))
        fine = features["layer1"]
        x4 = self.look4(_joined(fine.shape, fine, paths, x8))
        x4 = self.mix4(torch.cat([x4, self.attend4(x4, *guidance)[0]], 1))
        fine = features["stem"]
        x2 = self.look2(_joined(fine.shape, fine, paths, x4))
        evidence, motions, keep = self.attend2(x2, *guidance)
        out = self.head(self.mix2(torch.cat([x2, evidence], 1))).float()

        # the heads' own decisions, which the convolutions correct
        odds = torch.logit(keep.amax(1).clamp(1e-3, 1 - 1e-3))
        gates = torch.stack([out[:, 0], out[:, 1] + odds, out[:, 2] + odds], 1)
        return gates, motions, 0.25 * out[:, 3:5]

    def _paths(self, image: Tensor, points: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """(B, 9, H/2, W/2): nearness along colours to what moves, what is pinned, the border."""
        height, width = image.shape[-2:]
        small = F.interpolate(image.float(), (height // 2, width // 2), mode="area").clamp(0, 1)
        lab = rgb_to_lab(small)
        rows, columns = small.shape[-2:]
        length = vectors.norm(dim=-1)
        moves = mask & (length > _MOVES * length.masked_fill(~mask, 0).amax(1, keepdim=True))
        place = ((points + 0.5) / 2 - 0.5).round().long()
        x, y = place[..., 0].clamp(0, columns - 1), place[..., 1].clamp(0, rows - 1)
        at = y * columns + x
        sets = torch.stack([moves, mask & ~moves], 1)
        sources = torch.zeros(image.shape[0], 3, rows * columns, device=image.device)
        sources[:, :2].scatter_reduce_(2, at[:, None].expand(-1, 2, -1), sets.float(), "amax")
        sources = sources.view(-1, 3, rows, columns) > 0
        for edge in (0, -1):  # one by one: a list of them would be copied to the device
            sources[:, 2, edge] = True
            sources[:, 2, :, edge] = True
        moved, pinned, border = geodesic_distance(lab, sources, step=_STEP).unbind(1)
        alike = [
            torch.exp(-_nearest_colour(lab, lab.flatten(2), at, chosen) / 12)
            for chosen in sets.unbind(1)
        ]
        return torch.stack(
            [
                torch.exp(-moved / 8),
                torch.exp(-moved / 30),
                torch.exp(-pinned / 8),
                torch.exp(-pinned / 30),
                torch.exp(-border / 30),
                moved / (moved + pinned + 1),
                moved / (moved + border + 1),
                *alike,
            ],
            1,
        )


class RestAttention(nn.Module):
    """Each pixel attends to the guidance points, or rests.

    Of every head: a pixel's score for a point is the likeness of learned keys less a multiple of
    their distance. The softmax of the scores weighs the points, the similarity transform that fits
    them under these weights moves the pixel, and it moves at all if the scores together exceed the
    pixel's threshold for rest.

    Args:
        channels: of the features.
        heads: how many.
        key_channels: of a head's keys.
    """

    evidence_channels = 9

    def __init__(self, channels: int, heads: int, key_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.out_channels = heads * self.evidence_channels
        self.query = nn.Linear(channels, heads * key_channels)
        self.key = nn.Linear(channels, heads * key_channels)
        self.rest = nn.Linear(channels, heads)
        nn.init.constant_(self.rest.bias, -4.0)
        self.log_ridge = nn.Parameter(torch.full((heads,), -6.0))
        # from heads that take the nearest point to heads that look everywhere
        self.log_nearness = nn.Parameter(torch.linspace(4.0, 1.0, heads))

    def forward(
        self,
        features: Tensor,
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Args:
            features: (B, C, h, w), whose corners are the image's corners.
            points: (B, K, 2) x, y in pixels of the image.
            vectors: (B, K, 2) in any unit.
            point_mask: (B, K) bool.
            size: (height, width) of the image.

        Returns:
            Evidence (B, heads · 9, h, w); fitted motions (B, heads, 2, h, w); probability that a
            pixel goes along (B, heads, h, w).
        """
        batch, _, height, width = features.shape
        corner = constant_like([size[1] - 1, size[0] - 1], points)
        unit = corner.max()
        pixels = _grid(height, width, corner / unit)
        places = points / unit
        looks = F.grid_sample(
            features,
            (2 * points / corner - 1)[:, :, None].to(features.dtype),
            align_corners=True,
            padding_mode="border",
        )
        keys = self._by_head(self.key(looks[..., 0].transpose(1, 2)))
        per_pixel = features.permute(0, 2, 3, 1).flatten(1, 2)
        queries = self._by_head(self.query(per_pixel))
        rest = self.rest(per_pixel).float().transpose(1, 2)  # (B, heads, N)
        with torch.autocast(features.device.type, enabled=False):  # differences of large sums
            distance = torch.cdist(pixels.expand(batch, -1, -1), places)[:, None]
            likeness = queries.float() @ keys.float().transpose(-1, -2) / math.sqrt(keys.shape[-1])
            scores = likeness - self.log_nearness.exp().view(-1, 1, 1) * distance
            scores = scores.masked_fill(~point_mask[:, None, None], -1e4)
            keep = (scores.logsumexp(-1) - rest).sigmoid()
            weights = scores.softmax(-1)
            fitted, mean, evidence = _fit(
                weights, places, vectors, pixels, self.log_ridge.exp().view(-1, 1)
            )
            best = scores.topk(min(2, scores.shape[-1]), -1).values
            margin = best[..., 0] - best[..., -1]
            # A lone point has no second best, however many rows of padding stand beside it. With
            # the largest margin in evaluation, too, it moves too much of a photo (on DAVIS, IoU .37
            # instead of .47; docs/cmp.md).
            lone = (point_mask.sum(1) <= 1)[:, None, None]
            margin = margin.masked_fill(lone, _MOST_MARGIN if self.training else 0.0)
            kept = keep[..., None] * fitted
            all_evidence = torch.cat(
                [
                    kept,
                    mean,
                    evidence[..., :1],
                    keep[..., None],
                    weights.amax(-1, keepdim=True),
                    margin.clamp(max=_MOST_MARGIN)[..., None] / _MOST_MARGIN,
                    evidence[..., 1:],
                ],
                -1,
            )
        evidence = all_evidence.permute(0, 1, 3, 2).reshape(batch, -1, height, width)
        motions = fitted.transpose(-1, -2).reshape(*fitted.shape[:2], 2, height, width)
        kept = keep.reshape(*keep.shape[:2], height, width)
        return evidence.to(features.dtype), motions, kept

    def _by_head(self, channels: Tensor) -> Tensor:
        """(B, N, heads · k) → (B, heads, N, k)."""
        return channels.reshape(*channels.shape[:2], self.heads, -1).transpose(1, 2)


def _fit(
    weights: Tensor, places: Tensor, vectors: Tensor, pixels: Tensor, ridge: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity transforms by weighted least squares, for each pixel and head.

    Returns:
        Fitted motion (B, heads, N, 2), mean vector (B, heads, N, 2), and of the points under the
        weights: spread of the vectors, distance from their centre (B, heads, N, 2).
    """
    x, y = places.unbind(-1)
    u, v = vectors.unbind(-1)
    moments = torch.stack(
        [x, y, u, v, x * x + y * y, x * u + y * v, x * v - y * u, u * u + v * v], -1
    )
    mx, my, mu, mv, spread, along, across, squares = (weights @ moments[:, None]).unbind(-1)
    spread = spread - mx * mx - my * my + ridge
    stretch = (along - mx * mu - my * mv) / spread
    turn = (across - mx * mv + my * mu) / spread
    dx, dy = pixels[:, 0] - mx, pixels[:, 1] - my
    fitted = torch.stack([mu + stretch * dx - turn * dy, mv + turn * dx + stretch * dy], -1)
    deviation = (squares - mu * mu - mv * mv).clamp_min(1e-6).sqrt()
    away = (dx * dx + dy * dy + 1e-6).sqrt() * 2
    return fitted, torch.stack([mu, mv], -1), torch.stack([deviation, away], -1)


def _nearest_colour(lab: Tensor, flat: Tensor, at: Tensor, chosen: Tensor) -> Tensor:
    """(B, h, w): distance of each pixel's colour to that of the most alike of some points."""
    colours = flat.gather(2, at[:, None].expand(-1, 3, -1)).transpose(1, 2)  # (B, K, 3)
    apart = torch.cdist(flat.transpose(1, 2), colours)
    apart = apart.masked_fill(~chosen[:, None], 1e3).amin(-1)
    return apart.view(lab.shape[0], *lab.shape[-2:])


class _Block(nn.Sequential):
    """3×3 convolution, normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = _Block(channels, channels, dilation)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


def _joined(shape: Sequence[int], *parts: Tensor) -> Tensor:
    """Parts of any resolution, side by side at that of `shape`."""
    size = int(shape[-2]), int(shape[-1])
    scaled = [
        part
        if part.shape[-2:] == size
        else F.interpolate(part, size, mode="bilinear", align_corners=True)
        for part in parts
    ]
    return torch.cat([part.to(parts[0].dtype) for part in scaled], 1)


def _grid(height: int, width: int, corner: Tensor) -> Tensor:
    """(h·w, 2): x, y of a grid from (0, 0) to `corner`."""
    steps = [
        torch.linspace(0, 1, n, device=corner.device, dtype=corner.dtype) for n in (width, height)
    ]
    return torch.stack(torch.meshgrid(*steps, indexing="xy"), -1).flatten(0, 1) * corner
