"""Lists as people and tools write them: what all readers of lists share."""

from __future__ import annotations

import codecs
import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from selfsup_motion.errors import UserError
from selfsup_motion.text.names import shown

log = logging.getLogger(__name__)

BLANKS = " \t\v\f"
"""What surrounds an entry; no-break spaces and the like belong to a name."""
_BOM = "\ufeff"
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_COMMENT = re.compile(r"[ \t]+#(?:[ \t].*)?$")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_SHOWN = 100
"""Characters of a line that a message repeats."""
_TOLD = 3
"""Entries that a message names."""


@dataclass(frozen=True)
class Line:
    """An entry of a list.

    Attributes:
        place: where it stands, `lists/train.txt:12`.
        text: without the blanks around it.
    """

    place: str
    text: str

    def refused(self, expected: str) -> UserError:
        """The error that says what was expected here."""
        text = shown(self.text)
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return UserError(f"{self.place}: expected {expected}, got {text!r}.")


def read_list(file: Path, what: str = "list") -> bytes:
    r"""The text of a file (see `checked`), its line breaks as `\n`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"The {what} {file} cannot be read: {error.strerror}.") from error
    data = checked(data, f"The {what} {file}")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def read_text(file: Path, what: str = "list") -> str:
    """The same, decoded: bytes that are not UTF-8 are kept as in names of files."""
    return read_list(file, what).decode("utf-8", "surrogateescape")


def checked(data: bytes, name: str) -> bytes:
    """The text of a file in UTF-8, without its byte-order mark.

    Args:
        data: the file's content.
        name: of the file, for messages.

    Raises:
        UserError: it is UTF-16, UTF-32 or no text.
    """
    kind = next((kind for mark, kind in _WIDE.items() if data.startswith(mark)), None)
    if kind is None and b"\0" in data:
        kind = "not text, or UTF-16"
    if kind is not None:
        raise UserError(f"{name} is {kind}: save it as UTF-8.")
    return data.removeprefix(codecs.BOM_UTF8)


def parsed_json(data: bytes, name: str, *, unique: bool = True) -> Any:
    """The content of a JSON file that somebody else wrote.

    Args:
        data: the file's content.
        name: of the file, for messages.
        unique: refuse a name that occurs twice in a mapping, of which one would be lost without a
            word; takes time in large files.

    Raises:
        UserError: it is not JSON, or not UTF-8.
    """
    text = checked(data, name)
    try:
        return json.loads(text, object_pairs_hook=_without_repetition if unique else None)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not a JSON file in UTF-8 ({error}).") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice")
    return content


def read_lines(file: Path, is_entry: Callable[[str], bool] = lambda text: False) -> list[Line]:
    """The entries of a list; blank lines and comments (`# …`) are none.

    Args:
        file: the list.
        is_entry: tells of a line that begins with # whether it is one nevertheless.

    Raises:
        UserError: the list cannot be read or has no entries.
    """
    lines = [
        Line(f"{file}:{number}", text)
        for number, line in enumerate(read_text(file).split("\n"), 1)
        if (text := line.removeprefix(_BOM).strip(BLANKS))
        and (not text.startswith("#") or is_entry(text))
    ]
    if not lines:
        raise UserError(f"The list {file} is empty.")
    return lines


def without_comment(text: str) -> str:
    """What stands before ` # …`."""
    return _COMMENT.sub("", text)


def split_path(
    text: str, extensions: Sequence[str], is_there: Callable[[str], bool] = lambda path: False
) -> tuple[str, str] | None:
    """Split a line behind its path, which ends in a known extension and may have blanks.

    Args:
        text: `path`, or path and more behind a blank, tab, comma or semicolon; the path may be in
            double quotes.
        extensions: lower-case, with the dot.
        is_there: chooses among several such places.

    Returns:
        The path, and what follows it, beginning with what separates them; None: there is no path.
    """
    if quoted := re.match(r'"((?:[^"]|"")*)"(?=$|[ \t,;])', text):
        path = quoted[1].replace('""', '"')
        known = path.lower().endswith(tuple(extensions)) or is_there(path)
        return (path, text[quoted.end() :]) if known else None
    places = [match.end() for match in _behind(tuple(extensions)).finditer(text)]
    if not places:
        return None
    longest_first = reversed(places)
    end = next((p for p in longest_first if len(places) > 1 and is_there(text[:p])), places[0])
    return text[:end], text[end:]


@cache
def _behind(extensions: tuple[str, ...]) -> re.Pattern[str]:
    ends = "|".join(re.escape(extension) for extension in extensions)
    return re.compile(rf"(?:{ends})(?=$|[ \t,;])", re.IGNORECASE)


def last_column(text: str) -> tuple[str, str]:
    """What stands before and behind the last comma, semicolon, tab or blank; ("", text) if there
    is none."""
    match = re.fullmatch(r"(.*?)(?:[ \t]*[,;][ \t]*|[ \t]+)([^ \t,;]+)[ \t]*[,;]?", text, re.DOTALL)
    return (unquoted(match[1]), unquoted(match[2])) if match else ("", text)


def label_behind(text: str, line: Line, expected: str) -> str:
    """The label that follows a path (see `split_path`), "" if there is none.

    Raises:
        UserError: several columns follow.
    """
    rest = without_comment(text).strip(BLANKS)
    separator = rest[:1] if rest[:1] in tuple(",;") else "\t" if "\t" in text else ""
    rest = rest.strip(BLANKS + separator)
    if label := re.fullmatch(r'"((?:[^"]|"")*)"', rest):
        return label[1].replace('""', '"').strip(BLANKS)
    if separator and separator in rest:
        raise line.refused(expected)
    return rest


def columns_of(text: str) -> list[str]:
    """The columns of a line, separated by commas, semicolons, tabs or blanks; each may be in double
    quotes."""
    found = []
    rest = text.strip(BLANKS)
    while rest:
        if quoted := re.match(r'"((?:[^"]|"")*)"(?=$|[ \t,;])', rest):
            found.append(quoted[1].replace('""', '"'))
            end = quoted.end()
        else:
            found.append(re.split(r"[ \t,;]", rest, maxsplit=1)[0])
            end = len(found[-1])
        rest = re.sub(r"^[ \t]*[,;]?[ \t]*", "", rest[end:])
    return found


def unquoted(text: str) -> str:
    """A field without the double quotes around it."""
    text = text.strip(BLANKS)
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def column_name(text: str) -> str:
    """A name in a header, whatever its case and separators: "YouTube ID" is youtube_id."""
    return re.sub(r"[^a-z0-9]+", "_", text.strip(BLANKS + _BOM).casefold()).strip("_")


def header_of(text: str) -> tuple[list[str], str]:
    """The columns that a line would name if it were a header, and what separates them."""
    separator = next((s for s in "\t;," if s in text), " ")
    if separator == " ":
        return [column_name(field) for field in text.split()], separator
    fields = next(csv.reader([text], delimiter=separator, skipinitialspace=True))
    return [column_name(field) for field in fields], separator


def rows_below(
    file: Path,
    header: Line,
    separator: str,
    is_entry: Callable[[str], bool] = lambda text: False,
) -> Iterator[tuple[Line, list[str]]]:
    """The fields of each row below a header; fields in double quotes may hold anything.

    Args:
        file: the list.
        header: from `read_lines`.
        separator: of the header's columns, see `header_of`.
        is_entry: see `read_lines`.

    Raises:
        UserError: a row has another number of fields than the header.
    """
    lines = read_text(file).split("\n")
    skipped = int(header.place.rpartition(":")[2]) - 1
    if separator == " ":
        fields = ((n, line.split()) for n, line in enumerate(lines[skipped:], 1))
    else:
        reader = csv.reader(
            (f"{line}\n" for line in lines[skipped:]), delimiter=separator, skipinitialspace=True
        )
        fields = ((reader.line_num, row) for row in reader)
    expected = 0
    for number, row in fields:
        values = [field.strip(BLANKS + _BOM) for field in row]
        line = Line(f"{file}:{number + skipped}", separator.join(row).strip())
        if not any(values) or (line.text.startswith("#") and not is_entry(line.text)):
            continue
        if not expected:
            expected = len(values)
            continue
        if len(values) != expected:
            raise line.refused(f"{expected} columns as in the header")
        yield line, values


def class_names(labels: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The classes that labels name, in order: by number if all are whole numbers, else as text.

    Returns:
        Their names, and the index of each label's class.
    """
    given = {*labels} - {""}
    if all(map(_NUMBER.fullmatch, given)):
        numbers = sorted({int(label) for label in given})
        place = {number: index for index, number in enumerate(numbers)}
        return tuple(map(str, numbers)), {label: place[int(label)] for label in given}
    names = tuple(sorted(given))
    return names, {name: index for index, name in enumerate(names)}


def warn_repeated(where: str, total: int, repeated: Sequence[tuple[str, str]]) -> None:
    """Say which entries are listed more than once.

    Args:
        where: the list.
        total: number of its entries.
        repeated: (entry, place) of each time after the first.
    """
    if repeated:
        names = ", ".join(f"{shown(name)} ({place})" for name, place in repeated[:_TOLD])
        log.warning(
            "%s: %d of %d entries repeat others and are counted once: %s%s.",
            where, len(repeated), total, names, ", …" if len(repeated) > _TOLD else "",
        )  # fmt: skip
