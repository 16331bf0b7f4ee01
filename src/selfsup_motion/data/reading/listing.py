"""Lists of files: what a folder holds, in which order, in which split."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.errors import UserError


class PathList(Sequence[str]):
    """Relative paths in one buffer, so that a million of them are not a million objects to copy."""

    def __init__(self, paths: Iterable[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)

    @classmethod
    def from_arrays(cls, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> PathList:
        """The list that `arrays` was called on."""
        paths = cls(())
        paths._text, paths._ends = text.tobytes(), ends
        return paths

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All paths after one another, as bytes, and where each ends: to be stored in a file."""
        return np.frombuffer(self._text, np.uint8), self._ends

    def __len__(self) -> int:
        return len(self._ends)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PathList):
            return NotImplemented
        return self._text == other._text and np.array_equal(self._ends, other._ends)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} paths, not {index}")
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._text[start : int(self._ends[index])])


def find_files(
    root: Path,
    extensions: Sequence[str],
    what: str,
    key: str = "data.root",
    regular_only: bool = True,
) -> list[str]:
    """List the files below a folder with one of these extensions.

    Args:
        root: folder, searched with all its subfolders; links are followed.
        extensions: lower-case, with the dot; upper-case files match as well.
        what: for messages, e.g. "videos".
        key: the setting that names the folder, for messages.
        regular_only: leave out pipes, dead links and the like, which costs a look at each file;
            whoever takes them all has to refuse them when reading.

    Returns:
        Sorted paths relative to `root`, with forward slashes.

    Raises:
        UserError: there is no such folder, or nothing of that kind in it.
    """
    if not root.exists():
        raise UserError(f"The folder {root} does not exist: set {key} to a folder of {what}.")
    if not root.is_dir():
        raise UserError(f"{root} is a file: set {key} to the folder of {what} that holds it.")
    allowed = frozenset(extensions)
    found: list[str] = []
    others: Counter[str] = Counter()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(folder, name)
            extension = os.path.splitext(name)[1].lower()
            # a pipe named like a video would block its reader for ever
            if extension in allowed and (not regular_only or os.path.isfile(path)):
                found.append(Path(path).relative_to(root).as_posix())
            else:
                others[extension or "no extension"] += 1
    if not found and not others:
        raise UserError(f"The folder {root} is empty: set {key} to a folder of {what}.")
    if not found:
        there = ", ".join(f"{count} × {extension}" for extension, count in others.most_common(5))
        raise UserError(
            f"The folder {root} holds no {what} ({' '.join(extensions)}), only {there}: set "
            f"{key} to another folder, or {key.partition('.')[0]}.extensions to the extensions of "
            "your files."
        )
    return sorted(found)


def outside(paths: Sequence[str], root: Path, other: Path) -> Sequence[str]:
    """The paths below `root` that are not below another folder, which may be inside `root`.

    Raises:
        UserError: none is.
    """
    try:
        inside = other.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return paths
    kept = [path for path in paths if inside != "." and not path.startswith(f"{inside}/")]
    if not kept:
        raise UserError(
            f"All files in {root} are in {other} too: set data.val_root to another folder, or "
            "leave it out."
        )
    return kept


def split_by_name(paths: Sequence[str], val_share: float) -> tuple[list[str], list[str]]:
    """Divide paths into training and validation by their names alone.

    A file stays on its side when others come or go. Of two or more files each side gets at least
    one; a single file is in both.

    Args:
        paths: at least one.
        val_share: expected share of the validation side, in (0, 1).

    Returns:
        (training, validation), in the order of `paths`.
    """
    if len(paths) == 1:
        return list(paths), list(paths)
    place = {path: place_of(path) for path in paths}
    held_out = {path for path in paths if place[path] < val_share}
    if not held_out:
        held_out = {min(paths, key=place.__getitem__)}
    if len(held_out) == len(paths):
        held_out.remove(max(paths, key=place.__getitem__))
    train = [path for path in paths if path not in held_out]
    return train, [path for path in paths if path in held_out]


def place_of(path: str) -> float:
    """A number in [0, 1) that depends on the name alone; the smallest are held out."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
