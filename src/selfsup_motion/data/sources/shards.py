"""`ClipShards`: videos in tar shards (see `prepare=shards`), on a disk or at any fsspec URL."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.flow.estimation import FlowName, in_workers
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.reading.frame_times import are_even
from selfsup_motion.data.reading.listing import place_of
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.reading.pictures import decode_image
from selfsup_motion.data.reading.storage import Storage, open_storage
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.index import NAME, VideoIndex
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.flow_io import decode_flow

_TABLES_KEPT = 256
"""Tables of frames each thread of each process remembers: a few KB for a hundred frames."""
_GAP = 1 << 16
"""Bytes that are read along rather than asked for separately."""

Span = tuple[int, int]
"""Offset and size in a shard."""


class ClipShards(ThreadLocal, Source):
    """Videos packed by `prepare=shards`.

    Frames are the stored ones: those of the videos exactly if stored as PNG, those of the JPEGs
    otherwise. Keys, and with them the split, are those of `VideoFolder` on the original videos, so
    that a run on PNG shards with estimated flow sees the same samples as one on the files.

    Shards are read at random by byte ranges, not one after another through a shuffle buffer: the
    order of samples stays that of the data module, a function of (seed, epoch), so a run resumes at
    any sample without replaying a buffer, and any number of ranks and workers shares it exactly.
    What a sequential reader gains is kept by `shuffle_shards`: the samples of an epoch then come
    from a few shards at a time, mixed among themselves as in a shuffle buffer of that many shards,
    and a caching URL (`filecache::s3://…`) fetches each shard once, whole. On a local disk it costs
    randomness and gains nothing.
    """

    def __init__(
        self,
        root: str,
        *,
        split: Literal["train", "val", "all"] = "all",
        split_folders: bool = True,
        val_share: float = 0.1,
        val_root: str | None = None,
        flow: FlowName | None = "stored",
        flow_preset: Literal["ultrafast", "fast", "medium"] = "fast",
        flow_check: bool = True,
        shuffle_shards: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Read the index; no shard is opened.

        Args:
            root: folder of the shards, or its URL (`s3://bucket/folder`, …).
            split: "train" and "val" are what was packed from folders that are called so, if there
                were any (see `Parts`); otherwise they divide the videos by a hash of their keys.
                "all" takes all.
            split_folders: False: folders called train or val are like any others.
            val_share: expected share of the videos in "val", in (0, 1).
            val_root: "val" takes what is in this other folder, "train" what is in `root`; of
                either, only the part that is meant, if it came from folders of parts.
            flow: "stored" reads it, "dis" estimates it, None gives clips without, as do
                "raft_small" and "raft_large", which run on the device (`ClipDataModule`).
            flow_preset: of DIS, from fast to accurate: "ultrafast", "fast", "medium".
            flow_check: mark as invalid where estimated forward and backward flow disagree.
            shuffle_shards: shards whose samples are mixed; None mixes all.
            storage_options: for fsspec's file system of the URL.

        Raises:
            UserError: there are no shards, or an argument is out of range.
        """
        if split not in ("train", "val", "all"):
            raise UserError(f"split {split!r} is unknown: choose train, val or all.")
        if not 0 < val_share < 1:
            raise UserError(f"val_share must be between 0 and 1, got {val_share}.")
        if shuffle_shards is not None and shuffle_shards < 1:
            raise UserError(f"data.shuffle_shards must be at least 1, got {shuffle_shards}.")
        separate = val_root is not None and split == "val"
        self.root = val_root if separate and val_root is not None else root
        self.shuffle_shards = shuffle_shards
        self._options = dict(storage_options or {})
        self._stored = flow == "stored"
        self._flow = None if self._stored else in_workers(flow, flow_preset, flow_check)
        self._first_only = False
        key = "data.val_root" if separate else "data.root"
        index = VideoIndex.parse(
            open_storage(self.root, self._options, key).whole(NAME), f"{self.root}/{NAME}"
        )
        if not {"shard", "offset", "size"} <= index.more.keys() or not len(index):
            raise UserError(f"{key}={self.root}: its {NAME} lists no videos in shards.")
        self._divided = False
        if split != "all":
            share = val_share if val_root is None else None
            parts = Parts(index.keys, enabled=split_folders)
            keys = parts.divide(index.keys, split, share, root=str(self.root), what="video")
            index = index.only(keys)
            self._divided = share is not None and parts.divides_by_name
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def no_flow(self) -> str | None:
        """Why clips have no flow; None if they have."""
        if self._stored or self._flow is not None:
            return None
        return "these shards are read without it: set data.flow to stored or dis"

    def first_frame_only(self) -> ClipShards:
        """The same clips without the frame that stored flow leads to."""
        if not self._stored:
            return self
        reduced = copy.copy(self)
        reduced._first_only = True
        return reduced

    @property
    def blocks(self) -> tuple[NDArray[np.int64], int] | None:
        """(N,) shard of each video, and how many shards to mix; None to mix all."""
        if self.shuffle_shards is None:
            return None
        return self._index.more["shard"].astype(np.int64), self.shuffle_shards

    def name(self, index: int) -> str:
        """What video `index` is called, found without opening it."""
        return str(self._index.keys[index])

    def place(self, index: int) -> float | None:
        """Where video `index` stands in the division by names; None if there is none."""
        return place_of(self._index.keys[index]) if self._divided else None

    def info(self, index: int) -> VideoInfo:
        """Describe video `index`; opens nothing."""
        info = self._index[index]
        uneven = self._index.more.get("uneven")
        if uneven is not None and not uneven[index]:
            return info
        return replace(info, look_up_times=lambda: self._times(index))

    def _times(self, index: int) -> NDArray[np.float64] | None:
        """Those of the frames; None if they are evenly spaced or unknown."""
        times = self._reader().table(index).times
        # the unit of the time stamps is not stored: milliseconds are the coarsest in use
        return None if times is None or are_even(times, 1e-3) else times

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read exactly these frames, with flow from each to the next; raises `ClipReadError`.

        Raises:
            UserError: stored flow is asked for and there is none, or the frames are no neighbours.
        """
        info = self._index[index]
        for number in frame_indices:
            if not 0 <= number < info.num_frames:
                raise ClipReadError(
                    f"{info.key} has {info.num_frames} frames, there is no frame {number}.",
                    file=info.key,
                )
        reader = self._reader()
        table = reader.table(index)
        shown = list(frame_indices)
        if self._first_only and len(shown) > 1:
            shown.pop()
        spans = [table.frames[number] for number in shown]
        if self._stored:
            spans += self._flow_spans(table, frame_indices)
        data = reader.spans(index, spans)
        frames = np.stack([decode_image(d, info.key) for d in data[: len(shown)]])
        flow, valid = None, None
        if self._stored:
            flow, valid = _decoded(data[len(shown) :], info)
        elif self._flow is not None:
            flow, valid = reader.flow(frames)
        return Clip(
            frames=frames.transpose(0, 3, 1, 2),
            key=info.key,
            times=None if table.times is None else table.times[np.asarray(shown)],
            flow=flow,
            flow_origin="stored" if self._stored else "estimated",
            valid=valid,
        )

    def _flow_spans(self, table: _Table, frame_indices: Sequence[int]) -> list[Span]:
        if table.flow is None:
            raise UserError(
                f"The shards in {self.root} hold no flow: set data.flow=dis, or make them again "
                "with prepare.flow=dis."
            )
        if any(b - a != 1 for a, b in pairwise(frame_indices)):
            raise UserError(
                "Stored flow leads from each frame to the next: sample clips at data.stride=1 with "
                "data.short=skip, or set data.flow=dis."
            )
        return [table.flow[number] for number in frame_indices[:-1]]

    def _reader(self) -> _Reader:
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            storage = open_storage(self.root, self._options, "data.root")
            reader = self._local.reader = _Reader(self._index, storage, self._flow)
        return reader


@dataclass(frozen=True)
class _Table:
    """Where a video's frames are."""

    times: NDArray[np.float64] | None
    frames: list[Span]
    flow: list[Span] | None


