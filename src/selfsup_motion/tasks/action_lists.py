"""Which videos of an action data set are for training and which for testing, and what they show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfsup_motion.data.files import find_files, split_by_name
from selfsup_motion.data.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import UserError

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


def folder_lists(root: Path, test_share: float) -> ActionLists:
    """Any folder of class folders: `train/class/x.mp4` and `test/class/x.mp4`, or `class/x.mp4`.

    Args:
        root: the folder.
        test_share: expected share of the test videos, chosen in each class by a hash of the paths,
            where there are no folders `train` and `test`. The only video of a class is trained on.

    Raises:
        UserError: no videos, fewer than two classes, a class of one part that the other lacks.
    """
    if not 0 < test_share < 1:
        raise UserError(f"data.test_share={test_share}: expected a share between 0 and 1.")
    paths = find_files(root, VIDEO_EXTENSIONS, "videos")
    divided = (root / "train").is_dir() and (root / "test").is_dir()
    by_part: dict[Part, dict[str, list[str]]] = {"train": {}, "test": {}}
    for path in paths:
        folders = path.split("/")[:-1]
        if divided:
            if folders[:1] in (["train"], ["test"]) and len(folders) > 1:
                part: Part = "train" if folders[0] == "train" else "test"
                by_part[part].setdefault(folders[1], []).append(path)
        elif folders:
            by_part["train"].setdefault(folders[0], []).append(path)
    if not divided:
        for action, videos in by_part["train"].items():
            if len(videos) > 1:
                train, test = split_by_name(videos, test_share)
                by_part["train"][action] = train
                by_part["test"][action] = test
    classes = tuple(sorted({c for part in by_part.values() for c, v in part.items() if v}))
    if len(classes) < 2:
        raise UserError(
            f"{root}: expected a folder of videos per class, at least two of them, found "
            f"{', '.join(classes) or 'none'}."
        )
    for action in classes:
        if not by_part["train"].get(action):
            raise UserError(f"{root}: class {action} has videos to test on and none to train on.")
    made = {
        part: tuple(
            Labelled(path, classes.index(action), action)
            for action in classes
            for path in videos.get(action, [])
        )
        for part, videos in by_part.items()
    }
    if not made["test"]:
        raise UserError(f"{root}: no videos to test on; raise data.test_share.")
    return ActionLists(classes, made["train"], made["test"])


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
