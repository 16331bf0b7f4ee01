"""Which videos of a folder belong to a split, what they show and which part of them counts."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.files import PathList
from selfsup_motion.data.parts import Parts, part_named
from selfsup_motion.errors import UserError

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

    classes = sorted({label(path) for path in everything} - {""})
    number = {name: index for index, name in enumerate(classes)}
    actions = np.array([number.get(label(path), -1) for path in paths], np.int64)
    return VideoList(PathList(paths), tuple(classes), actions)


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


def videos_of_split(
    root: Path,
    files: ListFiles,
    split: Literal["train", "val", "all"],
    val_share: float,
    extensions: Sequence[str],
    find: Callable[[], Sequence[str]],
    split_folders: bool,
) -> tuple[VideoList, bool]:
    """The videos of one side of the lists; see `from_lists` for the arguments and errors.

    Where the lists do not say what is held out, the folders do (`Parts`) if `split_folders` is set.

    Returns:
        The videos, and whether they are one side of a division by names.
    """
    lists, val_lists = files.lists, files.val_lists
    if val_lists is not None:
        mine, theirs = (val_lists, lists) if split == "val" else (lists, val_lists)
        rows = files.val_split if split == "val" else files.split
        return from_lists(root, mine, theirs, extensions, find, rows), False
    known = {row.split for name in lists for row in _rows(root / name, extensions)}
    trained = files.split and _split_name(files.split)
    if trained is None and {"train", "validate"} <= known:
        trained = "train"
    held_out = files.val_split and _split_name(files.val_split)
    if held_out is None and trained is not None and "validate" in known - {trained}:
        held_out = "validate"
    if split == "val" and held_out is not None:
        return from_lists(root, lists, (), extensions, find, held_out), False
    listed = from_lists(
        root, lists, (), extensions, find, files.split if split == "all" else trained
    )
    if split == "all" or held_out is not None:
        return listed, False
    where = f"{root} ({', '.join(lists)})"
    by_name = Parts(listed.paths, enabled=split_folders).divides_by_name
    part = listed.part(split, val_share, root=where, split_folders=split_folders)
    return part, by_name


def from_lists(
    root: Path,
    files: Sequence[str],
    others: Sequence[str],
    extensions: Sequence[str],
    find: Callable[[], Sequence[str]],
    split: str | None = None,
) -> VideoList:
    """Videos named in list files: official Kinetics csv, or a video per line.

    - `.csv` with a header that names `youtube_id`: columns `label`, `time_start` and `time_end` are
      used if they are there. The video is a file called `<id>_<start>_<end>` (six digits each, cut
      to the span already) or `<id>` (of which the span counts), anywhere below the root.
    - anything else: `path` or `path label` per line; relative to the root.

    Args:
        root: folder of the videos.
        files: the lists, relative to `root`.
        others: lists of the other split: they take part in the numbering of the classes.
        extensions: of videos.
        find: lists the videos below `root`; called if there is a csv.
        split: take only the rows of official csv whose column `split` says so; None: all.

    Raises:
        UserError: a list cannot be read, none of its videos is there, or no row of the split.
    """
    rows = [row for name in files for row in _rows(root / name, extensions)]
    if not rows:
        raise UserError(f"The list {', '.join(files)} is empty.")
    labels = {row.label for row in rows}
    if split is not None:
        rows = _only(rows, _split_name(split), ", ".join(files))
    labels.update(row.label for name in others for row in _rows(root / name, extensions))
    classes = sorted(labels - {""})
    number = {name: index for index, name in enumerate(classes)}
    by_id = _Finder(find()) if any(row.video for row in rows) else None
    paths, actions, spans = [], [], []
    for row in rows:
        path, whole = row.path, True
        if row.video and by_id is not None:
            path, whole = by_id(row)
        if path:
            paths.append(path)
            actions.append(number.get(row.label, -1))
            spans.append((-np.inf, np.inf) if whole else (row.start, row.end))
    where = f"{', '.join(files)} below {root}"
    if not paths:
        raise UserError(
            f"None of the {len(rows)} videos of {where} is there: they are looked for as "
            "<youtube_id>_<start>_<end>.mp4 and <youtube_id>.mp4; set data.root to their folder."
        )
    if len(paths) < len(rows):
        log.warning("%d of %d videos of %s are missing.", len(rows) - len(paths), len(rows), where)
    return VideoList(
        PathList(paths),
        tuple(classes),
        np.array(actions, np.int64) if classes else None,
        np.array(spans) if np.isfinite(spans).any() else None,
    )


@dataclass(frozen=True)
class _Row:
    """A line of a list: either the `path` of a file or the id of a `video`."""

    path: str = ""
    video: str = ""
    label: str = ""
    split: str = ""
    start: float = -np.inf
    end: float = np.inf


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

    def __call__(self, row: _Row) -> tuple[str, bool]:
        """(path or "", whether all of it counts)."""
        if np.isfinite(row.start) and np.isfinite(row.end):
            cut = self._cut.get((row.video, int(row.start), int(row.end)))
            if cut is not None:
                return cut, True
        return self._whole.get(row.video, ""), False


def _rows(file: Path, extensions: Sequence[str]) -> list[_Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            lines.seek(0)
            if file.suffix == ".csv" and "youtube_id" in header:
                return [_official(row, file) for row in csv.DictReader(lines)]
            return [_plain(line.strip(), extensions) for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The list {file} cannot be read: {error}.") from error


def _only(rows: Sequence[_Row], split: str, where: str) -> list[_Row]:
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        known = sorted({row.split for row in rows} - {""})
        there = f"rows of {', '.join(known)}" if known else "no column of that name"
        raise UserError(f"Of split {split} there is nothing in {where}: it has {there}.")
    return chosen


def _split_name(name: str) -> str:
    """One name for what is called differently in the lists of 400, 600 and 700 classes."""
    part = part_named(name)
    return name if part is None else "validate" if part == "val" else part


def _official(row: dict[str, str], file: Path) -> _Row:
    try:
        return _Row(
            video=row["youtube_id"].strip(),
            label=(row.get("label") or "").strip(),
            split=_split_name((row.get("split") or "").strip()),
            start=float(row.get("time_start") or -np.inf),
            end=float(row.get("time_end") or np.inf),
        )
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file}: a row cannot be read: {row}.") from error


def _plain(line: str, extensions: Sequence[str]) -> _Row:
    if line.lower().endswith(tuple(extensions)):
        return _Row(path=line)
    path, _, label = line.replace("\t", " ").rpartition(" ")
    return _Row(path=path.rstrip(" ,") or line, label=label if path else "")
