"""What DSM sees of a video: a clip, another one from another time, and how they are changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.view import View
from selfsup_motion.errors import UserError
from selfsup_motion.methods.dsm.warp import draw_warps
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.rho.view import squared


class DSMView(View):
    """Two clips of one video → the anchor and the negative, and the changes of three views.

    Which of the two is the anchor is drawn. The views are the anchor, whose scene is disturbed; the
    anchor changed anew, the positive; and the other clip, with the scene kept and another motion.

    Output, for clips of T frames and fields of F pixels: `frames` uint8 (2, T, 3, F, F), anchor
    first; of the three views `window`, `angle`, `aspect`, `mirrored`, `color` and `blur`, see
    `ClipChanges.draw`; `warps` int64 (warps, 4), see `draw_warps`; `action` int64 () if the source
    has it.
    """

    def __init__(self, *, changes: ClipChanges, field: int = 256, warps: int = 3) -> None:
        """Define the view.

        Args:
            changes: of the clips, those of the method.
            field: side that frames are resized to before windows are cut out of them, pixels.
            warps: one to so many disturb the anchor's scene.

        Raises:
            UserError: a value out of range.
        """
        if warps < 1:
            raise UserError(f"view.warps must be at least 1, got {warps}.")
        if field < 8:
            raise UserError(f"view.field must be at least 8 pixels, got {field}.")
        self.changes, self.field, self.warps = changes, field, warps

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; all its randomness comes from `rng`.

        Raises:
            UserError: frames that are not those of two clips.
        """
        if len(clip.frames) % 2:
            raise UserError(
                f"{clip.key} comes with {len(clip.frames)} frames, which are not two clips: set "
                "data.module.sampler.clips=2."
            )
        draws = self.changes.draw(rng, 3, (clip.frames.shape[2], clip.frames.shape[3]))
        frames = torch.unflatten(torch.from_numpy(squared(clip.frames, self.field)), 0, (2, -1))
        sample = {"frames": frames.flip(0) if rng.random() < 0.5 else frames, **draws}
        sample["warps"] = torch.from_numpy(draw_warps(rng, self.changes.size, self.warps))
        if "action" in clip.labels:
            sample["action"] = torch.from_numpy(np.array(clip.labels["action"], np.int64))
        return sample
