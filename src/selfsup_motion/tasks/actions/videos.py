"""Labelled videos for the action tasks: files on disk, or the toy world."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.geometry import check_short_side, resize_image, short_side_size
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.reading.timed_video import TIME_LIMIT
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.videos import VideoHandles
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.motion import ACTIONS
from selfsup_motion.errors import UserError
from selfsup_motion.ops.clip_views import clip_frames, crop_corners, sparse_frames
from selfsup_motion.tasks.actions.lists import (
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
        stride: every how many frames of a video of 30 frames per second one is taken (dense); None
            for sparse ones.
        clips: of a video.
        crops: windows of a clip, 1 or 3.
        short_side: that frames are resized to, pixels.
        size: side of the windows, pixels.
        sampling: "dense": clips begin along the video, see `clip_frames`; "sparse": each clip has
            frames of the whole video, see `sparse_frames`.
    """

    def __init__(
        self,
        *,
        length: int,
        stride: int | None,
        clips: int,
        crops: int,
        short_side: int,
        size: int,
        sampling: Literal["dense", "sparse"] = "dense",
    ) -> None:
        for name, value in (("length", length), ("stride", stride), ("clips", clips)):
            if value is not None and value < 1:
                raise UserError(f"task.views.{name}={value}: expected at least 1.")
        if sampling not in ("dense", "sparse"):
            raise UserError(f"task.views.sampling={sampling}: choose dense or sparse.")
        if (stride is None) != (sampling == "sparse"):
            told = "null" if stride is None else stride
            raise UserError(
                f"task.views.stride={told}: dense clips need one, and sparse ones have none, since "
                f"they take their frames from the whole video (task.views.sampling={sampling})."
            )
        if crops not in (1, 3):
            raise UserError(f"task.views.crops={crops}: expected 1 or 3.")
        check_short_side(short_side, "task.views.short_side")
        if short_side < size:
            raise UserError(
                f"task.views.size={size}: windows are larger than the frames "
                f"(task.views.short_side={short_side})."
            )
        self.length, self.stride, self.clips = length, stride, clips
        self.crops, self.short_side, self.size = crops, short_side, size

    def frames(
        self, num_frames: int, fps: float | None, times: NDArray[np.float64] | None = None
    ) -> NDArray[np.int64]:
        """(clips, length) frame numbers, see `clip_frames` and `sparse_frames`."""
        if self.stride is None:
            # clip k of n looks at another place of each part
            shares = np.tile((np.arange(self.clips)[:, None] + 0.5) / self.clips, self.length)
            return sparse_frames(num_frames, shares, times=times)
        return clip_frames(
            num_frames,
            fps,
            length=self.length,
            stride=self.stride,
            clips=self.clips,
            times=times,
        )

    def resized(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, 3, H, W) → (T, H, W, 3) with the short side that windows are cut from."""
        size = short_side_size((frames.shape[2], frames.shape[3]), self.short_side)
        images = frames.transpose(0, 2, 3, 1)
        return np.stack([resize_image(np.ascontiguousarray(image), size) for image in images])

    def windows(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(clips, T, H, W, 3) → (clips · crops, T, 3, size, size)."""
        corners = crop_corners(clips.shape[2], clips.shape[3], self.size, self.crops)
        cut = [clips[:, :, y : y + self.size, x : x + self.size] for y, x in corners]
        # all windows of a clip one after the other
        views = np.stack(cut, 1).reshape(-1, *cut[0].shape[1:])
        return np.ascontiguousarray(views.transpose(0, 1, 4, 2, 3))


