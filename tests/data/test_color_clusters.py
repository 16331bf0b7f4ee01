"""Colour classes fitted to videos, and the command that writes them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.preparation.color_clusters import fit_colors
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.errors import BadFilesError, ClipReadError, UserError
from selfsup_motion.fit_colors import fit
from selfsup_motion.ops.color import LabQuantizer, rgb_to_lab
from selfsup_motion.settings.compose import compose

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 40), (20, 20, 180)


class Flags(Source):
    """Videos of three stripes, the widest red, the narrowest blue."""

    def __init__(self, unreadable: tuple[int, ...] = ()) -> None:
        self.unreadable = unreadable

    def __len__(self) -> int:
        return 6

    def info(self, index: int) -> VideoInfo:
        return VideoInfo(f"flag{index}", 4, 25.0, 12, 60)

    def read(self, index, frame_indices):
        if index in self.unreadable:
            raise ClipReadError(f"flag{index} is torn.", file=f"flag{index}", reason="torn")
        frame = np.empty((12, 60, 3), np.uint8)
        frame[:, :40], frame[:, 40:55], frame[:, 55:] = RED, GREEN, BLUE
        return Clip(frames=np.stack([frame] * len(frame_indices)).transpose(0, 3, 1, 2), key="flag")


def fitted(source=None, **options):
    told: list[tuple[int, int, str]] = []
    settings = {"clusters": 3, "frames": 12, "pixels": 100, "seed": 0, **options}
    centers = fit_colors(
        source or Flags(), RandomClips(1), progress=lambda *a: told.append(a), **settings
    )
    return centers, told


def test_clusters_are_the_colours_the_most_frequent_first():
    centers, told = fitted()
    colors = torch.tensor([[RED], [GREEN], [BLUE]]).permute(2, 0, 1) / 255
    np.testing.assert_allclose(centers.T, rgb_to_lab(colors)[1:, :, 0], atol=0.5)
    assert told[-1] == (12, 12, "0 unreadable")
    assert np.array_equal(centers, fitted()[0])


def test_unreadable_videos_are_left_out_and_counted():
    centers, told = fitted(Flags(unreadable=(0, 3)))
    assert len(centers) == 3
    assert told[-1][2] == "4 unreadable"
    with pytest.raises(BadFilesError, match="None of 12 frames can be read: flag"):
        fitted(Flags(unreadable=tuple(range(6))))


def test_more_clusters_than_colours_are_refused():
    with pytest.raises(UserError, match="fewer than 4 colours"):
        fitted(clusters=4)


def config(tmp_path, *overrides: str):
    output = f"output={tmp_path / 'made' / 'colors.json'}"
    return compose(["frames=5", output, *overrides], config_name="fit_colors")


def test_the_command_writes_what_the_method_reads(tmp_path):
    fit(config(tmp_path, "clusters=7"))
    rows = json.loads((tmp_path / "made" / "colors.json").read_text())["centroids"]
    assert len(LabQuantizer(rows)) == 7
    with pytest.raises(UserError, match="exists already"):
        fit(config(tmp_path))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("clusters=0", "clusters must be at least 1"),
        ("data=videos", r"data\.root is not set"),
        ("frames=many", "frames=many"),
    ],
)
def test_mistakes_are_named(tmp_path, override, words):
    with pytest.raises(UserError, match=words):
        fit(config(tmp_path, override))
