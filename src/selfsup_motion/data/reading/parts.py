"""Folders called train, val or test: which files are for training and which are held out."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfsup_motion.data.reading.listing import split_by_name
from selfsup_motion.errors import UserError
from selfsup_motion.text.wording import counted, plural

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test"]

HELD_OUT: tuple[Part, Part] = ("val", "test")

_NAME = re.compile(
    r"(?:(?P<train>train|training|(?P<both>trainval))"
    r"|(?P<val>val|valid|validate|validation|(?P<dev>dev)|eval|evaluation)"
    r"|(?P<test>test|testing|testdev))"
    r"(?:set|split|data|videos?|images?|frames?|clips?)?"
    # a year or a size: train2017, val_256
    r"(?P<number>[1-9]\d{2,3})?"
)
_VERB = {"train": "train", "val": "validate"}
_SHOWN = 5
"""Folders that a message names."""


def part_named(name: str) -> Part | None:
    """The part that a folder, a list or a column's value stands for: "Training" is "train"."""
    match = _match(name)
    return None if match is None else _part(match)


def alike(path: Path) -> Path:
    """The path, if it exists; else the only one whose folders are called alike, if there is one.

    Alike are names that differ in upper and lower case, or stand for the same part: `Training` and
    `train`.
    """
    if path.exists() or path.parent == path:
        return path
    parent = alike(path.parent)
    if not parent.is_dir():
        return path
    names = sorted(os.listdir(parent))
    part = part_named(path.name)
    same = [name for name in names if name.casefold() == path.name.casefold()]
    same = same or [name for name in names if part and part_named(name) == part]
    if len(same) != 1:
        return path
    log.info("%s is taken for %s, which does not exist.", parent / same[0], path)
    return parent / same[0]


def _match(name: str) -> re.Match[str] | None:
    return _NAME.fullmatch(re.sub(r"[-_ +]+", "", name.casefold()))


def _part(match: re.Match[str]) -> Part:
    return "train" if match["train"] else "val" if match["val"] else "test"


@dataclass(frozen=True)
class _Folders:
    """The tree of the folders that hold something."""

    children: dict[str, set[str]]
    """Names of the subfolders of each folder; "" is the root."""
    loose: Counter[str]
    """Number of entries that lie directly in a folder."""

    @classmethod
    def of(cls, paths: Iterable[str]) -> _Folders:
        loose = Counter(map(_folder, paths))
        children: dict[str, set[str]] = defaultdict(set)
        for folder in loose:
            while folder:
                parent, name = posixpath.split(folder)
                if parent == folder:  # an absolute path
                    parent, name = "", folder
                if name in children[parent]:
                    break
                children[parent].add(name)
                folder = parent
        return cls(children, loose)


