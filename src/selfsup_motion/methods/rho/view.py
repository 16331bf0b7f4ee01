"""What the ρ-methods see of a video: several clips, and how each is changed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.data import geometry
from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.changes import ClipChanges


class RhoView(View):
    """ρ clips of one video → their frames, made square, and the changes of each.

    The clips come one behind the other, as `SeveralClips` gives them. They are changed by the
    method, on its device.

    Output, for ρ clips of T frames and fields of F pixels: `frames` uint8 (ρ, T, 3, F, F); of
    ρ · `repeats` views `window`, `angle`, `aspect`, `mirrored`, `color` and `blur`, see
    `ClipChanges.draw`; `action` int64 () if the source has it.
    """

    def __init__(
        self, *, changes: ClipChanges, clips: int = 2, repeats: int = 1, field: int = 256
    ) -> None:
        """Define the view.

        Args:
            changes: of the clips, those of the method.
            clips: ρ; the sampler's.
            repeats: how often each clip is changed anew; ρ = 1 needs 2, which with single frames
                are the image methods.
            field: side that frames are resized to before windows are cut out of them, pixels.

        Raises:
            UserError: a value out of range, or a single view.
        """
        for name, value in (("clips", clips), ("repeats", repeats)):
            if value < 1:
                raise UserError(f"view.{name} must be at least 1, got {value}.")
        if clips * repeats < 2:
            raise UserError(
                "view.clips=1 gives a single view of each video, and there is nothing to compare: "
                "set view.repeats=2, or view.clips=2."
            )
        if field < 8:
            raise UserError(f"view.field must be at least 8 pixels, got {field}.")
        self.changes, self.clips, self.repeats, self.field = changes, clips, repeats, field

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`.

        Raises:
            UserError: frames that are not those of ρ clips.
        """
        total = len(clip.frames)
        if total % self.clips:
            raise UserError(
                f"{clip.key} comes with {total} frames, which are not {self.clips} clips: set "
                f"view.clips to the sampler's (data.module.sampler.clips={self.clips})."
            )
        draws = self.changes.draw(rng, self.clips * self.repeats, clip.frames.shape[2:])
        frames = squared(clip.frames, self.field)
        sample = {"frames": torch.unflatten(torch.from_numpy(frames), 0, (self.clips, -1)), **draws}
        if "action" in clip.labels:
            sample["action"] = torch.from_numpy(np.array(clip.labels["action"], np.int64))
        return sample


def squared(frames: NDArray[np.uint8], field: int) -> NDArray[np.uint8]:
    """(T, 3, H, W) → (T, 3, field, field); their proportions are put right by `window_grid`."""
    if frames.shape[2:] == (field, field):
        return np.ascontiguousarray(frames)
    resized = [
        geometry.resize_image(np.ascontiguousarray(frame.transpose(1, 2, 0)), (field, field))
        for frame in frames
    ]
    return np.ascontiguousarray(np.stack(resized).transpose(0, 3, 1, 2))
