"""Which videos of an action data set are for training and which for testing, and what they show."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from selfsup_motion.data.reading.listed_files import Listing, missing
from selfsup_motion.data.reading.listing import find_files, split_by_name
from selfsup_motion.data.reading.lists import (
    class_names,
    label_behind,
    last_column,
    read_lines,
    split_path,
    unquoted,
    warn_repeated,
    without_comment,
)
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.sources.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown
from selfsup_motion.text.wording import counted

log = logging.getLogger(__name__)

Part = Literal["train", "test"]


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
    if not index_file.is_file():
        raise _no_lists(lists, index_file.name)
    numbers: dict[str, int] = {}
    for line in read_lines(index_file):
        match = re.fullmatch(r"(\d+)[ \t]*[,;:]?[ \t]*(.+)", without_comment(line.text))
        if match is None:
            raise line.refused("a number and a class")
        number, action = int(match[1]), unquoted(match[2])
        if number != len(numbers) + 1 or action in numbers:
            raise UserError(
                f"{line.place}: class {action} has number {number}, expected "
                f"{len(numbers) + 1}: classes are numbered from 1 without gaps or repetitions."
            )
        numbers[action] = len(numbers)

    def part(name: str) -> list[Labelled]:
        videos = []
        for line in read_lines(lists / name):
            path, rest = split_path(line.text, VIDEO_EXTENSIONS) or (line.text, "")
            given = label_behind(rest, line, "a path, or a path and the number of its class")
            folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
            action = folders[-1] if folders else ""
            if action not in numbers:
                raise UserError(
                    f"{line.place}: {shown(line.text)!r} names no class of {index_file}."
                )
            if given not in ("", action) and given.lstrip("0") != str(numbers[action] + 1):
                raise UserError(
                    f"{line.place}: {action} has label {given}, {index_file} says "
                    f"{numbers[action] + 1}."
                )
            videos.append(Labelled(path, numbers[action], line.place))
        return videos

    train, test = part(f"trainlist{split:02d}.txt"), part(f"testlist{split:02d}.txt")
    return _found(tuple(numbers), train, test, root)


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
        raise _no_lists(lists, f"<class>{ending}")
    classes = tuple(file.name.removesuffix(ending) for file in files)
    parts: dict[str, list[Labelled]] = {"0": [], "1": [], "2": []}
    for label, file in enumerate(files):
        for line in read_lines(file):
            path, rest = split_path(line.text, VIDEO_EXTENSIONS) or last_column(line.text)
            use = label_behind(rest, line, "a file and 0, 1 or 2")
            if use not in parts or not path:
                raise line.refused("a file and 0, 1 or 2")
            name = path.replace("\\", "/").removeprefix(f"{classes[label]}/")
            parts[use].append(Labelled(f"{classes[label]}/{name}", label, line.place))
    return _found(classes, parts["1"], parts["2"], root)


def _no_lists(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder}: has no {name}. Set data.lists to the folder of the official lists, or take the "
        "folders' names for classes: task=video_folder (task=video_folder_finetune)."
    )


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
    classes = class_names(sorted(used["train"] | used["test"]))[0]
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


def _found(
    classes: tuple[str, ...], train: Sequence[Labelled], test: Sequence[Labelled], root: Path
) -> ActionLists:
    """The lists with the paths at which the videos are: as listed, in a folder of their class, or
    directly in `root`. A video that is listed twice counts once.

    Raises:
        UserError: some are not there.
    """
    listing = Listing(root)
    absent: list[tuple[str, str]] = []
    repeated: list[tuple[str, str]] = []

    def located(videos: Sequence[Labelled]) -> dict[str, Labelled]:
        found: dict[str, Labelled] = {}
        for video in videos:
            parts = PurePosixPath(video.path.replace("\\", "/")).parts
            places = (video.path, "/".join(parts[-2:]), parts[-1])
            path = next((there for p in places if (there := listing.find(p)) is not None), None)
            if path is None:
                absent.append((video.path, video.line))
            elif path in found:
                repeated.append((path, video.line))
            else:
                found[path] = replace(video, path=path)
        return found

    trained, tested = located(train), located(test)
    total = len(train) + len(test)
    if absent:
        told, _ = missing(listing, absent, total, "video")
        raise UserError(f"{told}; set data.root to the folder of the videos, or correct the list.")
    warn_repeated(f"The lists of {root}", total, repeated)
    both = [path for path in tested if path in trained]
    if both:
        log.warning(
            "%d of %d videos to test on are trained on as well (%s at %s%s).",
            len(both), len(tested), shown(both[0]), tested[both[0]].line,
            ", …" if len(both) > 1 else "",
        )  # fmt: skip
    return ActionLists(classes, tuple(trained.values()), tuple(tested.values()))


def _check_split(split: int) -> None:
    if split not in (1, 2, 3):
        raise UserError(f"data.split={split}: there are splits 1, 2 and 3.")
