"""Finds the files that a list names, and what is there almost by that name."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from selfsup_motion.data.reading.lists import (
    column_name,
    columns_of,
    read_lines,
    warn_repeated,
    without_comment,
)
from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown, unescaped
from selfsup_motion.text.wording import counted

_TOLD = 3
"""Missing files that a message names."""


class Listing:
    """The files below a folder, by one look into each of its folders that a list names.

    Args:
        root: the folder.
        known: the files, relative to it, if they are known; then no folder is looked into.

    Attributes:
        on_disk: whether folders are looked into.
    """

    def __init__(self, root: Path, known: Iterable[str] | None = None) -> None:
        self.root = root
        self.on_disk = known is None
        self._names: dict[str, dict[str, str]] = {}
        self._folded: dict[str, dict[str, str]] = {}
        for path in known or ():
            while path:
                path, name = posixpath.split(path)  # upwards
                names = self._names.setdefault(path, {})
                if name in names:
                    break
                names[name] = name

    def find(self, name: str) -> str | None:
        r"""The path, relative to the root, that an entry of a list means; None: it is not there.

        Besides the name itself: without needless `./`, escaped as `file_names.shown` does, with
        backslashes between folders, with `/` before it, in Windows-1252, in another Unicode form.
        """
        folder, _, last = name.rpartition("/")
        if last and folder in self._names and last in self._names[folder] and folder[:1] != ".":
            return name  # as nearly all
        return next((path for path in _meanings(name) if self._has(path)), None) or (
            None if name.isascii() else self._in_other_form(name)
        )

    def near(self, name: str) -> str | None:
        """What is there but for letter case or extension."""
        found: list[str] = []
        parts = posixpath.normpath(_meanings(name)[-1]).split("/")
        for place, part in enumerate(parts):
            folder = "/".join(found)
            folded = self._fold_of(folder)
            match = part if part in self._names[folder] else folded.get(_fold(part))
            if match is None and place == len(parts) - 1:
                match = folded.get(_fold(posixpath.splitext(part)[0]) + "\0")
                match = match or folded.get(_fold(part) + "\0")
            if match is None:
                return None
            found.append(match)
        return "/".join(found)

    def _has(self, path: str) -> bool:
        folder, name = posixpath.split(path)
        # a look at the file itself where the folder cannot be listed or does not tell upper case
        return name in self._in(folder) or (self.on_disk and (self.root / path).exists())

    def _in(self, folder: str) -> dict[str, str]:
        if folder not in self._names:
            try:
                names = os.listdir(self.root / folder) if self.on_disk else []
            except OSError:
                names = []
            self._names[folder] = {name: name for name in names}
        return self._names[folder]

    def _fold_of(self, folder: str) -> dict[str, str]:
        """Names by their folded form, and by that without extension and with a zero behind it."""
        if folder not in self._folded:
            names = sorted(self._in(folder), reverse=True)
            stems = {_fold(posixpath.splitext(name)[0]) + "\0": name for name in names}
            self._folded[folder] = stems | {_fold(name): name for name in names}
        return self._folded[folder]

    def _in_other_form(self, name: str) -> str | None:
        near = self.near(name)
        same = near is not None and _normal(near) == _normal(_meanings(name)[-1])
        return near if same else None


def missing(
    listing: Listing,
    entries: Sequence[tuple[str, str]],
    total: int,
    what: str,
    others: Iterable[str] = (),
) -> tuple[str, bool]:
    """Say which entries of a list are not there.

    Args:
        listing: where they are not.
        entries: (name, place in the list) of what is missing, at least one.
        total: number of entries.
        what: they are, in the singular.
        others: files that are listed themselves, and so are not what is meant.

    Returns:
        "3 of 12 videos of the list are not in ucf: A/x.avi (test.txt:3; there is A/x.AVI), …", and
        whether any is there almost by that name.
    """
    listed = frozenset(others)
    near = [n if n not in listed else None for n in (listing.near(name) for name, _ in entries)]
    # those first that tell what is wrong
    order = sorted(range(len(entries)), key=lambda index: near[index] is None)
    told = []
    for index in order[:_TOLD]:
        name, place = entries[index]
        there = f"; there is {shown(str(near[index]))}" if near[index] else ""
        told.append(f"{shown(name)} ({place}{there})")
    more = ", …" if len(entries) > _TOLD else ""
    verb = "is" if len(entries) == 1 else "are"
    text = (
        f"{len(entries)} of {counted(total, what)} of the list {verb} not in {listing.root}: "
        f"{', '.join(told)}"
    )
    return text + more, any(near)


def named_once(
    file: Path, listing: Listing, columns: Collection[str] = ("sequence", "name", "video", "clip")
) -> dict[str, str]:
    """The names in a list, one or several a line, each with its place.

    Args:
        file: the list; a name that is listed twice counts once.
        listing: of what they name; names that are there may have blanks.
        columns: what a header may call them.

    Raises:
        UserError: the list cannot be read or is empty.
    """

    def is_name(text: str) -> bool:
        return listing.find(text) is not None

    names: dict[str, str] = {}
    repeated = []
    lines = read_lines(file, is_name)
    for line in lines:
        if line is lines[0] and not is_name(line.text) and column_name(line.text) in columns:
            continue
        whole = is_name(line.text)
        for name in [line.text] if whole else columns_of(without_comment(line.text)):
            if name in names:
                repeated.append((name, line.place))
            names.setdefault(name, line.place)
    if not names:
        raise UserError(f"The list {file} is empty.")
    warn_repeated(str(file), len(names) + len(repeated), repeated)
    return names


def _meanings(name: str) -> list[str]:
    """What a name in a list may mean, as it stands first."""
    meanings = [name]
    if name.startswith("./") or "//" in name or "/./" in name or name.endswith("/"):
        meanings = [posixpath.normpath(name)]
    if "\\" in name:
        meanings += [unescaped(name), name.replace("\\", "/")]
    if name.startswith("/"):
        meanings.append(name.lstrip("/"))
    try:
        name.encode()
    except UnicodeEncodeError:  # a list from Windows, of files that are named in UTF-8
        meanings.append(os.fsencode(name).decode("cp1252", "replace"))
    return meanings


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _fold(name: str) -> str:
    return _normal(name).casefold()
