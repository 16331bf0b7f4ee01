"""Propagation by attention over the guidance points: CMP's decoder for small budgets.

The published decoder reads the guidance as a sparse image and must first learn to carry a vector
from its pixel to all of its object, which takes millions of samples. Here that step is built in:
every pixel attends to the guidance points by what it looks like, and moves by the similarity
transform that the attended vectors describe. What is left to learn is which pixels belong together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.models.motion_decoders.sparse_image import early_channels
from selfsup_motion.ops.constants import constant_like
from selfsup_motion.ops.flow import FlowBins


class PointAttentionDecoder(nn.Module):
    """Image features and guidance points → flow-bin logits at half the image's resolution.

    The first round of attention, at stride 4, groups pixels by appearance alone. The second, at
    stride 2, sees beside the appearance the motion that the first one proposed, and so can tell
    apart what looks alike but moves differently. Its motion enters the logits as a bell curve over
    the bins, to which a convolutional head adds what the points cannot explain.

    Args:
        feature_channels: channels of the image encoder's "stem" (stride 2), "layer1" (stride 4) and
            "output" features.
        motion_code: the motion classes to score.
        width: channels of the inner features at stride 2; twice as many at stride 4.
        key_channels: channels by which pixels and points are compared.
    """

    def __init__(
        self,
        *,
        feature_channels: Mapping[str, int],
        motion_code: FlowBins,
        width: int = 32,
        key_channels: int = 32,
    ) -> None:
        super().__init__()
        if not isinstance(motion_code, FlowBins):
            raise ValueError(
                f"attention over guidance points scores bins per axis (motion_code=flow_bins), not "
                f"{type(motion_code).__name__}; use the published propagation (method=cmp)"
            )
        bins = motion_code
        evidence = PointAttention.evidence_channels
        layer1, stem = early_channels(feature_channels, "attention over guidance points")
        self.max_flow = bins.max_flow
        self.look4 = _Merge(feature_channels["output"], layer1, 2 * width)
        self.look2 = _conv_block(stem, width)
        self.attend_by_look = PointAttention(2 * width, key_channels)
        self.motion4 = nn.Sequential(
            _conv_block(2 * width + evidence, 2 * width),
            _conv_block(2 * width, 2 * width, dilation=2),
        )
        self.motion2 = _Merge(2 * width, width, width)
        self.attend_by_motion = PointAttention(width, key_channels)
        self.head = nn.Sequential(
            _conv_block(width + evidence, width),
            nn.Conv2d(width, bins.channels + 2, 1),
        )
        # start from the attended motion alone
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.motion_code = bins
        self.register_buffer("bell", _bell(bins), persistent=False)

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
            features: the image encoder's features.
            points: (B, K, 2) x, y in pixels.
            vectors: (B, K, 2) displacement in pixels.
            point_mask: (B, K) bool, False where a row is padding.
            size: (height, width) of the image.

        Returns:
            (B, motion_code.channels, H/2, W/2) scores, first of the x axis, then of the y axis.
        """
        scale = self.max_flow / 4  # brings vectors to about unit size
        vectors = vectors / scale

        looks4 = self.look4(features["output"], features["layer1"])
        proposed = self.attend_by_look(looks4, points, vectors, point_mask, size)
        moved4 = self.motion4(torch.cat([looks4, proposed], 1))
        moved2 = self.motion2(moved4, self.look2(features["stem"]))
        attended = self.attend_by_motion(moved2, points, vectors, point_mask, size)

        out = self.head(torch.cat([moved2, attended], 1))
        residual, log_precision = out[:, :-2], out[:, -2:]
        flow = (attended[:, :2] * scale).clamp(-self.max_flow, self.max_flow)
        with torch.autocast(out.device.type, enabled=False):  # squares of bins need all digits
            precision = log_precision.float().clamp(-6, 3).exp()
            curve = torch.cat([precision * flow, precision / 2], 1)
            bell = self.get_buffer("bell")
            if bell.dtype != curve.dtype:  # after `.half()`
                bell = _bell(self.motion_code).to(curve)
            scores: Tensor = residual.float() + F.conv2d(curve, bell)
        return scores