class _Reader:
    """What one thread of one process keeps open or remembers."""

    def __init__(self, index: VideoIndex, storage: Storage, flow: Any) -> None:
        self._index = index
        self._storage = storage
        self._tables: OrderedDict[int, _Table] = OrderedDict()
        self.flow = flow

    def table(self, index: int) -> _Table:
        if index not in self._tables:
            more = self._index.more
            (text,) = self.spans(index, [(int(more["offset"][index]), int(more["size"][index]))])
            try:
                table = json.loads(text)
                times = table["times"]
                self._tables[index] = _Table(
                    None if times is None else np.array(times, np.float64),
                    table["frames"],
                    table["flow"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(index) from error
            if len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(index)
        return self._tables[index]

    def spans(self, index: int, spans: Sequence[Span]) -> list[bytes]:
        """Parts of the video's shard, in as few reads as makes sense."""
        name = f"shard-{int(self._index.more['shard'][index]):06d}.tar"
        found: dict[Span, bytes] = {}
        group: list[Span] = []
        for offset, size in [*sorted({(o, s) for o, s in spans}), (-1, 0)]:
            if group and (offset < 0 or offset - sum(group[-1]) > _GAP):
                begin, end = group[0][0], sum(group[-1])
                try:
                    data = self._storage.part(name, begin, end)
                except OSError as error:
                    key = self._index[index].key
                    raise ClipReadError(
                        f"{key} cannot be read from {name}: {error}.", file=key, reason="missing"
                    ) from error
                if len(data) != end - begin:
                    raise self._damaged(index)
                found |= {(o, s): data[o - begin : o - begin + s] for o, s in group}
                group = []
            group.append((offset, size))
        return [found[offset, size] for offset, size in spans]

    def _damaged(self, index: int) -> ClipReadError:
        key = self._index[index].key
        shard = f"shard-{int(self._index.more['shard'][index]):06d}.tar"
        return ClipReadError(
            f"{key} is damaged, or {shard} does not belong to the index.", file=key
        )


def _decoded(
    data: Sequence[bytes], info: VideoInfo
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow (T-1, 2, H, W) and validity (T-1, H, W)."""
    flow = np.empty((len(data), 2, info.height, info.width), np.float32)
    valid = np.empty((len(data), info.height, info.width), np.bool_)
    for place, item in enumerate(data):
        try:
            flow[place], valid[place] = decode_flow(item, ".flowz", info.key)
        except ValueError as error:
            raise ClipReadError(f"{error}.", file=info.key) from error
    return flow, valid
