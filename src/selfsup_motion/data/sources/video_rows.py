"""The entries of a list of videos: a path in each line, or a csv with a header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsup_motion.data.reading.lists import (
    Line,
    header_of,
    label_behind,
    last_column,
    read_lines,
    rows_below,
    split_path,
)
from selfsup_motion.data.reading.parts import part_named

_PATH = (
    "path", "file_path", "filepath", "video_path", "clip_path", "file", "filename", "file_name",
    "video", "video_name", "clip", "clip_name", "name",
)  # fmt: skip
_ID = ("youtube_id", "youtubeid", "yt_id", "ytid", "video_id")
_LABEL = (
    "label", "class", "action", "category", "class_name", "action_name", "label_name", "label_id",
    "class_id", "action_id", "target",
)  # fmt: skip
_START = ("time_start", "start_time", "start", "start_seconds")
_END = ("time_end", "end_time", "end", "end_seconds")
_SPLIT = ("split", "subset", "partition", "set")
"""What columns are called in headers, the likeliest first."""


@dataclass(frozen=True)
class Row:
    """An entry: either the `path` of a file or the id of a `video`."""

    place: str
    """Where it stands."""
    path: str = ""
    video: str = ""
    label: str = ""
    split: str = ""
    start: float = -np.inf
    end: float = np.inf


def read_rows(file: Path, extensions: Sequence[str], is_there: Callable[[str], bool]) -> list[Row]:
    """Read a list of videos.

    With a header, in any case and order: `youtube_id` or `path`, and `label`, `time_start`,
    `time_end` and `split` if they are there; columns are separated by commas, semicolons, tabs or
    blanks. Without one, `path` or `path label` in each line; paths end in a known extension, so
    that they and the labels may have blanks.

    Args:
        file: the list.
        extensions: of videos, lower-case, with the dot.
        is_there: whether a path names a file.

    Raises:
        UserError: the list cannot be read or is empty, or a line cannot be meant.
    """

    def is_entry(text: str) -> bool:
        parts = split_path(text, extensions, is_there)
        return parts is not None and is_there(parts[0])

    lines = read_lines(file, is_entry)
    columns, separator = header_of(lines[0].text)
    if not _is_header(columns) or split_path(lines[0].text, extensions) or is_there(lines[0].text):
        return [_plain(line, extensions, is_there) for line in lines]
    if separator == " " and columns[0] in _PATH and len(columns) <= 2:
        return [_plain(line, extensions, is_there) for line in lines[1:]]
    made = _Official(columns, tuple(extensions))
    return [made(*row) for row in rows_below(file, lines[0], separator, is_entry)]


def split_name(name: str) -> str:
    """One name for what is called differently in the lists of 400, 600 and 700 classes."""
    part = part_named(name)
    return name if part is None else "validate" if part == "val" else part


def _is_header(columns: Sequence[str]) -> bool:
    return any(column in (*_PATH, *_ID) for column in columns)


class _Official:
    """Makes entries of the rows of a csv.

    Args:
        columns: what its header calls them.
        extensions: of videos, lower-case.
    """

    def __init__(self, columns: Sequence[str], extensions: tuple[str, ...]) -> None:
        self._extensions = extensions
        kinds = {
            "path": _PATH, "video": _ID, "label": _LABEL, "start": _START, "end": _END,
            "split": _SPLIT,
        }  # fmt: skip
        self._place = {
            kind: next((columns.index(name) for name in names if name in columns), None)
            for kind, names in kinds.items()
        }

    def __call__(self, line: Line, values: Sequence[str]) -> Row:
        given = {k: "" if place is None else values[place] for k, place in self._place.items()}
        path, video = given["path"], given["video"]
        if video.lower().endswith(self._extensions):
            path, video = path or video, ""
        if not path and not video:
            raise line.refused("the name of a video")
        try:
            start = float(given["start"] or -np.inf)
            end = float(given["end"] or np.inf)
        except ValueError:
            raise line.refused("seconds in the columns time_start and time_end") from None
        return Row(
            line.place,
            path="" if video else path,
            video=video,
            label=given["label"],
            split=split_name(given["split"]) if given["split"] else "",
            start=start,
            end=end,
        )


def _plain(line: Line, extensions: Sequence[str], is_there: Callable[[str], bool]) -> Row:
    parts = split_path(line.text, extensions, is_there)
    if parts is not None:
        label = label_behind(parts[1], line, "a path, or a path and its label in double quotes")
        return Row(line.place, path=parts[0], label=label)
    for path, label in ((line.text, ""), last_column(line.text)):
        if path and is_there(path):  # whatever its extension
            return Row(line.place, path=path, label=label)
    raise line.refused(f"a path that ends in {', '.join(extensions)} (data.extensions)")