class PointAttention(nn.Module):
    """Each pixel attends to the guidance points and moves as they do.

    The weights compare learned keys and favour near points. Under its weights, each pixel fits the
    similarity transform (translation, rotation, scale) that explains the points' vectors best, by
    weighted least squares in closed form, and evaluates it where the pixel is. A ridge, predicted
    per pixel, pulls towards pure translation where the attended points cannot tell more.

    Args:
        channels: channels of the features.
        key_channels: channels of the keys.
    """

    evidence_channels = 8

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, key_channels)
        self.key = nn.Linear(channels, key_channels)
        # per pixel: how far apart (squared) its points must lie to tell more than a shift
        self.ridge = nn.Linear(channels, 1)
        nn.init.zeros_(self.ridge.weight)
        nn.init.constant_(self.ridge.bias, -6.0)
        # at first, the nearest point takes nearly all
        self.log_nearness = nn.Parameter(torch.tensor(4.0))

    def forward(
        self,
        features: Tensor,
        points: Tensor,
        vectors: Tensor,
        point_mask: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Attend.

        Args:
            features: (B, C, h, w), whose corners are the image's corners.
            points: (B, K, 2) x, y in pixels of the image.
            vectors: (B, K, 2) in any unit.
            point_mask: (B, K) bool.
            size: (height, width) of the image.

        Returns:
            (B, 8, h, w): the fitted motion (x, y), the weighted mean vector (x, y), its deviation
            (x, y), the largest weight and the mean distance to the attended points.
        """
        batch, _, height, width = features.shape
        # the fit needs float32 whatever the precision of the features
        corner = constant_like([size[1] - 1, size[0] - 1], points)
        unit = corner.max()
        pixels = _grid(height, width, corner / unit)
        places = points / unit

        looks = F.grid_sample(
            features,
            (2 * points / corner - 1)[:, :, None],
            align_corners=True,
            padding_mode="border",
        )
        keys = self.key(looks[..., 0].transpose(1, 2))
        per_pixel = features.permute(0, 2, 3, 1).flatten(1, 2)
        queries = self.query(per_pixel)
        ridge = self.ridge(per_pixel)[..., 0].float().clamp(-12, 4).exp()
        with torch.autocast(features.device.type, enabled=False):  # differences of large sums
            distance = torch.cdist(pixels.expand(batch, -1, -1), places)
            distance = distance.masked_fill(~point_mask[:, None], 1e4)
            scores = torch.baddbmm(
                distance * -self.log_nearness.exp(),
                queries.float(),
                keys.float().transpose(1, 2),
                alpha=keys.shape[-1] ** -0.5,
            )
            weights = scores.softmax(-1)

            # The weighted moments of the points are one matrix product for all pixels.
            x, y = places.unbind(-1)
            u, v = vectors.unbind(-1)
            moments = torch.stack(
                [x, y, u, v, x * x + y * y, x * u + y * v, x * v - y * u, u * u, v * v], -1
            )
            mx, my, mu, mv, spread, along, across, uu, vv = (weights @ moments).unbind(-1)
            spread = spread - mx * mx - my * my + ridge
            stretch = (along - mx * mu - my * mv) / spread
            turn = (across - mx * mv + my * mu) / spread
            dx, dy = pixels[:, 0] - mx, pixels[:, 1] - my
            evidence = torch.stack(
                [
                    mu + stretch * dx - turn * dy,
                    mv + turn * dx + stretch * dy,
                    mu,
                    mv,
                    (uu - mu * mu).clamp_min(1e-6).sqrt(),
                    (vv - mv * mv).clamp_min(1e-6).sqrt(),
                    weights.amax(-1),
                    (dx * dx + dy * dy + 1e-6).sqrt() * 4,
                ],
                -1,
            )
        return evidence.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _bell(bins: FlowBins) -> Tensor:
    """(channels, 4, 1, 1): log N(c; f, 1/λ) = (λ·f)·c - (λ/2)·c² + const at the bins' centres c is
    linear in (λ·f, λ/2), so one 1×1 product."""
    bell = torch.zeros(2, bins.num_bins, 2, 2)
    for axis in range(2):
        bell[axis, :, 0, axis] = bins.centers
        bell[axis, :, 1, axis] = -bins.centers.square()
    return bell.view(bins.channels, 4, 1, 1)


class _Merge(nn.Module):
    """Add coarse features to fine ones. Channels are reduced before they are enlarged."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, outputs, 1)
        self.fine = nn.Conv2d(fine, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.mix = _conv_block(outputs, outputs)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        fine = self.fine(fine)
        coarse = F.interpolate(
            self.coarse(coarse), fine.shape[-2:], mode="bilinear", align_corners=True
        )
        mixed: Tensor = self.mix(F.relu(self.norm(fine + coarse)))
        return mixed


def _conv_block(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _grid(height: int, width: int, corner: Tensor) -> Tensor:
    """(h·w, 2): x, y of a grid from (0, 0) to `corner`."""
    steps = [
        torch.linspace(0, 1, n, device=corner.device, dtype=corner.dtype) for n in (width, height)
    ]
    return torch.stack(torch.meshgrid(*steps, indexing="xy"), -1).flatten(0, 1) * corner
