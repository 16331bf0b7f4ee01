"""CMD against reference numbers: motion vectors of a real video, and both losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from selfsup_motion.data.motion_vectors.blocks import vector_map
from selfsup_motion.data.motion_vectors.video import CompressedVideo

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
