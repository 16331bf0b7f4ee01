"""What there is to read: list files of frame pairs, folders of frames. Millions of entries are a
few arrays, not millions of objects."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.files import PathList
from selfsup_motion.data.frame_order import is_frame
from selfsup_motion.data.parts import HELD_OUT, Parts, part_named
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)

_WHERE_LISTS_ARE = ("lists", "data/yfcc/lists", "")
_BLOCK = 1 << 24


class PairList:
    """The lines of list files: `image1 image2 flow` or `image1 image2 flow_x flow_y`."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the files, one after the other.

        Args:
            files: text, a pair per line, paths without spaces; blank lines do not count.

        Raises:
            UserError: a file cannot be read, is empty, or a line has another number of columns.
        """
        self.divided_by_name = False
        texts: list[bytes] = []
        starts: list[NDArray[np.int64]] = []
        ends: list[NDArray[np.int64]] = []
        offset = 0
        for file in files:
            try:
                text = file.read_bytes()
            except OSError as error:
                raise UserError(f"The list {file} cannot be read: {error.strerror}.") from error
            begin, end, count = _lines(text)
            wrong = np.flatnonzero((count < 3) | (count > 4))
            if len(wrong):
                line = text.count(b"\n", 0, int(begin[wrong[0]])) + 1
                raise UserError(
                    f"{file}, line {line} has {count[wrong[0]]} columns: expected image1 image2 "
                    "flow, or image1 image2 flow_x flow_y, separated by spaces."
                )
            texts.append(text)
            starts.append(begin + offset)
            ends.append(end + offset)
            offset += len(text)
        self._text = b"".join(texts)
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)
        if not len(self):
            raise UserError(f"The list {', '.join(map(str, files))} is empty.")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> list[str]:
        """The columns of pair `index`."""
        return [os.fsdecode(column) for column in self._line(index).split()]

    def of_split(
        self, split: Literal["train", "val"], share: float, root: str, split_folders: bool
    ) -> NDArray[np.bool_]:
        """(N,) bool: the pairs of one side.

        All pairs of a folder of frames go together. Folders called train and val decide
        (`Parts.divide`), unless `split_folders` is False; else about this share of the pairs, and
        at least one, is held out, chosen by name alone. If there is only one folder, each pair goes
        by its own name.
        """
        if split_folders:
            own = [self._folder(index) for index in range(len(self))]
            folders = sorted(set(own))
            parts = Parts(folders)
            if len(folders) > 1 and parts.found:
                kept = frozenset(
                    parts.divide(folders, split, share, root=root, what="folder of frames")
                )
                return np.array([folder in kept for folder in own])
        self.divided_by_name = True
        held_out = self._held_out(share)
        return held_out if split == "val" else ~held_out

    def _folder(self, index: int) -> str:
        """Of the first image of a pair."""
        name = self._line(index).split(None, 1)[0]
        return os.fsdecode(name.rpartition(b"/")[0])

    def _held_out(self, share: float) -> NDArray[np.bool_]:
        places = self.places
        chosen: NDArray[np.bool_] = places < share
        return chosen if chosen.any() else places == places.min()

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """(N,) numbers in [0, 1) by which pairs are held out, smaller ones first."""
        places = self._places(by_folder=True)
        return places if places.min() != places.max() else self._places(by_folder=False)

    def _places(self, *, by_folder: bool) -> NDArray[np.float64]:
        """(N,) numbers in [0, 1) that depend on the first image's folder or name alone."""
        places = np.empty(len(self), np.float64)
        for index in range(len(self)):
            name = self._line(index).split(None, 1)[0]
            if by_folder:
                name = name.rpartition(b"/")[0]
            digest = hashlib.blake2b(name, digest_size=8).digest()
            places[index] = int.from_bytes(digest, "big") / 2**64
        return places

    def only(self, chosen: NDArray[np.bool_]) -> None:
        """Keep these pairs."""
        self._starts, self._ends = self._starts[chosen], self._ends[chosen]
        if "places" in self.__dict__:
            self.__dict__["places"] = self.places[chosen]

    def _line(self, index: int) -> bytes:
        return self._text[int(self._starts[index]) : int(self._ends[index])]


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
            log.info("%s has no list for validation: test is taken.", root / folder)
        files = found.get(part or "", [])
        # trainval.txt has train.txt once more
        return [path for path in files if path.stem == part] or files
    if split == "val":
        return []
    return sorted(path for path in root.glob("*.txt") if path.is_file())


def _lines(
    text: bytes,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Start, end and number of words of each line that has any."""
    starts, ends, counts = [], [], []
    position = 0
    while position < len(text):
        # a block of whole lines at a time: the masks below take several times its size
        stop = text.find(b"\n", min(position + _BLOCK, len(text)))
        stop = len(text) if stop < 0 else stop + 1
        block = np.frombuffer(text, np.uint8, stop - position, position)
        breaks = np.flatnonzero(block == 10)
        begin = np.concatenate([[0], breaks + 1])
        end = np.concatenate([breaks, [len(block)]])
        if begin[-1] == len(block):  # behind the last line break
            begin, end = begin[:-1], end[:-1]
        inside = block > 32
        word = inside.copy()
        word[1:] &= ~inside[:-1]
        count = np.add.reduceat(word.astype(np.int64), begin)
        full = count > 0
        starts.append(begin[full] + position)
        ends.append(end[full] + position)
        counts.append(count[full])
        position = stop
    none = [np.empty(0, np.int64)]
    return (
        np.concatenate(none + starts),
        np.concatenate(none + ends),
        np.concatenate(none + counts),
    )


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
    def from_csv(cls, files: Sequence[Path]) -> FolderList:
        """Read `folder,count` lines, as the CorrFlow data lists have them.

        Raises:
            UserError: a file cannot be read, is empty, or a line is something else.
        """
        paths, counts = [], []
        for file in files:
            try:
                lines = file.read_text().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"The list {file} cannot be read: {error}.") from error
            for number, line in enumerate(lines, 1):
                folder, comma, count = line.rpartition(",")
                if not line.strip():
                    continue
                if not comma or not count.strip().isdigit():
                    raise UserError(
                        f"{file}, line {number} is {line!r}: expected folder,number of frames."
                    )
                paths.append(folder.strip())
                counts.append(int(count))
        if not paths:
            raise UserError(f"The list {', '.join(map(str, files))} is empty.")
        return cls(paths, counts)

    @classmethod
    def from_folder(cls, root: Path) -> FolderList:
        """Every folder below `root`, or `root` itself, that has image files directly in it.

        Raises:
            UserError: there is none.
        """
        if not root.is_dir():
            raise UserError(f"{root} is no folder: set data.root to a folder of frame folders.")
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
