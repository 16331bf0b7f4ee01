"""The frames of a folder: which files they are, and in which order they were taken."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from selfsup_motion.data.reading.pictures import IMAGE_EXTENSIONS
from selfsup_motion.errors import ClipReadError
from selfsup_motion.text.names import shown

Key = tuple[str | int | Decimal, ...]
"""Text and numbers of a name in turn, beginning and ending with text. The text is without
separators and case."""

_SIGN = r"(?:(?<![^_=(])-)?"  # elsewhere a hyphen is a separator
_FRACTION = r"(?<!\d)(?<!\d\.)\d+\.\d+(?!\.?\d)"  # not part of a date or a version
_INTEGERS = re.compile(rf"({_SIGN}\d+)")
_DECIMALS = re.compile(rf"({_SIGN}(?:{_FRACTION}|\d+))")
_PARTS_OF_FRACTION = re.compile(r"([^\W\d_]?)" + _FRACTION.replace(r"\d+", r"(\d+)"))
_LAST = re.compile(r"(?:^|.*[\W_])(\d+)", re.DOTALL)
_SEPARATORS = re.compile(r"[\W_]+")


def is_frame(name: str) -> bool:
    """Whether a file's name is that of a visible image."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_EXTENSIONS)


def list_frames(folder: Path, key: str, leave_out: Collection[Path] = ()) -> list[str]:
    """The frames directly in a folder, in order (see `in_order`).

    Args:
        folder: holds images; nothing else that lies there is a frame.
        key: what the folder is called in messages.
        leave_out: images that are no frames, such as a mask; they may lie elsewhere.

    Raises:
        ClipReadError: the folder cannot be listed, has no images, or their order is unknown.
    """
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if is_frame(entry.name) and not entry.is_dir()}
    except OSError as error:
        raise ClipReadError(
            f"{key} cannot be listed: {error.strerror}.", file=key, reason="missing"
        ) from error
    names -= {path.name for path in leave_out if _lies_in(path, folder)}
    if not names:
        raise ClipReadError(f"{key} holds no images.", file=key, reason="empty")
    return in_order(names, key)


def in_order(names: Collection[str], key: str) -> list[str]:
    """Order the frames of a video by the numbers in their names.

    `frame_2` comes before `frame_10`, `clip_9999` before `clip_10000`. Of several numbers the first
    counts most: `v2_frame1`, `v2_frame12`, `v10_frame1`. Case and separators (`-`, `_`, blanks, …)
    do not count. Names that begin differently are compared by their numbers as well; if they do not
    even have equally many, by the number at their end. A point between digits is a decimal point
    (`1.25`, `1.5`) or separates two numbers (`1.9`, `1.10`), whichever the names show. Names
    without any number are ordered as text.

    Args:
        names: files of one folder, at least one.
        key: what the folder is called in messages.

    Raises:
        ClipReadError: two images have the same name (but for the extension) or the same number,
            only some have a number, or the names follow no common pattern.
    """
    ordered = sorted(names)
    stems = {name: os.path.splitext(name)[0] for name in ordered}
    if _are_padded(list(stems.values())):
        return ordered
    _check_stems(stems, key)
    readings = [_read(stems, pattern) for pattern in (_INTEGERS, _DECIMALS)]
    orders = [names for names, problem in readings if not problem]
    if not orders:
        raise _unknown(key, readings[0][1])
    if orders[0] == orders[-1]:
        return orders[0]
    fractions = _are_fractions(list(stems.values()))
    if fractions is None:
        a, b = next(pair for pair in zip(*orders, strict=True) if pair[0] != pair[1])
        raise _unknown(key, f"{shown(a)} and {shown(b)} have decimal fractions or two numbers each")
    return orders[fractions]


def _lies_in(path: Path, folder: Path) -> bool:
    try:
        return os.path.samefile(path.parent, folder)
    except OSError:
        return False