class Parts:
    """Which of some paths belong to training, validation and test, by the names of their folders.

    Names count in any case and with the usual endings: train, training, trainval; val, valid,
    validate, validation, dev, eval, evaluation; test, testing; train_set, val2017, test_images, …

    A folder is divided if one of its subfolders is for training and another is held out: what lies
    in neither is left out. This is looked for at every depth, so that `train/yoga/x.mp4`,
    `kinetics/train/yoga/x.mp4` and `yoga/train/x.mp4` are all understood. A subfolder `train` that
    has nothing beside it is a part as well. A folder called `test` among others is not: it may be
    a class.
    """

    def __init__(self, paths: Iterable[str], *, enabled: bool = True) -> None:
        """Look at the folders' names.

        Args:
            paths: of files or folders, relative, with forward slashes.
            enabled: False: no folder is a part.
        """
        self._marks: dict[str, Part | None] = {}
        """Part of each folder that is one; None: left out."""
        self._divided: set[str] = set()
        self._lone: dict[str, Part] = {}
        self._beside: dict[str, str] = {}
        """Held-out folders that have files beside them, and nothing else."""
        self.plain: list[str] = []
        """Folders that are called like a part but are none."""
        if enabled:
            self._look(_Folders.of(paths))

    def _look(self, tree: _Folders) -> None:
        waiting, others = [""], 0
        while waiting:
            folder = waiting.pop()
            names = sorted(tree.children.get(folder, ()))
            parts = _parts_among(tree, folder, names)
            kinds = set(parts.values())
            rest = [name for name in names if name not in parts]
            paths = {name: posixpath.join(folder, name) for name in names}
            if "train" in kinds and len(kinds) > 1:
                self._divided.add(folder)
                self._marks |= {paths[name]: parts.get(name) for name in names}
                continue
            if parts and not rest and not any(map(_numbered, parts)):
                if not tree.loose[folder]:
                    self._lone |= {paths[name]: part for name, part in parts.items()}
                    continue
                if "train" not in kinds:
                    self._beside[folder] = paths[min(parts)]
            self.plain += [paths[name] for name in parts]
            waiting += paths.values()
            others += tree.loose[folder]
        kinds = set(self._lone.values())
        if self._marks or not others or ("train" in kinds and len(kinds) > 1):
            self._marks |= self._lone
        else:
            self.plain += self._lone

    @property
    def found(self) -> set[Part]:
        """The parts that there are."""
        return {part for part in self._marks.values() if part is not None}

    @property
    def divides_by_name(self) -> bool:
        """Whether no folder is held out, so that `divide` holds out a share by the names."""
        return self.found.isdisjoint(HELD_OUT)

    def __getitem__(self, path: str) -> Part | Literal["left out"] | None:
        """The part of a path; None: its folders say nothing."""
        mark = self._mark(path)
        if mark is not None:
            return self._marks[mark] or "left out"
        return "left out" if _folder(path) in self._divided else None

    def class_folders(self, path: str) -> list[str]:
        """Names of the folders that a path lies in, without that of its part."""
        mark = self._mark(path)
        folder = posixpath.dirname(path)
        if mark is not None:
            inside = folder[len(mark) :]
            folder = posixpath.join(posixpath.dirname(mark), inside.lstrip("/"))
        return [name for name in folder.split("/") if name]

    def divide(
        self,
        paths: Sequence[str],
        split: Literal["train", "val"],
        val_share: float | None,
        *,
        root: str,
        what: str,
        held_out: Sequence[Part] = HELD_OUT,
    ) -> list[str]:
        """The paths of one side, in their order; says in the log which folders they are from.

        Args:
            paths: at least one.
            split: the side.
            val_share: expected share of what is held out where folders say nothing, in (0, 1);
                None: nothing is, so that both sides get it all.
            root: folder or list of the paths, for messages.
            what: a path is of, for messages: "video".
            held_out: parts to validate on; the first one that is there counts.

        Raises:
            UserError: there is nothing for this side, or it is not clear what is.
        """
        if split == "train" and val_share is None and "train" not in self.found:
            return list(paths)
        self._check(split, root, what)
        chosen = next((part for part in held_out if part in self.found), None)
        side: Part | None = "train" if split == "train" else chosen
        mine, free, other = [], [], []
        for path in paths:
            part = self[path]
            if part is None or (part == "train" and chosen is None):
                free.append(path)
            elif part == side:
                mine.append(path)
            elif part not in ("train", chosen):
                other.append(path)
        if free and val_share is not None:
            train, val = split_by_name(free, val_share)
            if len(free) == 1 and chosen is not None:
                val = []
            kept = frozenset(train if split == "train" else val)
        else:
            kept = frozenset(free)
        self._say(split, chosen, val_share, root, what, len(mine), other)
        kept |= frozenset(mine)
        if len(paths) == len(free) == 1 and split == "val" and val_share is not None:
            log.warning(
                "%s holds a single %s, which is used for training and validation: set "
                "data.val_root for more than a trial.",
                root,
                what,
            )
        if not kept:
            raise UserError(f"{root} has no {plural(what)} to {_VERB[split]} on.")
        return [path for path in paths if path in kept]

    def _check(self, split: str, root: str, what: str) -> None:
        if split != "train":
            return
        found = self.found
        if found and "train" not in found:
            names = _listed(mark for mark, part in self._marks.items() if part)
            raise UserError(
                f"{root} has {plural(what)} to validate or test on ({names}) and none to train "
                "on: set data.root to the folder of those to train on, or "
                "data.split_folders=false to divide these."
            )
        if self._beside:
            folder, name = next(iter(self._beside.items()))
            raise UserError(
                f"{posixpath.join(root, folder)} has {plural(what)} beside the folder "
                f"{posixpath.basename(name)}: move those to train on to a folder train, or set "
                "data.split_folders=false to take all of them alike."
            )

    def _say(
        self,
        split: str,
        chosen: Part | None,
        val_share: float | None,
        root: str,
        what: str,
        count: int,
        other: list[str],
    ) -> None:
        wanted = "train" if split == "train" else chosen
        names = _listed(mark for mark, part in self._marks.items() if part == wanted)
        if split == "train":
            if chosen is not None:
                log.info("%s: training on %s (%s).", root, names, counted(count, what))
            if other:
                marks = {self._mark(path) or _folder(path) or "." for path in other}
                log.warning(
                    "%s: %s not used (%s).", root, counted(len(other), what), _listed(marks)
                )
            if self.plain:
                log.info(
                    "%s: %s counts like any other folder, not as training or validation data.",
                    root,
                    _listed(self.plain),
                )
        elif chosen is not None:
            note = ""
            if chosen == "test" and "val" not in self.found:
                note = ", as there is no validation folder"
            log.info("%s: validating on %s (%s)%s.", root, names, counted(count, what), note)
        elif "train" in self.found and val_share is not None:
            log.info(
                "%s: no validation folder, a share of %s is held out.", root, _listed(self._marks)
            )

    def _mark(self, path: str) -> str | None:
        """The folder of a path that is a part, or is left out."""
        if not self._marks:
            return None
        folder = _folder(path)
        while folder not in self._marks:
            parent = posixpath.dirname(folder)
            if parent == folder:
                return None
            folder = parent
        return folder


def _parts_among(tree: _Folders, folder: str, names: Sequence[str]) -> dict[str, Part]:
    """Which of the subfolders of a folder are called like parts."""
    matches = {name: match for name in names if (match := _match(name))}
    parts = {name: _part(match) for name, match in matches.items()}
    both = {name for name, match in matches.items() if match["both"]}
    if any(part == "train" for name, part in parts.items() if name not in both):
        for name in both:  # it has the files of train and val once more
            del parts[name]
    else:
        for name in both:
            inside = {part_named(n) for n in tree.children.get(posixpath.join(folder, name), ())}
            if {"train", "val"} <= inside:
                del parts[name]
    kinds = set(parts.values())
    if "train" not in kinds:
        for name in parts:  # OxUvA has dev and test
            if matches[name]["dev"]:
                parts[name] = "train"
    return parts


def _numbered(name: str) -> bool:
    match = _match(name)
    return match is not None and match["number"] is not None


def _folder(path: str) -> str:
    """The folder that a path lies in; itself, if it is a folder called like a part."""
    folder, name = posixpath.split(path)
    return path if part_named(name) else folder


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
