"""Labelled videos for the action tasks: files on disk, or the toy world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.decoding import VideoFile
from selfsup_motion.data.geometry import resize_image, short_side_size
from selfsup_motion.data.source import Source
from selfsup_motion.data.toy.motion import ACTIONS
from selfsup_motion.errors import UserError
from selfsup_motion.ops.clip_views import clip_frames, crop_corners
from selfsup_motion.tasks.action_lists import (
    ActionLists,
    Labelled,
    folder_lists,
    hmdb51_lists,
    ucf101_lists,
)

Layout = Literal["ucf101", "hmdb51", "folder"]


class ClipViews:
    """Which clips and windows of a video are looked at.

    Args:
        length: frames of a clip.
        stride: every how many frames of a video of 30 frames per second one is taken.
        clips: of a video.
        crops: windows of a clip, 1 or 3.
        short_side: that frames are resized to, pixels.
        size: side of the windows, pixels.
    """

    def __init__(
        self, *, length: int, stride: int, clips: int, crops: int, short_side: int, size: int
    ) -> None:
        for name, value in (("length", length), ("stride", stride), ("clips", clips)):
            if value < 1:
                raise UserError(f"task.views.{name}={value}: expected at least 1.")
        if crops not in (1, 3):
            raise UserError(f"task.views.crops={crops}: expected 1 or 3.")
        if short_side < size:
            raise UserError(
                f"task.views.size={size}: windows are larger than the frames "
                f"(task.views.short_side={short_side})."
            )
        self.length, self.stride, self.clips = length, stride, clips
        self.crops, self.short_side, self.size = crops, short_side, size

    def frames(self, num_frames: int, fps: float | None) -> NDArray[np.int64]:
        """(clips, length) frame numbers."""
        return clip_frames(
            num_frames, fps, length=self.length, stride=self.stride, clips=self.clips
        )

    def windows(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(clips, T, H, W, 3) → (clips · crops, T, 3, size, size)."""
        corners = crop_corners(clips.shape[2], clips.shape[3], self.size, self.crops)
        cut = [clips[:, :, y : y + self.size, x : x + self.size] for y, x in corners]
        # all windows of a clip one after the other
        views = np.stack(cut, 1).reshape(-1, *cut[0].shape[1:])
        return np.ascontiguousarray(views.transpose(0, 1, 4, 2, 3))


class ActionSet(Protocol):
    """One part of an action data set."""

    classes: tuple[str, ...]
    names: Sequence[str]
    """Of the videos."""
    labels: NDArray[np.int64]
    """(N,) index into `classes`."""

    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB of video `index`; raises `UserError`."""
        ...


class ActionVideos:
    """Videos in files.

    Args:
        root: folder of the videos.
        part: "train" or "test".
        layout: of the lists: "ucf101", "hmdb51", or "folder" for any folder of class folders.
        lists: folder of the official lists; None: `root`.
        split: of the official lists, 1 to 3.
        test_share: of "folder", see `folder_lists`.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        part: Literal["train", "test"],
        layout: Layout,
        lists: str | Path | None,
        split: int,
        test_share: float,
    ) -> None:
        self.root = Path(root)
        made = _read_lists(self.root, layout, Path(lists or root), split, test_share)
        self._videos: tuple[Labelled, ...] = made.train if part == "train" else made.test
        self.classes = made.classes
        self.names = [video.path for video in self._videos]
        self.labels = np.array([video.label for video in self._videos], np.int64)

    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB; raises `UserError` if it cannot be decoded."""
        name = self._videos[index].path
        file = VideoFile(self.root / name, name)
        try:
            numbers = views.frames(len(file.table.pts), file.table.fps)
            frames = file.read(numbers.ravel().tolist(), views.short_side)
        finally:
            file.close()
        return views.windows(frames.reshape(*numbers.shape, *frames.shape[1:]))


class ToyActions:
    """The toy world's vocabulary of actions.

    Args:
        source: clips with the label `action`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.classes = ACTIONS
        self.names = [source.info(index).key for index in range(len(source))]
        labels = [int(source.read(i, [0]).labels["action"]) for i in range(len(source))]
        self.labels = np.array(labels, np.int64)

    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB."""
        info = self._source.info(index)
        numbers = views.frames(info.num_frames, None)
        wanted = sorted(set(numbers.ravel().tolist()))
        frames = self._source.read(index, wanted).frames.transpose(0, 2, 3, 1)
        size = short_side_size((info.height, info.width), views.short_side)
        resized = np.stack([resize_image(np.ascontiguousarray(f), size) for f in frames])
        return views.windows(resized[np.searchsorted(wanted, numbers)])


def _read_lists(
    root: Path, layout: Layout, lists: Path, split: int, test_share: float
) -> ActionLists:
    if layout == "ucf101":
        return ucf101_lists(root, lists, split)
    if layout == "hmdb51":
        return hmdb51_lists(root, lists, split)
    if layout == "folder":
        return folder_lists(root, test_share)
    raise UserError(f"data.layout={layout}: choose ucf101, hmdb51 or folder.")
