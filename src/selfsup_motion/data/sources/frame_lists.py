"""Folders of frames, and where lists of frame pairs are."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from selfsup_motion.data.reading.frame_order import is_frame
from selfsup_motion.data.reading.listed_files import Listing, missing
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.reading.lists import (
    header_of,
    last_column,
    read_lines,
    warn_repeated,
    without_comment,
)
from selfsup_motion.data.reading.parts import HELD_OUT, part_named
from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown

log = logging.getLogger(__name__)

_WHERE_LISTS_ARE = ("lists", "data/yfcc/lists", "")
_FOLDER_COLUMNS = frozenset(
    ("folder", "path", "directory", "dir", "video", "clip", "sequence", "name", "frames_dir")
)


def find_lists(root: Path, split: Literal["train", "val"]) -> list[Path]:
    """The list files that belong to a folder in the paper's layout; none for "val" means none.

    `lists/train.txt` and `lists/val.txt`, as published, or called alike (`training.txt`,
    `test.txt`); the same directly in the folder; or whatever `.txt` files lie there.
    """
    for folder in _WHERE_LISTS_ARE:
        found: dict[str, list[Path]] = {}
        for path in sorted((root / folder).glob("*.txt")):
            part = part_named(path.stem)
            if part is not None and path.is_file():
                found.setdefault(part, []).append(path)
        if "train" not in found:
            continue
        held_out = next((part for part in HELD_OUT if part in found), None)
        part = "train" if split == "train" else held_out
        if part == "test":
            log.info("%s has no list for validation: test is used.", root / folder)
        files = found.get(part or "", [])
        # trainval.txt has train.txt once more
        return [path for path in files if path.stem == part] or files
    if split == "val":
        return []
    return sorted(path for path in root.glob("*.txt") if path.is_file())


class FolderList:
    """Folders of frames and how many frames each holds."""

    def __init__(self, paths: Sequence[str], counts: Sequence[int]) -> None:
        self._paths = PathList(paths)
        self._counts = np.array(counts, np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, int]:
        """(folder, number of frames) of entry `index`."""
        return self._paths[index], int(self._counts[index])

    @classmethod
    def from_csv(cls, files: Sequence[Path], root: Path) -> FolderList:
        """Read `folder,count` lines, as the CorrFlow data lists have them.

        The columns may be separated by commas, semicolons, tabs or blanks; comments and a header do
        not count, a folder that is listed twice counts once.

        Args:
            files: the lists.
            root: what the folders are relative to.

        Raises:
            UserError: a file cannot be read, is empty, a line is something else, or a folder is
                there by almost the same name only.
        """
        listing = Listing(root)
        counts: dict[str, tuple[int, str]] = {}
        absent: list[tuple[str, str]] = []
        repeated: list[tuple[str, str]] = []
        total = 0
        for file in files:

            def is_entry(text: str) -> bool:
                return listing.find(last_column(text)[0]) is not None

            lines = read_lines(file, is_entry)
            for line in lines:
                text = without_comment(line.text)
                folder, count = last_column(text)
                is_header = line is lines[0] and _FOLDER_COLUMNS & {*header_of(text)[0]}
                if is_header and not count.isdecimal():
                    continue
                if not folder or not count.isdecimal():
                    raise line.refused("a folder and its number of frames (folder,12)")
                total += 1
                path = listing.find(folder)
                if path is None:
                    absent.append((folder, line.place))
                number, place = counts.setdefault(path or folder, (int(count), line.place))
                if number != int(count):
                    raise line.refused(f"{number} frames of {shown(folder)} as at {place}")
                if place != line.place:
                    repeated.append((folder, line.place))
        where = ", ".join(map(str, files))
        if not counts:
            raise UserError(f"The list {where} is empty.")
        if absent:
            told, near = missing(listing, absent, total, "folder", counts)
            if near:
                raise UserError(f"{told}: correct the list.")
        warn_repeated(where, total, repeated)
        return cls([*counts], [number for number, _ in counts.values()])

    @classmethod
    def from_folder(cls, root: Path) -> FolderList:
        """Every folder below `root`, or `root` itself, that has image files directly in it.

        Raises:
            UserError: there is none.
        """
        if not root.is_dir():
            raise UserError(f"{root} is not a folder: set data.root to a folder of frame folders.")
        found: list[tuple[str, int]] = []
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            if count := sum(map(is_frame, names)):
                found.append((Path(folder).relative_to(root).as_posix(), count))
        if not found:
            raise UserError(
                f"No folder in {root} holds images: set data.root to a folder of frame folders."
            )
        found.sort()
        return cls([path for path, _ in found], [count for _, count in found])

    def subset(self, paths: Sequence[str]) -> FolderList:
        """The entries of these folders, in the order they have here."""
        wanted = frozenset(paths)
        kept = [self[index] for index in range(len(self)) if self._paths[index] in wanted]
        return FolderList([path for path, _ in kept], [count for _, count in kept])

    @property
    def paths(self) -> PathList:
        """The folders."""
        return self._paths
