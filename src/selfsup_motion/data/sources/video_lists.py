"""Which videos of a folder belong to a split, what they show and which part of them counts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.listed_files import Listing, missing
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.reading.lists import class_names, warn_repeated
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.sources.video_rows import Row, read_rows, split_name
from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown

log = logging.getLogger(__name__)

_CUT = re.compile(r"(?P<id>.+)_(?P<start>\d{6})_(?P<end>\d{6})")
"""File name of a clip that was cut out of the video `id`, with its seconds."""


@dataclass(frozen=True)
class VideoList:
    """N videos."""

    paths: PathList
    """(N,) relative to the root."""
    classes: tuple[str, ...] = ()
    """Names of what the videos show."""
    actions: NDArray[np.int64] | None = None
    """(N,) index into `classes`, -1 if unknown. None: of no video."""
    spans: NDArray[np.float64] | None = None
    """(N, 2) first and last second that count. None: all of every video."""

    def part(
        self, split: Literal["train", "val"], val_share: float, *, root: str, split_folders: bool
    ) -> VideoList:
        """The part of a split, chosen by the paths alone; see `Parts.divide`."""
        paths = sorted(set(self.paths))
        parts = Parts(paths, enabled=split_folders)
        return self._kept(frozenset(parts.divide(paths, split, val_share, root=root, what="video")))

    def only(self, known: AbstractSet[str], where: str) -> VideoList:
        """The videos that are among the known ones; says how many are not.

        Raises:
            UserError: none is.
        """
        kept = self._kept(known)
        if not kept.paths:
            raise UserError(f"None of the {len(self.paths)} videos of the list is in {where}.")
        if missing := len(self.paths) - len(kept.paths):
            log.warning(
                "%d of %d videos of the list are not in %s.", missing, len(self.paths), where
            )
        return kept

    def _kept(self, kept: AbstractSet[str]) -> VideoList:
        chosen = np.array([path in kept for path in self.paths])
        return replace(
            self,
            paths=PathList(path for path in self.paths if path in kept),
            actions=None if self.actions is None else self.actions[chosen],
            spans=None if self.spans is None else self.spans[chosen],
        )


def by_class_folder(paths: Sequence[str], everything: Iterable[str], parts: Parts) -> VideoList:
    """Videos that lie in folders named by what they show, `class/x.mp4` at any depth.

    Args:
        paths: of the split.
        everything: those of all splits, which make up the classes.
        parts: whose folders name no class.
    """

    def label(path: str) -> str:
        return (parts.class_folders(path) or [""])[-1]

    classes, number = class_names([label(path) for path in everything])
    actions = np.array([number.get(label(path), -1) for path in paths], np.int64)
    return VideoList(PathList(paths), classes, actions)


@dataclass(frozen=True)
class ListFiles:
    """Which list files make up training and validation, and which of their rows.

    Attributes:
        lists: of training, relative to the root.
        val_lists: of validation; None: a part of `lists`.
        split: rows of official csv to train on, by their column `split`; None: all, or those of
            "train" if `val_lists` is None and there are some of "train" and of "validate".
        val_split: the same for validation; None: all of `val_lists`, or of `lists` those of
            "validate" if there are some that are not trained on, or else a share of what `split`
            leaves, chosen by the paths.
    """

    lists: Sequence[str]
    val_lists: Sequence[str] | None = None
    split: str | None = None
    val_split: str | None = None


@dataclass(frozen=True)
class Videos:
    """What lists of videos refer to.

    Attributes:
        root: folder of the videos and the lists.
        extensions: of videos.
        find: lists the videos below `root`; called if a list names ids.
        listing: finds the paths that lists name.
    """

    root: Path
    extensions: Sequence[str]
    find: Callable[[], Sequence[str]]
    listing: Listing
    _read: dict[str, list[Row]] = field(default_factory=dict, repr=False)

    def rows(self, files: Sequence[str], split: str | None = None) -> list[Row]:
        """The entries of these lists, relative to `root`; of official csv, of this split.

        Raises:
            UserError: a list is missing, empty or wrong, or has nothing of the split.
        """

        def is_there(path: str) -> bool:
            return self.listing.find(path) is not None

        for file in files:
            if file not in self._read:
                self._read[file] = read_rows(self.root / file, self.extensions, is_there)
        rows = [row for file in files for row in self._read[file]]
        if not rows:
            raise UserError(f"The list {', '.join(files)} is empty.")
        return rows if split is None else _only(rows, split_name(split), ", ".join(files))


def videos_of_split(
    videos: Videos,
    files: ListFiles,
    split: Literal["train", "val", "all"],
    val_share: float,
    split_folders: bool,
) -> tuple[VideoList, bool]:
    """The videos of one side of the lists; see `from_lists` for the errors.

    Where the lists do not say what is held out, the folders do (`Parts`) if `split_folders` is set.

    Returns:
        The videos, and whether they are one side of a division by names.
    """
    lists, val_lists = files.lists, files.val_lists
    if val_lists is not None:
        mine, theirs = (val_lists, lists) if split == "val" else (lists, val_lists)
        if split == "val":
            _warn_trained(videos.rows(val_lists, files.val_split), videos.rows(lists, files.split))
        rows = files.val_split if split == "val" else files.split
        return from_lists(videos, mine, theirs, rows), False
    known = {row.split for row in videos.rows(lists)}
    trained = files.split and split_name(files.split)
    if trained is None and {"train", "validate"} <= known:
        trained = "train"
    held_out = files.val_split and split_name(files.val_split)
    if held_out is None and trained is not None and "validate" in known - {trained}:
        held_out = "validate"
    if split == "val" and held_out is not None:
        return from_lists(videos, lists, (), held_out), False
    used = files.split if split == "all" else trained
    # of a list that is divided, the training has told it
    listed = from_lists(videos, lists, (), used, tell=split != "val")
    if split == "all" or held_out is not None:
        return listed, False
    where = f"{videos.root} ({', '.join(lists)})"
    by_name = Parts(listed.paths, enabled=split_folders).divides_by_name
    part = listed.part(split, val_share, root=where, split_folders=split_folders)
    return part, by_name


def from_lists(
    videos: Videos,
    files: Sequence[str],
    others: Sequence[str],
    split: str | None = None,
    *,
    tell: bool = True,
) -> VideoList:
    """Videos named in list files (see `read_rows`).

    The video of a `youtube_id` is a file called `<id>_<start>_<end>` (six digits each, cut to the
    span already) or `<id>` (of which the span counts), anywhere below the root. An entry that is
    listed twice counts once.

    Args:
        videos: that the lists are of.
        files: the lists, relative to the root.
        others: lists of the other split: they take part in the numbering of the classes.
        split: take only the rows of official csv whose column `split` says so; None: all.
        tell: log what is missing or listed twice.

    Raises:
        UserError: a list cannot be read or a line cannot be meant, none of its videos is there or
            one only by almost the same name, a video has two labels, or no row is of the split.
    """
    rows, everything = videos.rows(files, split), videos.rows(files)
    labels = [row.label for row in (*everything, *(videos.rows(others) if others else ()))]
    classes, number = class_names(labels)
    by_id = _Finder(videos.find()) if any(row.video for row in rows) else None
    found: dict[tuple[str, float, float], Row] = {}
    absent: list[tuple[str, str]] = []
    repeated: list[tuple[str, str]] = []
    gone = 0
    for row in rows:
        whole = True
        if row.video and by_id is not None:
            path, whole = by_id(row)
            gone += not path
        else:
            there = videos.listing.find(row.path)
            path = there or row.path
            if there is None:
                absent.append((row.path, row.place))
        if not path:
            continue
        key = (path, -np.inf, np.inf) if whole else (path, row.start, row.end)
        first = found.setdefault(key, row)
        if number.get(first.label) != number.get(row.label):
            raise UserError(
                f"{row.place}: {shown(path)} has label {row.label or 'none'}, and "
                f"{first.label or 'none'} at {first.place}: expected one label for a video."
            )
        if first is not row:
            repeated.append((path, row.place))
    where = f"{', '.join(files)} below {videos.root}"
    if not found:
        raise UserError(
            f"None of the {len(rows)} videos of {where} is there: they are looked for as "
            "<youtube_id>_<start>_<end>.mp4 and <youtube_id>.mp4; set data.root to their folder."
        )
    if absent:
        paths = [path for path, _, _ in found]
        told, near = missing(videos.listing, absent, len(rows), "video", paths)
        if near or (len(absent) == len(rows) and videos.listing.on_disk):
            raise UserError(f"{told}: correct the list, or set data.root to what it refers to.")
    if tell:
        warn_repeated(", ".join(files), len(rows), repeated)
        if gone:
            log.warning("%d of %d videos of %s are missing.", gone, len(rows), where)
    actions = [number.get(row.label, -1) for row in found.values()]
    spans = np.array([span for _, *span in found])
    return VideoList(
        PathList(path for path, _, _ in found),
        classes,
        np.array(actions, np.int64) if classes else None,
        spans if np.isfinite(spans).any() else None,
    )


def _warn_trained(rows: Sequence[Row], trained: Sequence[Row]) -> None:
    """Say which videos are in the lists of both sides."""
    known = {(row.path, row.video, row.start, row.end) for row in trained}
    both = [row for row in rows if (row.path, row.video, row.start, row.end) in known]
    if both:
        log.warning(
            "%d of %d videos to validate on are trained on as well (%s at %s%s).",
            len(both), len(rows), shown(both[0].path or both[0].video), both[0].place,
            ", …" if len(both) > 1 else "",
        )  # fmt: skip


class _Finder:
    """Finds the files of YouTube ids."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._cut: dict[tuple[str, int, int], str] = {}
        self._whole: dict[str, str] = {}
        for path in paths:
            stem = os.path.splitext(os.path.basename(path))[0]
            if match := _CUT.fullmatch(stem):
                self._cut[match["id"], int(match["start"]), int(match["end"])] = path
            self._whole[stem] = path

    def __call__(self, row: Row) -> tuple[str, bool]:
        """(path or "", whether all of it counts)."""
        if np.isfinite(row.start) and np.isfinite(row.end):
            cut = self._cut.get((row.video, int(row.start), int(row.end)))
            if cut is not None:
                return cut, True
        return self._whole.get(row.video, ""), False


def _only(rows: Sequence[Row], split: str, where: str) -> list[Row]:
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        known = sorted({row.split for row in rows} - {""})
        there = f"rows of {', '.join(known)}" if known else "no column of that name"
        raise UserError(f"There is nothing for split {split} in {where}: it has {there}.")
    return chosen
