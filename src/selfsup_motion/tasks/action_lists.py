"""Which videos of an action data set are for training and which for testing, and what they show."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfsup_motion.data.files import find_files, split_by_name
from selfsup_motion.data.parts import Parts
from selfsup_motion.data.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import UserError
from selfsup_motion.wording import counted

log = logging.getLogger(__name__)

Part = Literal["train", "test"]

_SHOWN = 3
"""Missing files that an error names."""


@dataclass(frozen=True)
class Labelled:
    """A video and what it shows."""

    path: str
    """Relative to the folder of the videos."""
    label: int
    """Index into the classes."""
    line: str
    """Where that is written: `list.txt:12`, or the folder."""


@dataclass(frozen=True)
class ActionLists:
    """Both parts of one split.

    Attributes:
        classes: names, in the order of the labels.
        train: videos to learn from.
        test: videos to test on.
    """

    classes: tuple[str, ...]
    train: tuple[Labelled, ...]
    test: tuple[Labelled, ...]


def ucf101_lists(root: Path, lists: Path, split: int) -> ActionLists:
    """UCF101's official `classInd.txt`, `trainlist0k.txt` and `testlist0k.txt`.

    Args:
        root: folder of the videos, which are below it as the lists say or directly in it.
        lists: folder of the lists.
        split: 1, 2 or 3.

    Raises:
        UserError: a list is missing or wrong (names file and line), or videos are missing.
    """
    _check_split(split)
    index_file = lists / "classInd.txt"
    numbers: dict[str, int] = {}
    for place, line in _lines(index_file):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdigit():
            raise UserError(f"{place}: expected a number and a class, got {line!r}.")
        if int(fields[0]) != len(numbers) + 1 or fields[1] in numbers:
            raise UserError(
                f"{place}: class {fields[1]} has number {fields[0]}, expected "
                f"{len(numbers) + 1}: classes are numbered from 1 without gaps or repetitions."
            )
        numbers[fields[1]] = len(numbers)

    def part(name: str, labelled: bool) -> tuple[Labelled, ...]:
        videos = []
        for place, line in _lines(lists / name):
            path, _, number = line.rpartition(" ") if labelled else (line, "", "")
            action = path.split("/")[0]
            if action not in numbers or "/" not in path:
                raise UserError(f"{place}: {line!r} names no class of {index_file}.")
            if labelled and number != str(numbers[action] + 1):
                raise UserError(
                    f"{place}: {action} has label {number}, {index_file} says "
                    f"{numbers[action] + 1}."
                )
            videos.append(Labelled(path, numbers[action], place))
        return tuple(videos)

    made = ActionLists(
        tuple(numbers),
        part(f"trainlist{split:02d}.txt", labelled=True),
        part(f"testlist{split:02d}.txt", labelled=False),
    )
    return _found(made, root, lambda path: path.rpartition("/")[2])


def hmdb51_lists(root: Path, lists: Path, split: int) -> ActionLists:
    """HMDB51's official `<class>_test_split<k>.txt`: 1 is training, 2 is test, 0 is unused.

    Args:
        root: folder of the class folders.
        lists: folder of the lists.
        split: 1, 2 or 3.

    Raises:
        UserError: a list is missing or wrong (names file and line), or videos are missing.
    """
    _check_split(split)
    ending = f"_test_split{split}.txt"
    files = sorted(lists.glob(f"*{ending}"))
    if not files:
        raise UserError(f"{lists}: no lists *{ending} there; set data.lists to their folder.")
    classes = tuple(file.name.removesuffix(ending) for file in files)
    parts: dict[str, list[Labelled]] = {"0": [], "1": [], "2": []}
    for label, file in enumerate(files):
        for place, line in _lines(file):
            name, _, use = line.rpartition(" ")
            if use not in parts or not name.strip():
                raise UserError(f"{place}: expected a file and 0, 1 or 2, got {line!r}.")
            parts[use].append(Labelled(f"{classes[label]}/{name.strip()}", label, place))
    made = ActionLists(classes, tuple(parts["1"]), tuple(parts["2"]))
    return _found(made, root, lambda path: path.rpartition("/")[2])


def folder_lists(root: Path, test_share: float, *, split_folders: bool = True) -> ActionLists:
    """Any folder of class folders: `class/x.mp4`, or divided as `train/class/x.mp4` and `test/…`.

    Args:
        root: the folder.
        test_share: expected share of the test videos, chosen in each class by a hash of the paths,
            where there are no folders for training and test (see `Parts`; val is taken if there is
            no test). The only video of a class is trained on.
        split_folders: False: folders called train or test are classes.

    Raises:
        UserError: no videos, fewer than two classes, a class to test on that is not trained on.
    """
    if not 0 < test_share < 1:
        raise UserError(f"data.test_share={test_share}: expected a share between 0 and 1.")
    paths = find_files(root, VIDEO_EXTENSIONS, "videos")
    parts = Parts(paths, enabled=split_folders)
    class_of = _class_folders(root, paths, parts)
    labelled = [path for path in paths if path in class_of]
    if loose := len(paths) - len(labelled):
        log.warning("%s: %s outside class folders not used.", root, counted(loose, "video"))
    there = {parts[path] for path in labelled}
    held_out: list[Literal["test", "val"]] = [p for p in ("test", "val") if p in there]
    made: dict[Part, list[str]] = {"train": [], "test": []}
    if held_out:
        sides: tuple[tuple[Part, Literal["train", "val"]], ...] = (
            ("train", "train"),
            ("test", "val"),
        )
        for part, split in sides:
            made[part] = parts.divide(
                labelled, split, test_share, root=str(root), what="video", held_out=held_out
            )
    else:
        by_class: dict[str, list[str]] = {}
        for path in labelled:
            by_class.setdefault(class_of[path], []).append(path)
        for videos in by_class.values():
            train, test = split_by_name(videos, test_share)
            made["train"] += train
            made["test"] += test if len(videos) > 1 else []
    used = {part: {class_of[path] for path in made[part]} for part in made}
    classes = tuple(sorted(used["train"] | used["test"]))
    if len(classes) < 2:
        raise UserError(
            f"{root}: expected a folder of videos per class, at least two of them, found "
            f"{', '.join(classes) or 'none'}."
        )
    for action in sorted(used["test"] - used["train"]):
        raise UserError(f"{root}: class {action} has videos to test on and none to train on.")
    if not made["test"]:
        raise UserError(f"{root}: no videos to test on; raise data.test_share.")

    def listed(part: Part) -> tuple[Labelled, ...]:
        videos = [Labelled(p, classes.index(class_of[p]), class_of[p]) for p in made[part]]
        return tuple(sorted(videos, key=lambda video: (video.label, video.path)))

    return ActionLists(classes, listed("train"), listed("test"))


def _class_folders(root: Path, paths: Sequence[str], parts: Parts) -> dict[str, str]:
    """The class of each path that lies in a class folder: the first folder that is not of a part,
    and that not all of them are in.
    """
    folders = {path: names for path in paths if (names := parts.class_folders(path))}
    depth = 0
    while folders and len({tuple(names[: depth + 1]) for names in folders.values()}) == 1:
        if any(len(names) < depth + 2 for names in folders.values()):
            break
        depth += 1
    if depth:
        above = "/".join(next(iter(folders.values()))[:depth])
        log.info("%s: the classes are the folders in %s.", root, above)
    return {path: names[depth] for path, names in folders.items()}


def _found(lists: ActionLists, root: Path, alone: Callable[[str], str]) -> ActionLists:
    """The lists with the paths at which the videos are.

    Raises:
        UserError: some are not there.
    """
    missing: list[Labelled] = []

    def located(videos: Sequence[Labelled]) -> tuple[Labelled, ...]:
        found = []
        for video in videos:
            name = next((p for p in (video.path, alone(video.path)) if (root / p).is_file()), None)
            if name is None:
                missing.append(video)
            else:
                found.append(Labelled(name, video.label, video.line))
        return tuple(found)

    made = ActionLists(lists.classes, located(lists.train), located(lists.test))
    if missing:
        total = len(lists.train) + len(lists.test)
        names = ", ".join(f"{video.path} ({video.line})" for video in missing[:_SHOWN])
        raise UserError(
            f"{len(missing)} of {total} listed videos are not in {root}: {names}"
            f"{', …' if len(missing) > _SHOWN else ''}; set data.root to the folder of the videos."
        )
    return made


def _lines(file: Path) -> list[tuple[str, str]]:
    """Non-empty lines of a file, each with `file:number`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The list {file} cannot be read: {error}.") from error
    lines = enumerate(text.splitlines(), 1)
    kept = [(f"{file}:{n}", re.sub(r"\s+", " ", line).strip()) for n, line in lines if line.strip()]
    if not kept:
        raise UserError(f"The list {file} is empty.")
    return kept


def _check_split(split: int) -> None:
    if split not in (1, 2, 3):
        raise UserError(f"data.split={split}: there are splits 1, 2 and 3.")