class ActionSet(Source):
    """One part of an action data set: a source whose clips have the label `action`."""

    classes: tuple[str, ...]

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Of the videos."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64]:
        """(N,) index into `classes`."""

    @abstractmethod
    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB of video `index`; raises `UserError`."""


class ActionVideos(ThreadLocal, ActionSet):
    """Videos in files.

    Args:
        root: folder of the videos.
        part: "train" or "test".
        layout: of the lists: "ucf101", "hmdb51", or "folder" for any folder of class folders.
        lists: folder of the official lists; None: `root`.
        split: of the official lists, 1 to 3.
        test_share: of "folder", see `folder_lists`.
        split_folders: of "folder", see `folder_lists`.
        short_side: pixels that the frames of `read` are resized to; None keeps them.
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
        short_side: int | None,
        split_folders: bool = True,
    ) -> None:
        check_short_side(short_side, "data.short_side")
        self.root, self.short_side = Path(root), short_side
        made = _read_lists(self.root, layout, Path(lists or root), split, test_share, split_folders)
        self._videos: tuple[Labelled, ...] = made.train if part == "train" else made.test
        self.classes = made.classes

    @cached_property
    def names(self) -> list[str]:
        return [video.path for video in self._videos]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([video.label for video in self._videos], np.int64)

    def __len__(self) -> int:
        return len(self._videos)

    def name(self, index: int) -> str:
        """What video `index` is called."""
        return self.names[index]

    def info(self, index: int) -> VideoInfo:
        """Describe video `index`; raises `ClipReadError` if it cannot be opened."""
        table = self._handles().table(index)
        size = table.height, table.width
        if self.short_side is not None:
            size = short_side_size(size, self.short_side)
        uneven = table.uneven_seconds
        times = None if uneven is None else lambda: uneven
        return VideoInfo(self.names[index], len(table.pts), table.fps, *size, times)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        frames = self._handles().video(index).read(frame_indices, self.short_side)
        return Clip(
            frames=frames.transpose(0, 3, 1, 2),
            key=self.names[index],
            labels={"action": np.array(self.labels[index])},
        )

    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB; raises `UserError` if it cannot be decoded."""
        name = self.names[index]
        file = VideoFile(self.root / name, name)
        try:
            table = file.table
            numbers = views.frames(len(table.pts), table.fps, table.uneven_seconds)
            frames = file.read(numbers.ravel().tolist(), views.short_side)
        finally:
            file.close()
        return views.windows(frames.reshape(*numbers.shape, *frames.shape[1:]))

    def _handles(self) -> VideoHandles:
        """Of this thread of this process."""
        handles: VideoHandles | None = getattr(self._local, "handles", None)
        if handles is None:
            paths = PathList(self.names)
            handles = self._local.handles = VideoHandles(self.root, paths, None, TIME_LIMIT)
        return handles


class ToyActions(ActionSet):
    """The toy world's vocabulary of actions, or which of its scenes is seen.

    Args:
        source: clips with this label.
        label: `action`, or `look` of a world with `looks`.
    """

    def __init__(self, source: Source, label: Literal["action", "look"] = "action") -> None:
        self._source, self._label = source, label
        world = source if isinstance(source, ToyWorld) else None
        if label == "action":
            self.classes = ACTIONS if world is None else world.actions
        elif world is None or world.looks is None:
            raise UserError("label=look: expected a ToyWorld with looks=<number of scenes>.")
        else:
            self.classes = tuple(f"scene {number}" for number in range(world.looks))

    @cached_property
    def names(self) -> list[str]:
        return [self.info(index).key for index in range(len(self))]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) index into `classes`; renders a frame of each video."""
        labels = [int(self.read(i, [0]).labels["action"]) for i in range(len(self))]
        return np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self._source)

    def info(self, index: int) -> VideoInfo:
        """Describe video `index`; without a rate, so that strides count its frames."""
        return replace(self._source.info(index), fps=None)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Render these frames, in this order, each once."""
        wanted, places = np.unique(np.asarray(frame_indices, np.int64), return_inverse=True)
        clip = self._source.read(index, wanted.tolist())
        return Clip(
            frames=clip.frames[places], key=clip.key, labels={"action": clip.labels[self._label]}
        )

    def views(self, index: int, views: ClipViews) -> NDArray[np.uint8]:
        """(clips · crops, T, 3, size, size) RGB."""
        info = self.info(index)
        numbers = views.frames(info.num_frames, info.fps)
        frames = self.read(index, numbers.ravel().tolist()).frames
        resized = views.resized(frames)
        return views.windows(resized.reshape(*numbers.shape, *resized.shape[1:]))


def _read_lists(
    root: Path, layout: Layout, lists: Path, split: int, test_share: float, split_folders: bool
) -> ActionLists:
    if layout == "ucf101":
        return ucf101_lists(root, lists, split)
    if layout == "hmdb51":
        return hmdb51_lists(root, lists, split)
    if layout == "folder":
        return folder_lists(root, test_share, split_folders=split_folders)
    raise UserError(f"data.layout={layout}: choose ucf101, hmdb51 or folder.")
