"""What MAST sees of a clip: its frames, cut alike, in their own colours."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.methods.corrflow.view import CorrFlowView


class MASTView(CorrFlowView):
    """Clip → frames for MAST (Lai et al. 2020, section 4): all but the last are references.

    Output, for T frames of H × W: `frames` uint8 (T, 3, H, W); if not in training and if the source
    has them, `masks` int64 (T, H, W), object ids, 0 for the background.
    """

    follows_frames: ClassVar[str | None] = "MAST"

    def __init__(
        self,
        *,
        crop_size: tuple[int, int] | int = 256,
        short_side: int | None = None,
        stretch: bool = True,
        flip: bool = False,
        train: bool = True,
    ) -> None:
        """Define the view.

        Args:
            crop_size: (height, width) in pixels, or one side of a square; multiples of 4. Smaller
                frames are extended by repeating their border.
            short_side: resize to this short side before cropping (null: keep the size).
            stretch: resize whole frames to `crop_size` whatever their proportions, bilinear without
                averaging, instead of cropping (as published).
            flip: mirror half of the clips left-right (training only).
            train: crop at random, else at the centre.

        Raises:
            UserError: a size that no cell of 4 × 4 pixels fits.
        """
        super().__init__(
            crop_size=crop_size,
            short_side=short_side,
            stretch=stretch,
            flip=flip,
            jitter_probability=0.0,
            train=train,
        )

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make a sample; see the class.

        Raises:
            UserError: a clip of one frame.
        """
        sample = super().__call__(clip, rng)
        return {name: sample[name] for name in ("frames", "masks") if name in sample}