def _unknown(key: str, problem: str) -> ClipReadError:
    return ClipReadError(
        f"{key}: the order of the frames is unclear: {problem}. Rename the frames, or move "
        "files that are not frames to another folder.",
        file=key,
        reason="unknown order",
    )


def _are_padded(stems: Sequence[str]) -> bool:
    """Whether sorted names are of one length and differ in nothing but digits at their end: most
    folders, of thousands of frames, are done with that."""
    length = len(stems[0])
    pairs = enumerate(zip(stems[0], stems[-1], strict=False))
    start = next((place for place, (a, b) in pairs if a != b), length)
    return (
        all(len(stem) == length and stem[start:].isdecimal() for stem in stems)
        and all(a != b for a, b in pairwise(stems))
        and "-" not in stems[0]
        and stems[0].isascii()
    )


def _check_stems(stems: Mapping[str, str], key: str) -> None:
    seen: dict[str, str] = {}
    for name, stem in stems.items():
        if stem in seen:
            raise ClipReadError(
                f"{key} has {shown(seen[stem])} and {shown(name)}, and only one of them can be the "
                "frame: move masks, or other files that are not frames, to another folder.",
                file=key,
                reason="two images of one name",
            )
        seen[stem] = name


def _read(stems: Mapping[str, str], pattern: re.Pattern[str]) -> tuple[list[str], str]:
    """The names in order, and what is wrong with that order."""
    keys = {name: _key(stem, pattern) for name, stem in stems.items()}
    if all(len(key) == 1 for key in keys.values()):
        return sorted(keys, key=lambda name: (name.casefold(), name)), ""
    order = sorted(keys, key=keys.__getitem__)
    if not all(_numbers_decide(keys[a], keys[b]) for a, b in pairwise(order)):
        without = [name for name, key in keys.items() if len(key) == 1]
        if without:
            return [], f"{shown(without[0])} has no number, unlike {shown(_other(order, without))}"
        if len({(len(key), key[2:-2:2]) for key in keys.values()}) == 1:
            keys = {name: key[1::2] for name, key in keys.items()}
        else:
            last = {name: _LAST.fullmatch(stem) for name, stem in stems.items()}
            if not all(last.values()):
                a, b = next(
                    (a, b) for a, b in pairwise(order) if not _numbers_decide(keys[a], keys[b])
                )
                return [], f"{shown(a)} and {shown(b)} follow no common pattern"
            keys = {name: (int(match[1]),) for name, match in last.items() if match}
        order = sorted(keys, key=keys.__getitem__)
    for a, b in pairwise(order):
        if keys[a] == keys[b]:
            return [], f"{shown(a)} and {shown(b)} have the same number"
    return order, ""


def _other(names: Sequence[str], than: Collection[str]) -> str:
    return next(name for name in names if name not in than)


def _key(stem: str, pattern: re.Pattern[str]) -> Key:
    return tuple(
        _number(part) if place % 2 else _SEPARATORS.sub("", part).casefold()
        for place, part in enumerate(pattern.split(stem))
    )


def _number(text: str) -> int | Decimal:
    return Decimal(text) if "." in text else int(text)


def _numbers_decide(a: Key, b: Key) -> bool:
    """Whether it is a number by which two names differ first, or one that only one of them has."""
    for place, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return place % 2 == 1
    return True


def _are_fractions(stems: Sequence[str]) -> bool | None:
    """Whether numbers with a point are decimal fractions, where that changes their order; None:
    both is possible."""
    found = [_PARTS_OF_FRACTION.search(stem) for stem in stems]
    parts = [match.groups() for match in found if match]
    before, after = {(letter, whole) for letter, whole, _ in parts}, [part for *_, part in parts]
    if len(parts) < len(stems) or any(part[0] == "0" and len(part) > 1 for part in after):
        return True  # 1, 1.5 or 1.05
    (letter, whole) = next(iter(before))
    if len(before) == 1 and (letter or int(whole) == 0):
        return not letter  # mp4.3, or 0.25
    return None
