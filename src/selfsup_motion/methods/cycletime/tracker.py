"""CycleTime's tracker: finds a patch in an image, and goes with it through time."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.methods.cycletime.geometry import affinity, crop, soft_inliers, transformation


class Localiser(nn.Module):
    """Affinities → transformation (section 3.2): two convolutions and a linear layer.

    At first it finds every patch almost in the middle.

    Args:
        cells: of the image.
        patch: cells along each side of the patch, at least 7.
        widths: channels of the convolutions.

    Raises:
        UserError: a patch of fewer cells.
    """

    def __init__(self, cells: int, patch: int, widths: tuple[int, int] = (128, 64)) -> None:
        super().__init__()
        if patch < 7:
            raise UserError(
                f"CycleTime's localiser needs patches of at least 7 x 7 cells, got {patch} x "
                f"{patch}: set a larger view.size, or an encoder with a smaller stride."
            )
        self.convolutions = nn.Sequential(
            nn.Conv2d(cells, widths[0], 4, bias=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(widths[0], widths[1], 4, bias=False),
            nn.LeakyReLU(0.1),
        )
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.linear = nn.Linear(widths[1] * (patch - 6) ** 2, 3)
        nn.init.normal_(self.linear.weight, 0, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, affinities: Tensor) -> Tensor:
        """(B, cells, patch, patch) → (B, 2, 3)."""
        return transformation(self.linear(self.convolutions(affinities).flatten(1)).float())


class Cycles(NamedTuple):
    """Where the tracker came out.

    Attributes:
        long: T times (B, 2, 3), after c = 1 … T frames back and the way forth, in the target.
        skip: (B, T, 2, 3), after one frame each, in the target.
        inliers: (B, T), of the patch in each frame, see `soft_inliers`.
        still: (B, 2, 3), in the target without having gone anywhere, and the affinities there;
            None: not looked for.
    """

    long: list[Tensor]
    skip: Tensor
    inliers: Tensor
    still: tuple[Tensor, Tensor] | None = None


class Tracker(nn.Module):
    """Follows patches through the feature maps of a clip.

    Args:
        localiser: from affinities to a transformation.
        temperature: of the affinities (published: 1 / √512, with 512 channels).
        translation: factor of the translation of crops.
        align_corners: see `geometry.crop`.
    """

    def __init__(
        self, localiser: nn.Module, temperature: float, translation: float, align_corners: bool
    ) -> None:
        super().__init__()
        self.localiser, self.temperature = localiser, temperature
        self.translation, self.align_corners = translation, align_corners

    def locate(self, patch: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The transformation (B, 2, 3) that finds a patch, of length 1 along its channels, in a
        feature map, and the affinities of the two.
        """
        affinities = affinity(patch, F.normalize(image, dim=1), self.temperature)
        return self.localiser(affinities), affinities

    def take(self, image: Tensor, theta: Tensor, size: int) -> Tensor:
        """The patch of `size` cells there, of length 1 along its channels."""
        patch = crop(
            image, theta, size, translation=self.translation, align_corners=self.align_corners
        )
        return F.normalize(patch, dim=1)

    def track(self, patch: Tensor, image: Tensor) -> Tensor:
        """A patch (B, C, p, p) → the patch of the image (B, C, h, w) that is found for it."""
        return self.take(image, self.locate(patch, image)[0], patch.shape[-1])

    def forward(self, patch: Tensor, clip: Tensor, target: Tensor) -> Cycles:
        """Go back through time and forth again, all ways (section 3.1).

        The way back through c frames begins with the way back through c - 1: there are T
        localisations for it, not T (T + 1) / 2. On the way forth, all patches that are looked for
        in the same frame are looked for together.

        Args:
            patch: (B, C, p, p) features of a patch of the target.
            clip: (B, T, C, h, w) features of the frames before.
            target: (B, C, h, w) features of the image that the patch is from.
        """
        patch = F.normalize(patch, dim=1)
        length, size = clip.shape[1], patch.shape[-1]
        back = [patch]
        for frame in range(length - 1, -1, -1):
            back.append(self.track(back[-1], clip[:, frame]))
        # those that come from earlier frames, the first of them, then the one that begins here
        forth = back.pop()
        for frame in range(1, length):
            found = self.track(forth, _repeated(clip[:, frame], frame))
            forth = torch.cat([found, back.pop()])
        long = self.locate(forth, _repeated(target, length))[0].chunk(length)

        frames = clip.flatten(0, 1)
        patches, targets = (x.repeat_interleave(length, 0) for x in (patch, target))
        theta, affinities = self.locate(patches, frames)
        inliers = soft_inliers(
            theta, affinities, (frames.shape[-2], frames.shape[-1]),
            translation=self.translation, align_corners=self.align_corners,
        )  # fmt: skip
        skip = self.locate(self.take(frames, theta, size), targets)[0]
        shape = clip.shape[:2]
        return Cycles(
            [*reversed(long)], torch.unflatten(skip, 0, shape), torch.unflatten(inliers, 0, shape)
        )


def _repeated(maps: Tensor, times: int) -> Tensor:
    """(B, C, h, w) → (times · B, C, h, w), the whole batch again and again."""
    return maps.expand(times, *maps.shape).flatten(0, 1)
