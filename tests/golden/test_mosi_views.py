"""Test clips and windows are the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsup_motion.ops.clip_views import clip_frames, crop_corners
from selfsup_motion.ops.standard_size import published_resize


def test_clips_of_a_video_are_the_published_frames(golden):
    for num_frames, fps, clips, index, *frames in golden("mosi/interval_sampling.npz")["rows"]:
        ours = clip_frames(int(num_frames), fps, length=16, stride=4, clips=int(clips))
        np.testing.assert_array_equal(ours[int(index)], frames)


def test_windows_of_a_frame_are_the_published_ones(golden):
    arrays = golden("mosi/test_crop.npz")
    for index in range(3):
        image = torch.from_numpy(arrays[f"in{index}"])[:, 0]
        height, width = image.shape[-2:]
        short = min(height, width)
        size = [28 if side == short else int(28 / short * side) for side in (height, width)]
        planes = torch.nn.functional.interpolate(
            image[None], size, mode="bilinear", align_corners=False
        )[0]
        ((top, left),) = crop_corners(*size, 14, 1)
        np.testing.assert_allclose(
            planes[:, top : top + 14, left : left + 14], arrays[f"centre{index}"][:, 0], atol=1e-6
        )
        for number, (top, left) in enumerate(crop_corners(*size, 14, 3)):
            np.testing.assert_allclose(
                planes[:, top : top + 14, left : left + 14],
                arrays[f"three{index}_{number}"][:, 0],
                atol=1e-6,
            )
        assert published_resize(image.byte(), 28).shape[1:] == tuple(size)


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        crop_corners(10, 20, 14, 1)
    with pytest.raises(ValueError, match="expected 1 or 3"):
        crop_corners(20, 20, 14, 2)
