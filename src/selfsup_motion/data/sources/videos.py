"""`VideoFolder`: any folder of videos as a source of clips, with flow estimated on the way."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.flow.estimation import DISFlow, FlowName, in_workers
from selfsup_motion.data.flow.store import FlowStore, frame_name
from selfsup_motion.data.geometry import check_short_side
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.listed_files import Listing
from selfsup_motion.data.reading.listing import PathList, find_files, outside, place_of
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.reading.timed_video import TIME_LIMIT, FrameTable
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.index import VideoIndex
from selfsup_motion.data.sources.video_lists import (
    ListFiles,
    VideoList,
    Videos,
    by_class_folder,
    videos_of_split,
)
from selfsup_motion.errors import ClipReadError, UserError

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


class VideoFolder(ThreadLocal, Source):
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
        split_folders: bool = True,
        val_share: float = 0.1,
        val_root: str | Path | None = None,
        lists: Sequence[str] | None = None,
        val_lists: Sequence[str] | None = None,
        list_split: str | None = None,
        val_list_split: str | None = None,
        labels: bool = False,
        short_side: int | None = None,
        flow: FlowName | None = None,
        flow_preset: Literal["ultrafast", "fast", "medium"] = "fast",
        flow_check: bool = True,
        flow_root: str | Path | None = None,
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
        index: str | Path | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        """List the videos; none is opened.

        Args:
            root: the folder.
            split: "train" and "val" are the folders that are called so, if there are any (see
                `Parts`); otherwise they divide `root` by a hash of the relative paths, so that
                adding files moves none. "all" takes everything.
            split_folders: False: folders called train or val are like any others.
            val_share: expected share of the videos in "val", in (0, 1).
            val_root: "val" takes what is in this other folder, "train" what is in `root`; of
                either, only the part that is meant, if it is divided in folders.
            lists: take only the videos in these files, relative to `root`: official Kinetics csv or
                a path per line (see `video_lists.from_lists`). Not with `val_root`.
            val_lists: the same for "val"; None divides those of `lists`.
            list_split: rows of official csv to train on, by their column `split`: "train",
                "validate" or "test" (see `video_lists.ListFiles`).
            val_list_split: the same for "val".
            labels: give clips `labels["action"]`, the number of the class that names the video's
                folder (-1: none); lists with labels do so by themselves.
            short_side: length of the shorter side in pixels that frames are resized to; None keeps
                them as they are.
            flow: "stored" reads it, "dis" estimates it (`DISFlow`), None gives clips without, as do
                "raft_small" and "raft_large", which run on the device (`ClipDataModule`).
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: mark as invalid where estimated forward and backward flow disagree.
            flow_root: of stored flow, what `prepare=flow` made of these videos (`FlowStore`).
            extensions: of the files that are videos.
            index: of the videos in `root`, made by `prepare=index`: saves listing the folder and
                opening each file to choose frames, and leaves out what is known to be bad. It says
                nothing about `val_root`.
            time_limit: seconds that opening a video, or reading one clip, may take.

        Raises:
            UserError: there are no such files, or an argument is out of range.
        """
        if split not in ("train", "val", "all"):
            raise UserError(f"split {split!r} is unknown: choose train, val or all.")
        if not 0 < val_share < 1:
            raise UserError(f"val_share must be between 0 and 1, got {val_share}.")
        check_short_side(short_side, "data.short_side")
        if lists is not None and val_root is not None:
            raise UserError(
                "data.lists and data.val_root cannot be used together: set one of them."
            )
        for name, value in (
            ("val_lists", val_lists),
            ("split", list_split),
            ("val_split", val_list_split),
        ):
            if value is not None and lists is None:
                raise UserError(f"data.{name} is set without data.lists: set both.")
        separate = val_root is not None and split == "val"
        self.root = Path(val_root if separate and val_root is not None else root)
        self.short_side = short_side
        key = "data.val_root" if separate else "data.root"
        self._index = None if index is None or separate else VideoIndex.load(Path(index))

        def everything() -> Sequence[str]:
            if self._index is not None:
                return self._index.keys
            return find_files(self.root, extensions, "videos", key, regular_only=False)

        self._divided = False
        if lists is not None:
            files = ListFiles(lists, val_lists, list_split, val_list_split)
            known = None if self._index is None else self._index.keys
            videos = Videos(self.root, extensions, everything, Listing(self.root, known))
            listed, self._divided = videos_of_split(videos, files, split, val_share, split_folders)
        else:
            found = everything()
            if val_root is not None and split == "train":
                found = outside(found, self.root, Path(val_root))
            parts = Parts(found, enabled=split_folders)
            paths: Sequence[str] = found
            if split != "all":
                share = val_share if val_root is None else None
                paths = parts.divide(found, split, share, root=str(self.root), what="video")
                self._divided = share is not None and parts.divides_by_name
            listed = by_class_folder(paths, found, parts) if labels else VideoList(_packed(paths))
        if self._index is not None and lists is not None:
            listed = listed.only(frozenset(self._index.keys), "the index (see its bad_files.csv)")
        self._list = listed
        self._paths = listed.paths
        self.classes = listed.classes
        """What the numbers in `labels["action"]` mean."""
        if self._index is not None:
            self._index = self._index.only(self._paths)
        self._time_limit = time_limit
        self._store = FlowStore(flow_root) if flow == "stored" else None
        self._flow = in_workers(flow, flow_preset, flow_check)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """What video `index` is called, found without opening it."""
        return str(self.root / self._paths[index])

    def place(self, index: int) -> float | None:
        """Where video `index` stands in the division by names; None if there is none."""
        return place_of(self._paths[index]) if self._divided else None

    def info(self, index: int) -> VideoInfo:
        """Describe video `index` with its exact number of frames; raises `ClipReadError`.

        Height and width are those of the clips, after resizing.
        """
        if self._index is not None and self._list.spans is None:
            known = self._index[index]
            num_frames, fps, height, width = (
                known.num_frames, known.fps, known.height, known.width
            )  # fmt: skip
            flags = self._index.more.get("uneven")
            uneven = flags is None or bool(flags[index])
        else:
            table = self._handles().table(index)
            first, last = self._span(index, table)
            num_frames, fps, height, width = last - first, table.fps, table.height, table.width
            uneven = table.uneven_seconds is not None
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
            height, width = round(height * scale), round(width * scale)
        times = partial(self._times, index) if uneven else None
        return VideoInfo(self._paths[index], num_frames, fps, height, width, times)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames, with flow from each to the next; raises `ClipReadError`."""
        video = self._handles().video(index)
        if self._index is not None and len(video.table.pts) != self._index[index].num_frames:
            raise ClipReadError(
                f"{self._paths[index]} has {len(video.table.pts)} frames, not as many as in the "
                "index: make the index again.",
                file=self._paths[index],
                reason="changed",
            )
        first, last = self._span(index, video.table)
        for number in frame_indices:
            if not 0 <= number < last - first:
                raise ClipReadError(
                    f"{self._paths[index]} has {last - first} frames, there is no frame {number}.",
                    file=self._paths[index],
                    reason="too short",
                )
        numbers = np.asarray(frame_indices, np.int64) + first
        frames = video.read(numbers.tolist(), self.short_side)
        flow, valid = None, None
        if self._store is not None:
            names = [frame_name(number) for number in numbers.tolist()]
            size = (frames.shape[1], frames.shape[2])
            flow, valid = self._store.read(self._paths[index], numbers.tolist(), names, size)
        elif self._flow is not None:
            flow, valid = self._handles().flow(frames)
        times = video.table.seconds[numbers]
        return Clip(
            frames=frames.transpose(0, 3, 1, 2),
            key=self._paths[index],
            times=times,
            flow=flow,
            flow_origin="estimated",  # here, or by prepare=flow
            valid=valid,
            labels=self._labels(index),
        )

    @property
    def no_flow(self) -> str | None:
        """Why clips have no flow; None if they have."""
        if self._store is not None or self._flow is not None:
            return None
        return "these videos come without it: set data.flow to stored or dis"

    def _times(self, index: int) -> NDArray[np.float64] | None:
        """Those of the frames that count; None if they are evenly spaced."""
        table = self._handles().table(index)
        if table.uneven_seconds is None:
            return None
        first, last = self._span(index, table)
        return table.uneven_seconds[first:last]

    def _labels(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        actions = self._list.actions
        return {} if actions is None else {"action": np.array(actions[index])}

    def _span(self, index: int, table: FrameTable) -> tuple[int, int]:
        """First frame that counts, and the one behind the last."""
        if self._list.spans is None:
            return 0, len(table.pts)
        first, last = np.searchsorted(table.seconds, self._list.spans[index], side="left").tolist()
        return first, last

    def _handles(self) -> VideoHandles:
        handles: VideoHandles | None = getattr(self._local, "handles", None)
        if handles is None:
            handles = self._local.handles = VideoHandles(
                self.root, self._paths, self._flow, self._time_limit
            )
        return handles


def _packed(paths: Sequence[str]) -> PathList:
    return paths if isinstance(paths, PathList) else PathList(paths)


class VideoHandles:
    """What one thread of one process keeps open or remembers."""

    def __init__(
        self, root: Path, paths: PathList, flow: DISFlow | None, time_limit: float
    ) -> None:
        self._root = root
        self._paths = paths
        self._time_limit = time_limit
        self._tables: OrderedDict[int, FrameTable] = OrderedDict()
        self._open: tuple[int, VideoFile] | None = None
        self._flow = None if flow is None else DISFlow(flow.preset, flow.check)

    def table(self, index: int) -> FrameTable:
        """What is known of a video's frames; remembered when the file is closed."""
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
        video = VideoFile(self._root / name, name, self._tables.get(index), self._time_limit)
        self._open = index, video
        self._tables[index] = video.table
        if len(self._tables) > _TABLES_KEPT:
            self._tables.popitem(last=False)
        return video

    def flow(self, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[Any, Any]:
        """Flow from each frame to the next, and where it can be trusted."""
        assert self._flow is not None
        return self._flow(frames)
