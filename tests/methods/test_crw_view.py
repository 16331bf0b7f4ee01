"""What CRW is shown: frames, and where their patches lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError
from selfsup_motion.methods.crw.patches import cut_patches, grid_windows
from selfsup_motion.methods.crw.view import CRWView
from selfsup_motion.methods.parts.windows import draw_crops


def clip(frames: int = 4, height: int = 60, width: int = 80) -> Clip:
    """Pixels that tell where they are, in frames (red: x, green: y) and masks (x) alike."""
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = np.stack([x, y, np.zeros_like(x)]).astype(np.uint8)
    return Clip(
        frames=np.stack([image] * frames), key="grid", labels={"masks": np.stack([x] * frames)}
    )


def sample(seed: int = 0, **options) -> dict[str, torch.Tensor]:
    small = {"size": 48, "patch": 16, "step": 8}
    return CRWView(**{**small, **options})(clip(), np.random.default_rng(seed))


def test_shapes_are_fixed_and_the_same_generator_gives_the_same_sample():
    first = sample(color=0.1, flip=True)
    shapes = {name: (tuple(x.shape), x.dtype) for name, x in first.items()}
    assert shapes == {
        "frames": ((4, 3, 48, 48), torch.uint8),
        "windows": ((4, 25, 4), torch.float32),
        "mirrored": ((4, 25), torch.bool),
        "frame_color": ((4, 4), torch.float32),
        "patch_color": ((4, 25, 4), torch.float32),
    }
    again, other = sample(color=0.1, flip=True), sample(1, color=0.1, flip=True)
    assert all(torch.equal(again[name], x) for name, x in first.items())
    assert not any(torch.equal(other[name], x) for name, x in first.items())


def test_every_frame_and_every_patch_changes_on_its_own():
    out = CRWView(size=48, patch=16, step=8)(clip(height=80), np.random.default_rng(0))
    assert len({frame.numpy().tobytes() for frame in out["frames"]}) == 4
    windows = out["windows"] - torch.from_numpy(grid_windows(48, 16, 8))
    assert len(windows.flatten(0, 1).unique(dim=0)) > 50
    # inside the patch of the grid
    grid = torch.from_numpy(grid_windows(48, 16, 8))
    assert (windows[..., :2] >= 0).all()
    assert (out["windows"][..., :2] + out["windows"][..., 2:] <= grid[..., :2] + 16).all()
    share = out["windows"][..., 2:].prod(-1) / 16**2
    assert 0.6 < share.min() < share.max() < 1


def test_validation_shows_the_middle_unchanged_with_its_masks():
    out = sample(train=False, size=60)
    assert torch.equal(out["frames"][0, 0].long(), out["masks"][0])
    assert out["frames"][0, 0, 0].tolist() == list(range(10, 70))
    assert torch.equal(out["windows"][2], torch.from_numpy(grid_windows(60, 16, 8)))
    assert not out["mirrored"].any()
    assert set(sample(train=False, color=0.1, flip=True)) == set(out)


def test_cells_need_no_windows():
    assert set(sample(nodes="cells")) == {"frames"}


def test_crops_have_the_area_and_the_ratio_that_were_asked_for():
    crops = draw_crops(np.random.default_rng(0), 2000, (90, 120), (0.5, 0.7), (0.75, 4 / 3))
    top, left, height, width = crops.T
    assert top.min() == left.min() == 0
    assert ((top + height <= 90) & (left + width <= 120)).all()
    area, ratio = height * width / (90 * 120), width / height
    assert 0.49 < area.min() < 0.51
    assert 0.69 < area.max() < 0.71
    assert 0.74 < ratio.min() < ratio.max() < 1.35
    # where nothing fits: the largest that does, in the middle
    assert draw_crops(np.random.default_rng(0), 1, (10, 100), (0.9, 1.0), (1.0, 1.0)).tolist() == [
        [0, 45, 10, 10]
    ]


def test_patches_cut_together_equal_each_window_resized_alone():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.random((3, 3, 40, 52), np.float32))
    windows = torch.from_numpy(
        draw_crops(rng, 3 * 7, (40, 52), (0.05, 0.5), (0.5, 2)).reshape(3, 7, 4).astype(np.float32)
    )
    mirrored = torch.from_numpy(rng.random((3, 7)) < 0.5)
    patches = cut_patches(frames, windows, 12, mirrored)
    for f in range(3):
        for n, (top, left, height, width) in enumerate(windows[f].int().tolist()):
            part = frames[f : f + 1, :, top : top + height, left : left + width]
            alone = F.interpolate(part, (12, 12), mode="bilinear", align_corners=False)[0]
            alone = alone.flip(-1) if mirrored[f, n] else alone
            torch.testing.assert_close(patches[f, n], alone, rtol=0, atol=1e-5)


def test_two_frames_are_refused():
    with pytest.raises(UserError, match="at least 3 frames, but grid has 2: use videos with"):
        CRWView(size=48, patch=16)(clip(2), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": "pixels"}, "view.nodes=pixels: choose patches or cells"),
        ({"size": 32, "patch": 64}, "expected patches of 8 to view.size=32"),
        ({"patch_area": (0.9, 0.7)}, "view.patch_area"),
        ({"frame_ratio": (0.0, 1.0)}, "view.frame_ratio"),
        ({"color": 2.0}, "view.color"),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(UserError, match=words):
        CRWView(**options)
