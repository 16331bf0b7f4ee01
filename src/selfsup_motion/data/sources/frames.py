"""`FrameFolder`: videos stored as image files, with flow stored beside them or estimated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.flow.estimation import FlowName, in_workers
from selfsup_motion.data.flow.store import FlowStore
from selfsup_motion.data.geometry import (
    check_short_side,
    resize_flow,
    resize_image,
    resize_valid,
    short_side_size,
)
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.reading.frame_order import list_frames
from selfsup_motion.data.reading.listed_files import Listing
from selfsup_motion.data.reading.listing import PathList, place_of
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.reading.pictures import decode_image, image_size, read_bytes
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.frame_lists import FolderList, find_lists
from selfsup_motion.data.sources.pair_lists import PairList
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import decode_flow, decode_flow_jpegs
from selfsup_motion.text.names import shown

_LOOKED_AT = 5
"""First pairs of a list, one of which must exist."""


class FrameFolder(ThreadLocal, Source):
    """Frame pairs from list files (the layout of CMP's YFCC data), or folders of frames.

    Frames are taken as they are stored; the EXIF rotation of photos is not applied, since flow and
    masks beside them are not rotated either.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        layout: Literal["pairs", "folders"] = "folders",
        lists: Sequence[str] | None = None,
        val_lists: Sequence[str] | None = None,
        split: Literal["train", "val", "all"] = "all",
        split_folders: bool = True,
        val_share: float = 0.1,
        short_side: int | None = None,
        fps: float | None = None,
        flow: FlowName | None = None,
        flow_preset: Literal["ultrafast", "fast", "medium"] = "fast",
        flow_check: bool = True,
        flow_root: str | Path | None = None,
    ) -> None:
        """List the pairs or folders; no image is opened.

        Args:
            root: what the paths in the lists are relative to.
            layout: "pairs": each line of the lists is `image1 image2 flow` (any suffix that
                `ops.flow_io` reads) or `image1 image2 flow_x flow_y` (grey JPEGs); each is a video
                of two frames. "folders": each folder is a video, its frames in the order of the
                numbers in their names; the lists are csv files of `folder,number of frames`.
            lists: files, relative to `root`. None: those that `find_lists` finds for pairs; every
                folder below `root` that holds images for folders.
            val_lists: the same for "val". None: `lists/val.txt`, or else the folders called val
                beside those called train (see `Parts`), or else a share of the training pairs or
                folders, chosen by their names.
            split: which part; "all" is the lists without regard to validation.
            split_folders: False: folders called train or val are like any others.
            val_share: expected share of what is held out, in (0, 1).
            short_side: length of the shorter side in pixels that frames and flow are resized to;
                None keeps them.
            fps: rate at which frames were extracted; None if unknown.
            flow: "stored" reads it (pairs only), "dis" estimates it, None gives clips without, as
                do "raft_small" and "raft_large", which run on the device (`ClipDataModule`).
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: mark as invalid where estimated forward and backward flow disagree.
            flow_root: of stored flow for folders, what `prepare=flow` made of them (`FlowStore`);
                that of pairs is named in their lists.

        Raises:
            UserError: a list is missing or wrong, or an argument is out of range.
        """
        if layout not in ("pairs", "folders"):
            raise UserError(f"layout {layout!r} is unknown: choose pairs or folders.")
        if split not in ("train", "val", "all"):
            raise UserError(f"split {split!r} is unknown: choose train, val or all.")
        if not 0 < val_share < 1:
            raise UserError(f"val_share must be between 0 and 1, got {val_share}.")
        check_short_side(short_side, "data.short_side")
        self.root, self.short_side, self.fps = Path(root), short_side, fps
        self._stored = flow == "stored"
        self._store = FlowStore(flow_root) if self._stored and layout == "folders" else None
        self._flow = None if self._stored else in_workers(flow, flow_preset, flow_check)
        self._first_only = False
        if not self.root.is_dir():
            raise UserError(
                f"The folder {root} does not exist: set data.root to the folder of the data."
            )
        if layout == "folders" and val_lists is not None and lists is None:
            raise UserError("data.val_lists is set without data.lists: set both.")
        given = val_lists if split == "val" and val_lists is not None else lists
        files = None if given is None else [self.root / name for name in given]
        separate = val_lists is not None or split == "all"
        self._divided = False
        if layout == "pairs":
            self._entries: PairList | FolderList = self._pairs(
                files, split, separate, val_share, split_folders
            )
        else:
            self._entries = self._folders(files, split, separate, val_share, split_folders)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def no_flow(self) -> str | None:
        """Why clips have no flow; None if they have."""
        if self._stored or self._flow is not None:
            return None
        return "these frames come without it: set data.flow to stored or dis"

    @property
    def folders(self) -> PathList:
        """The folders; only of the layout "folders"."""
        assert isinstance(self._entries, FolderList)
        return self._entries.paths

    def pair(self, index: int) -> list[str]:
        """The files of a pair, as in its list; only of the layout "pairs"."""
        assert isinstance(self._entries, PairList)
        return self._entries[index]

    def first_frame_only(self) -> FrameFolder:
        """The same clips without the frame that stored flow leads to, which costs a third."""
        if not self._stored:
            return self
        reduced = copy.copy(self)
        reduced._first_only = True
        return reduced

    def name(self, index: int) -> str:
        """Where pair or folder `index` is, found without opening it."""
        entry = self._entries[index][0]
        return str(self.root / str(entry))

    def place(self, index: int) -> float | None:
        """Where entry `index` stands in the division by names; None if there is none.

        Pairs of one folder have one place, if there are several folders to divide.
        """
        if not self._divided:
            return None
        if isinstance(self._entries, PairList):
            return float(self._entries.places[index])
        return place_of(self._entries[index][0])

    def info(self, index: int) -> VideoInfo:
        """Describe pair or folder `index`; raises `ClipReadError`.

        Height and width are those of the clips, after resizing.
        """
        key, frames = self.frame_files(index)
        size = image_size(self._bytes(frames[0]), frames[0])
        if self.short_side is not None:
            size = short_side_size(size, self.short_side)
        count = self._entries[index][1] if isinstance(self._entries, FolderList) else len(frames)
        return VideoInfo(key, min(int(count), len(frames)), self.fps, *size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames, with flow from each to the next; raises `ClipReadError`."""
        key, frames = self.frame_files(index)
        for number in frame_indices:
            if not 0 <= number < len(frames):
                raise ClipReadError(
                    f"{key} has {len(frames)} frames, there is no frame {number}.", file=key
                )
        decoded = (
            frame_indices[:-1] if self._first_only and len(frame_indices) > 1 else frame_indices
        )
        images = [decode_image(self._bytes(frames[n]), frames[n]) for n in decoded]
        size = (images[0].shape[0], images[0].shape[1])
        if any(image.shape[:2] != size for image in images):
            raise ClipReadError(f"The frames of {key} are of different sizes.", file=key)
        flow: NDArray[np.float32] | None = None
        valid: NDArray[np.bool_] | None = None
        if self._stored and self._store is None:
            flow, valid = self._read_flow(index, frame_indices, size)
        if self.short_side is not None:
            size = short_side_size(size, self.short_side)
            images = [resize_image(image, size) for image in images]
            if flow is not None and valid is not None:
                flow = np.stack([resize_flow(f, size) for f in flow])
                valid = np.stack([resize_valid(v, size) for v in valid])
        stacked = np.stack(images)
        if flow is not None:
            flow = flow.transpose(0, 3, 1, 2)
        elif self._store is not None:
            names = [Path(frames[number]).stem for number in frame_indices]
            flow, valid = self._store.read(key, frame_indices, names, size)
        elif self._flow is not None:
            flow, valid = self._estimator()(stacked)
        times = None if self.fps is None else np.asarray(decoded, np.float64) / self.fps
        return Clip(
            frames=stacked.transpose(0, 3, 1, 2),
            key=key,
            times=times,
            flow=flow,
            # of pairs it is the user's own; else estimated, here or by prepare=flow
            flow_origin="stored" if self._stored and self._store is None else "estimated",
            valid=valid,
        )

    def _pairs(
        self,
        files: list[Path] | None,
        split: Literal["train", "val", "all"],
        separate: bool,
        val_share: float,
        split_folders: bool,
    ) -> PairList:
        if files is None:
            val_files = [] if separate else find_lists(self.root, "val")
            separate = separate or bool(val_files)
            files = val_files if split == "val" and val_files else find_lists(self.root, "train")
        if not files:
            raise UserError(
                f"{self.root} holds no list of frame pairs (lists/train.txt, *.txt): set data.root "
                "to the folder that the list's paths are relative to, and data.lists to the list."
            )
        pairs = PairList(files, self.root)
        if not separate and split != "all" and len(pairs) > 1:
            where = f"{self.root} ({', '.join(file.name for file in files)})"
            pairs.only(pairs.of_split(split, val_share, where, split_folders))
            self._divided = pairs.divided_by_name
        first = [pairs[index][0] for index in range(min(len(pairs), _LOOKED_AT))]
        if not any((self.root / name).exists() for name in first):
            near = Listing(self.root).near(first[0])
            there = f" (there is {shown(near)})" if near else ""
            raise UserError(
                f"{files[0]} lists {shown(first[0])}, which is not below {self.root}{there}: set "
                "data.root to the folder that the paths in the list are relative to."
            )
        return pairs

    def _folders(
        self,
        files: list[Path] | None,
        split: Literal["train", "val", "all"],
        separate: bool,
        val_share: float,
        split_folders: bool,
    ) -> FolderList:
        if files is None:
            folders = FolderList.from_folder(self.root)
        else:
            folders = FolderList.from_csv(files, self.root)
        if separate or split == "all":
            return folders
        parts = Parts(folders.paths, enabled=split_folders)
        self._divided = parts.divides_by_name
        return folders.subset(
            parts.divide(
                folders.paths, split, val_share, root=str(self.root), what="folder of frames"
            )
        )

    def frame_files(self, index: int) -> tuple[str, list[str]]:
        """Key and frame files of entry `index`, relative to `root`; raises `ClipReadError`."""
        if isinstance(self._entries, PairList):
            first, second = self._entries[index][:2]
            return f"{first} {second}", [first, second]
        folder, _ = self._entries[index]
        listed: tuple[str, list[str]] | None = getattr(self._local, "listed", None)
        if listed is None or listed[0] != folder:  # `info` and `read` of a clip come together
            names = list_frames(self.root / folder, folder)
            listed = self._local.listed = folder, [f"{folder}/{name}" for name in names]
        return listed

    def _bytes(self, name: str) -> bytes:
        """Content of a file; the first frame is asked for by `info` and again by `read`."""
        last: tuple[str, bytes] | None = getattr(self._local, "last", None)
        if last is None or last[0] != name:
            last = self._local.last = name, read_bytes(self.root / name, name)
        return last[1]

    def _read_flow(
        self, index: int, frame_indices: Sequence[int], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Flow (T-1, H, W, 2) and validity (T-1, H, W) as stored."""
        assert isinstance(self._entries, PairList)
        if len(frame_indices) == 1:
            return np.empty((0, *size, 2), np.float32), np.empty((0, *size), np.bool_)
        if list(frame_indices) != [0, 1]:
            raise UserError(
                "Stored flow leads from the first frame of a pair to the second: sample clips of "
                f"length 2 at stride 1, not frames {list(frame_indices)}."
            )
        names = self._entries[index][2:]
        data = [read_bytes(self.root / name, name) for name in names]
        try:
            if len(names) == 2:
                flow = decode_flow_jpegs(data[0], data[1], (names[0], names[1]))
                valid = np.ones(flow.shape[1:], np.bool_)
            else:
                flow, valid = decode_flow(data[0], Path(names[0]).suffix, names[0])
        except ValueError as error:
            raise ClipReadError(f"{error}.", file=names[0]) from error
        if flow.shape[1:] != size:
            raise ClipReadError(
                f"{names[0]} is {flow.shape[2]}×{flow.shape[1]}, its image {size[1]}×{size[0]}.",
                file=names[0],
            )
        if not valid.all():
            flow = np.where(valid, flow, np.float32(0))  # unknown motion is stored as 1e10
        return np.ascontiguousarray(flow.transpose(1, 2, 0))[None], valid[None]

    def _estimator(self) -> Any:
        """The flow estimator of this thread: it holds buffers."""
        if not hasattr(self._local, "flow"):
            self._local.flow = copy.copy(self._flow)
        return self._local.flow
