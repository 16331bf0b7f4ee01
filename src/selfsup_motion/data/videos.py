"""`VideoFolder`: any folder of videos as a source of clips, with flow estimated on the way."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.decoding import FrameTable, VideoFile
from selfsup_motion.data.files import PathList, find_files, split_by_name
from selfsup_motion.data.flow_estimation import DISFlow
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)

VIDEO_EXTENSIONS = (
    ".mp4",
    ".mkv",
    ".webm",
    ".avi",
    ".mov",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".ts",
    ".3gp",
    ".ogv",
    ".gif",
)

_TABLES_KEPT = 1024
"""Frame tables each thread of each process remembers: about 10 KB for a thousand frames."""


class VideoFolder:
    """The videos below a folder, nested as deep as you like; `key` is the relative path.

    The frames returned are exactly those asked for (see `decoding`), rotated as they are to be
    displayed, 8-bit RGB whatever the file holds. Files are opened when read; each thread of each
    process has its own handles.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: Literal["train", "val", "all"] = "all",
        val_share: float = 0.1,
        val_root: str | Path | None = None,
        short_side: int | None = None,
        flow: Literal["dis"] | None = None,
        flow_preset: Literal["ultrafast", "fast", "medium"] = "fast",
        flow_check: bool = True,
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
    ) -> None:
        """List the videos; none is opened.

        Args:
            root: the folder.
            split: "train" and "val" divide the folder by a hash of the relative paths, so that
                adding files moves none; "all" takes everything.
            val_share: expected share of the videos in "val", in (0, 1).
            val_root: "val" takes everything in this other folder, "train" everything in `root`.
            short_side: length of the shorter side in pixels that frames are resized to; None keeps
                them as they are.
            flow: "dis" estimates it (`DISFlow`), None gives clips without.
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: mark as invalid where forward and backward flow disagree.
            extensions: of the files that are videos.

        Raises:
            UserError: there are no such files, or an argument is out of range.
        """
        if split not in ("train", "val", "all"):
            raise UserError(f"split {split!r} is unknown: choose train, val or all.")
        if not 0 < val_share < 1:
            raise UserError(f"val_share must be between 0 and 1, got {val_share}.")
        if short_side is not None and short_side < 16:
            raise UserError(f"short_side must be at least 16 pixels, got {short_side}.")
        if flow not in (None, "dis"):
            raise UserError(f"flow {flow!r} is unknown: choose dis or null.")
        separate = val_root is not None and split == "val"
        self.root = Path(val_root if separate and val_root is not None else root)
        self.short_side = short_side
        key = "data.val_root" if separate else "data.root"
        paths = find_files(self.root, extensions, "videos", key)
        if val_root is None and split != "all":
            if len(paths) == 1 and split == "val":
                log.warning(
                    "%s holds a single video: it is validated on what it is trained on, give "
                    "data.val_root for more than a trial.",
                    self.root,
                )
            train, val = split_by_name(paths, val_share)
            paths = train if split == "train" else val
        self._paths = PathList(paths)
        self._flow = None if flow is None else DISFlow(flow_preset, flow_check)
        self._local = threading.local()

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._paths)

    def info(self, index: int) -> VideoInfo:
        """Describe video `index` with its exact number of frames; raises `ClipReadError`.

        Height and width are those of the clips, after resizing.
        """
        table = self._handles().table(index)
        height, width = table.height, table.width
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
            height, width = round(height * scale), round(width * scale)
        return VideoInfo(self._paths[index], len(table.pts), table.fps, height, width)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames, with flow from each to the next; raises `ClipReadError`."""
        video = self._handles().video(index)
        frames = video.read(frame_indices, self.short_side)
        flow, valid = (None, None) if self._flow is None else self._handles().flow(frames)
        pts = video.table.pts
        times = (pts[np.asarray(frame_indices)] - pts[0]) * video.table.time_base
        return Clip(
            frames=frames.transpose(0, 3, 1, 2),
            key=self._paths[index],
            times=times,
            flow=flow,
            valid=valid,
        )

    def _handles(self) -> _Handles:
        handles: _Handles | None = getattr(self._local, "handles", None)
        if handles is None or handles.process != os.getpid():
            handles = self._local.handles = _Handles(self.root, self._paths, self._flow)
        return handles

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


class _Handles:
    """What one thread of one process keeps open or remembers."""

    def __init__(self, root: Path, paths: PathList, flow: DISFlow | None) -> None:
        self.process = os.getpid()
        self._root = root
        self._paths = paths
        self._tables: OrderedDict[int, FrameTable] = OrderedDict()
        self._open: tuple[int, VideoFile] | None = None
        self._flow = None if flow is None else DISFlow(flow.preset, flow.check)

    def table(self, index: int) -> FrameTable:
        if index not in self._tables:
            return self.video(index).table
        self._tables.move_to_end(index)
        return self._tables[index]

    def video(self, index: int) -> VideoFile:
        """The last video stays open, because `info` and `read` of a clip come together."""
        if self._open is not None and self._open[0] == index:
            return self._open[1]
        if self._open is not None:
            self._open[1].close()
            self._open = None
        name = self._paths[index]
        video = VideoFile(self._root / name, name, self._tables.get(index))
        self._open = index, video
        self._tables[index] = video.table
        if len(self._tables) > _TABLES_KEPT:
            self._tables.popitem(last=False)
        return video

    def flow(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[Any, Any]:
        assert self._flow is not None
        return self._flow(frames)
