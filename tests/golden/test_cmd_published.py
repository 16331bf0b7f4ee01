"""CMD against reference numbers: motion vectors of a real video, and both losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfsup_motion.data.motion_vectors.blocks import vector_map
from selfsup_motion.data.motion_vectors.video import CompressedVideo
from selfsup_motion.methods.cmd.objective import matching_loss
from selfsup_motion.models.bottleneck_resnet3d import BottleneckResNet3d
from selfsup_motion.models.motion_encoder import MotionEncoder

Load = Callable[[str], dict[str, np.ndarray]]


def test_vectors_of_a_real_video_equal_the_recorded_ones(golden: Load, shared: Path) -> None:
    """All blocks with a past reference; on maps, where vectors stay in the frame."""
    recorded = golden("further/mv_demo.npz")
    path = shared / "data" / "actions" / "kinetics" / "arm_wrestling_demo.mp4"
    frames = CompressedVideo(path, path.name).vectors(range(51))
    kinds = ["", "I", "P", "B"]
    assert [f.kind for f in frames] == [kinds[kind] for kind in recorded["pict_type"][:51]]
    for number in (1, 2, 50):
        frame, raw = frames[number], recorded[f"raw_frame{number}"]
        past = raw[raw[:, 0] < 0]
        corners = past[:, 5:7] - past[:, 1:3] // 2
        np.testing.assert_array_equal(frame.blocks[:, :4], np.hstack([corners, past[:, 1:3]]))
        np.testing.assert_array_equal(frame.blocks[:, 4:], -past[:, 7:9])
        # FFmpeg's own whole pixels are what the published maps are made of
        whole = np.trunc(frame.blocks[:, 4:] / frame.scale)
        np.testing.assert_array_equal(whole, past[:, 5:7] - past[:, 3:5])

        dense = recorded[f"dense16_frame{number}"].transpose(2, 0, 1)
        y, x = np.mgrid[8:256:16, 8:340:16]
        source = np.stack([x, y]) - np.trunc(dense)
        inside = (source[0] >= 0) & (source[0] < 340) & (source[1] >= 0) & (source[1] < 256)
        assert inside.mean() > 0.98
        found = vector_map(frame, cell=16) * frame.distance
        np.testing.assert_array_equal(found, dense * inside)
        published = vector_map(frame, cell=16, published=True)
        np.testing.assert_array_equal(published, np.trunc(dense) * inside)


def test_losses_equal_the_recorded_ones(golden: Load) -> None:
    recorded = golden("further/cmd_loss.npz")
    queries, keys, clips, images = (
        F.normalize(torch.from_numpy(recorded[name]), dim=1) for name in ("mq", "mk", "iq", "ik")
    )
    temperature, count = float(recorded["T"]), len(queries)
    motion = matching_loss(queries, keys[:count], keys[count:], temperature)
    assert float(motion) == pytest.approx(float(recorded["loss_motion"]), rel=1e-5)
    context = matching_loss(clips, images, None, temperature)
    assert float(context) == pytest.approx(float(recorded["loss_context"]), rel=1e-5)


@pytest.mark.parametrize("kind", ["2+1d", "3d"])
def test_networks_have_the_published_shapes(kind: str) -> None:
    """Two moments of 7 × 7 places for a clip of 16 frames, one for 8 maps of motion."""
    with torch.device("meta"):
        encoder = BottleneckResNet3d(kind)  # type: ignore[arg-type]
        motion = MotionEncoder()
        clips, maps = torch.empty(1, 3, 16, 112, 112), torch.empty(1, 2, 8, 112, 112)
        assert encoder(clips).shape == (1, 2048, 2, 4, 4)
        assert encoder.forward_joined(clips).shape == (1, 2048, 2, 7, 7)
        assert motion(maps).shape == (1, 512, 7, 7)
    assert (encoder.joined_time_stride, encoder.joined_stride, motion.stride) == (8, 16, 16)
    layers = sum(name.startswith("layer") for name, _ in encoder.named_children())
    assert layers == 4
