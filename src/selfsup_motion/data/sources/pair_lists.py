"""Lists of frame pairs. Millions of pairs are a few arrays, not millions of objects."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.listed_files import Listing
from selfsup_motion.data.reading.lists import (
    BLANKS,
    Line,
    columns_of,
    header_of,
    read_list,
    split_path,
    warn_repeated,
    without_comment,
)
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.reading.pictures import IMAGE_EXTENSIONS
from selfsup_motion.errors import UserError
from selfsup_motion.ops.flow_io import FLOW_SUFFIXES

_BLOCK = 1 << 24
_EXTENSIONS = (*IMAGE_EXTENSIONS, *FLOW_SUFFIXES)
_DOTS = (3, 4, 5)
"""Characters of these behind the dot."""
_SPECIAL = b',;"#\\'
"""Characters of lines that are not read as words between blanks."""
_TOLD = 3
_COLUMN = re.compile(r"(image|img|frame|flow|first|second|source|target|path|file)[a-z0-9_]*")
"""What columns of pairs are called in a header."""


class PairList:
    """The lines of list files: `image1 image2 flow` or `image1 image2 flow_x flow_y`."""

    def __init__(self, files: Sequence[Path], root: Path | None = None) -> None:
        """Read the files, one after the other.

        Args:
            files: a pair per line. Columns are separated by blanks, tabs, commas or semicolons and
                end in a known extension, so that they may have blanks. Blank lines, comments
                (`# …`) and headers do not count; a pair that is listed twice counts once.
            root: what the paths are relative to; None: names are not looked for.

        Raises:
            UserError: a file cannot be read, is empty, or a line has another number of columns.
        """
        self.divided_by_name = False
        self._listing = None if root is None else Listing(root)
        odd: set[int] = set()
        texts: list[bytes] = []
        starts: list[NDArray[np.int64]] = []
        ends: list[NDArray[np.int64]] = []
        offset = 0
        for file in files:
            text = read_list(file)
            begin, end, plain = _lines(text)
            kept = np.ones(len(begin), np.bool_)
            unusual = ~plain
            unusual[:1] = True  # it may be a header
            for place in np.flatnonzero(unusual).tolist():
                line = os.fsdecode(text[int(begin[place]) : int(end[place])]).strip(BLANKS)
                columns = _columns(line)
                if _is_comment(line, columns, self._listing) or (place == 0 and _is_header(line)):
                    kept[place] = False
                elif not 3 <= len(columns) <= 4:
                    raise Line(_place(file, text, int(begin[place])), line).refused(
                        "image1 image2 flow, or image1 image2 flow_x flow_y"
                    )
                elif not plain[place]:
                    odd.add(int(begin[place]) + offset)
            texts.append(text)
            starts.append(begin[kept] + offset)
            ends.append(end[kept] + offset)
            offset += len(text)
        self._text = b"".join(texts)
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)
        self._odd = frozenset(odd)  # where lines begin that are not simply words
        if not len(self):
            raise UserError(f"The list {', '.join(map(str, files))} is empty.")
        self._keep_once(files, texts)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> list[str]:
        """The columns of pair `index`."""
        line = self._line(index)
        if int(self._starts[index]) not in self._odd:
            return [os.fsdecode(column) for column in line.split()]
        names = _columns(os.fsdecode(line).strip(BLANKS))
        return [(self._listing and self._listing.find(name)) or name for name in names]

    def _keep_once(self, files: Sequence[Path], texts: Sequence[bytes]) -> None:
        hashes = np.array([hash(self._line(index)) for index in range(len(self))], np.int64)
        _, number, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        kept = np.ones(len(self), np.bool_)
        seen: set[bytes] = set()
        repeated: list[tuple[str, str]] = []
        for index in np.flatnonzero(counts[number] > 1).tolist():
            line = self._line(index)
            if line in seen:
                kept[index] = False
                start = int(self._starts[index])
                file = 0
                while start >= len(texts[file]):
                    start -= len(texts[file])
                    file += 1
                place = _place(files[file], texts[file], start) if len(repeated) < _TOLD else ""
                repeated.append((os.fsdecode(line.strip()), place))
            seen.add(line)
        warn_repeated(", ".join(map(str, files)), len(self), repeated)
        if repeated:
            self.only(kept)

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
        return os.fsdecode(self._first(index).rpartition(b"/")[0])

    def _first(self, index: int) -> bytes:
        """The first column of a pair."""
        if int(self._starts[index]) in self._odd:
            return os.fsencode(self[index][0])
        return self._line(index).split(None, 1)[0]

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
            name = self._first(index)
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


def _lines(
    text: bytes,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Start and end of each line that has any word, and whether it is nothing but three or four
    words, all with an extension or none."""
    starts, ends, plains = [], [], []
    special = np.zeros(256, np.bool_)
    special[np.frombuffer(_SPECIAL, np.uint8)] = True
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
        last = inside.copy()  # characters of their words
        last[:-1] &= ~inside[1:]
        dotted = np.zeros_like(last)
        for length in _DOTS:
            dotted[length:] |= last[length:] & (block[:-length] == ord("."))
        words, extensions = (
            np.add.reduceat(each.astype(np.int64), begin) for each in (last, dotted)
        )
        plain = (words == 3) | (words == 4)
        plain &= (extensions == words) | (extensions == 0)
        plain &= ~np.logical_or.reduceat(special[block], begin)
        full = words > 0
        starts.append(begin[full] + position)
        ends.append(end[full] + position)
        plains.append(plain[full])
        position = stop
    none = [np.empty(0, np.int64)]
    return (
        np.concatenate(none + starts),
        np.concatenate(none + ends),
        np.concatenate([np.empty(0, np.bool_), *plains]),
    )


def _columns(line: str) -> list[str]:
    """Paths that end in known extensions, or else whatever separators leave."""
    found = []
    rest = line
    while rest and (parts := split_path(rest, _EXTENSIONS)):
        found.append(parts[0])
        rest = parts[1].lstrip(f"{BLANKS},;")
        if rest.startswith("#"):
            rest = ""
    return found if found and not rest else columns_of(without_comment(line))


def _is_comment(line: str, columns: Sequence[str], listing: Listing | None) -> bool:
    there = listing is not None and bool(columns) and listing.find(columns[0]) is not None
    return line.startswith("#") and not there


def _is_header(line: str) -> bool:
    columns, _ = header_of(line)
    plain = not any(character in line for character in "./\\")
    return plain and all(_COLUMN.fullmatch(column) for column in columns)


def _place(file: Path, text: bytes, start: int) -> str:
    number = text.count(b"\n", 0, start) + 1
    return f"{file}:{number}"
