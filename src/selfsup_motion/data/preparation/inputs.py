"""What the jobs that read pictures can start from: videos, folders of frames, pairs, images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.flow.store import frame_name
from selfsup_motion.data.preparation.videos import chosen_frames, decoded, folder_names, open_video
from selfsup_motion.data.reading.frame_order import is_frame
from selfsup_motion.data.reading.frame_times import are_even
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.errors import ClipReadError, UserError

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Flow = tuple[NDArray[np.float32], NDArray[np.bool_] | None]
"""(2, H, W) in pixels and where it is known, (H, W); None: everywhere."""

InputName = Literal["auto", "videos", "frames", "pairs", "images"]


@dataclass
class FrameSequence:
    """The frames of one video, to be read once and in order."""

    names: list[str]
    """What stored flow calls each frame."""
    times: list[float] | None
    """Seconds from the start of the video; None: unknown."""
    uneven: bool
    """The frames are not evenly spaced."""
    fps: float | None
    images: Iterator[Image]
    """All of one size; raises `ClipReadError`."""
    files: list[str] = field(default_factory=list)
    """Of the frames, relative to the root, if each is a file of its own."""
    flow: list[Flow] = field(default_factory=list)
    """From each frame to the next, if it was stored with the frames."""


class Input(Protocol):
    """A numbered collection of videos in the widest sense."""

    name: str
    """As it is chosen by."""
    keys: Sequence[str]
    """As the source that reads them names them."""

    def files(self, index: int) -> list[Path]:
        """What a change of is a change of the video; the files or their folder."""
        ...

    def folder(self, index: int) -> str:
        """A relative path that no other video has, for its files."""
        ...

    def open(self, index: int) -> FrameSequence:
        """Begin to read a video; raises `ClipReadError`."""
        ...


def find_input(
    name: InputName,
    root: Path,
    *,
    extensions: Sequence[str],
    lists: Sequence[str] | None,
    short_side: int | None,
    fps: float | None,
) -> Input:
    """List what is to be prepared; nothing is opened.

    Args:
        name: "videos", "frames" (folders of frames), "pairs" (lists of frame pairs), "images", or
            "auto": videos or frames, whichever `root` holds.
        root: folder.
        extensions: of videos.
        lists: list files of pairs or csv files of frame folders, relative to `root`.
        short_side: of the frames in pixels; None keeps the size.
        fps: frames of a video to take per second; None takes all.

    Raises:
        UserError: there is nothing of the kind, or an option that does not go with it.
    """
    if name == "auto":
        name = _detected(root, extensions)
    if name != "videos" and fps is not None:
        raise UserError(f"prepare.fps chooses frames of videos, not of prepare.input={name}.")
    if name in ("videos", "images") and lists is not None:
        raise UserError(f"prepare.lists goes with frames or pairs, not with prepare.input={name}.")
    if name == "videos":
        return VideoFiles(root, extensions, short_side, fps)
    if not root.is_dir():
        raise UserError(f"prepare.root={root}: there is no such folder of {name}.")
    try:
        if name == "frames":
            return FrameFolders(
                FrameFolder(root, layout="folders", lists=lists, short_side=short_side)
            )
        if name == "pairs":
            return Pairs(
                FrameFolder(root, layout="pairs", lists=lists, short_side=short_side, flow="stored")
            )
        if name == "images":
            return Images(ImageFolder(root, short_side=short_side))
    except UserError as error:  # the sources speak of the settings of a training
        raise UserError(str(error).replace("data.", "prepare.")) from error
    raise UserError(
        f"prepare.input={name} is unknown: choose auto, videos, frames, pairs or images."
    )


class VideoFiles:
    """Video files; `key` is the path."""

    name = "videos"

    def __init__(
        self, root: Path, extensions: Sequence[str], short_side: int | None, fps: float | None
    ) -> None:
        self._root, self._short_side, self._fps = root, short_side, fps
        self.keys: Sequence[str] = find_files(
            root, extensions, "videos", key="prepare.root", regular_only=False
        )
        self._folders = folder_names(self.keys)

    def files(self, index: int) -> list[Path]:
        """The file."""
        return [self._root / self.keys[index]]

    def folder(self, index: int) -> str:
        """The path without its extension, if no other video has that."""
        return self._folders[self.keys[index]]

    def open(self, index: int) -> FrameSequence:
        """Open the file."""
        key = self.keys[index]
        video = open_video(self._root, key)
        numbers = chosen_frames(video.table, self._fps, key)
        times = video.table.seconds[numbers]
        uneven = not are_even(times, video.table.time_base)

        def images() -> Iterator[Image]:
            try:
                yield from decoded(video, numbers, self._short_side)
            finally:
                video.close()

        names = [frame_name(number) for number in numbers.tolist()]
        return FrameSequence(names, times.tolist(), uneven, self._fps or video.table.fps, images())


class FrameFolders:
    """Folders of frames; `key` is the folder."""

    name = "frames"

    def __init__(self, source: FrameFolder) -> None:
        self._source = source
        self.keys: Sequence[str] = source.folders

    def files(self, index: int) -> list[Path]:
        """The folder: its time changes when frames come or go."""
        return [self._source.root / self.keys[index]]

    def folder(self, index: int) -> str:
        """The folder itself."""
        return self.keys[index]

    def open(self, index: int) -> FrameSequence:
        """List the frames."""
        _, files = self._source.frame_files(index)
        names = [Path(file).stem for file in files]
        return FrameSequence(names, None, False, None, self._images(index, len(files)), files)

    def _images(self, index: int, count: int) -> Iterator[Image]:
        before: tuple[int, ...] | None = None
        for number in range(count):
            (frame,) = self._source.read(index, [number]).frames
            if before is not None and frame.shape != before:
                key = self.keys[index]
                raise ClipReadError(f"The frames of {key} are of different sizes.", file=key)
            before = frame.shape
            yield frame.transpose(1, 2, 0)


class Pairs:
    """Frame pairs with stored flow (CMP's YFCC layout); `key` is both frames."""

    name = "pairs"

    def __init__(self, source: FrameFolder) -> None:
        self._source = source
        self.keys: Sequence[str] = [" ".join(source.pair(i)[:2]) for i in range(len(source))]

    def files(self, index: int) -> list[Path]:
        """Both frames and the flow."""
        return [self._source.root / file for file in self._source.pair(index)]

    def folder(self, index: int) -> str:
        """A number: the same frame may lead several pairs."""
        return f"pair-{index:07d}"

    def open(self, index: int) -> FrameSequence:
        """Read both frames and the flow."""
        clip = self._source.read(index, [0, 1])
        assert clip.flow is not None
        valid = None if clip.valid is None else clip.valid[0]
        images = iter(clip.frames.transpose(0, 2, 3, 1))
        names = [frame_name(0), frame_name(1)]
        return FrameSequence(names, None, False, None, images, flow=[(clip.flow[0], valid)])


class Images:
    """Still images; `key` is the path."""

    name = "images"

    def __init__(self, source: ImageFolder) -> None:
        self._source = source
        self.keys: Sequence[str] = source.paths
        self._folders = folder_names(self.keys)

    def files(self, index: int) -> list[Path]:
        """The file."""
        return [self._source.root / self.keys[index]]

    def folder(self, index: int) -> str:
        """The path without its extension, if no other image has that."""
        return self._folders[self.keys[index]]

    def open(self, index: int) -> FrameSequence:
        """Read the image."""
        frames = self._source.read(index, [0]).frames.transpose(0, 2, 3, 1)
        return FrameSequence([frame_name(0)], None, False, None, iter(frames))


def _detected(root: Path, extensions: Sequence[str]) -> Literal["videos", "frames"]:
    """Whether a folder holds videos or frames."""
    allowed = tuple(extensions)
    videos = images = False
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        videos = videos or any(
            name.lower().endswith(allowed) and not name.startswith(".") for name in names
        )
        # images beside the folders of frames are a data set's thumbnails
        images = images or (folder != str(root) and any(map(is_frame, names)))
        if videos and images:
            raise UserError(
                f"prepare.root={root} holds videos and folders of images: set prepare.input to "
                "videos or frames."
            )
    return "frames" if images else "videos"
