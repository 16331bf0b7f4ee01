"""Names of files, whatever bytes they are made of: as text that can be shown and read again, and as
FFmpeg takes them."""

from __future__ import annotations

import codecs
import os
import re

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([\\nrt]))")
_LETTERS = {"\n": "n", "\r": "r", "\t": "t"}
_FROM_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_BEGINS_ESCAPE = frozenset("\\nrtxuU")
_BYTES = range(0xDC80, 0xDD00)
"""What Python decodes bytes to that are not UTF-8 (PEP 383)."""

HANDLER = "selfsup_motion.shown"
"""Error handler of streams after `register_handler`: writes what cannot be encoded as `shown`."""


def shown(name: str | os.PathLike[str], also: str = "") -> str:
    r"""A name for messages, logs and lists: one line of valid UTF-8, which `unescaped` reads.

    Bytes that are not UTF-8 become `\xe9`, line breaks `\n`, other characters that cannot be
    printed `\x1b` or `\u200b`. Other names stay as they are; a backslash is doubled where it would
    read as one of these.

    Args:
        name: of a file or folder.
        also: ASCII characters to be written as `\x20` as well: those that separate columns.
    """
    text = os.fspath(name)
    if text.isprintable() and "\\" not in text and not any(c in text for c in also):
        return text
    parts = []
    for place, character in enumerate(text):
        following = text[place + 1 : place + 2]
        if character == "\\":
            ambiguous = following in _BEGINS_ESCAPE or _escape(following, also) != following
            parts.append("\\\\" if following and ambiguous else "\\")
        else:
            parts.append(_escape(character, also))
    return "".join(parts)


def unescaped(text: str) -> str:
    """The name that `shown` made this of."""
    return _ESCAPE.sub(_character, text)


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """A path for FFmpeg, which would take what stands before a colon for a protocol."""
    return f"file:{os.fspath(path)}"


def register_handler() -> str:
    """Make `HANDLER` known to Python's codecs; returns its name."""
    codecs.register_error(HANDLER, _replace)
    return HANDLER


def _escape(character: str, also: str) -> str:
    if not character:
        return ""
    code = ord(character)
    if character in also:
        return f"\\x{code:02x}"
    if character.isprintable():
        return character
    if character in _LETTERS:
        return "\\" + _LETTERS[character]
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _character(match: re.Match[str]) -> str:
    byte, short, long, letter = match.groups()
    if letter:
        return _FROM_LETTERS[letter]
    if byte:
        code = int(byte, 16)
        return chr(code if code < 0x80 else 0xDC00 + code)
    code = int(short or long, 16)
    return chr(code) if code < 0x110000 else match.group()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = []
    for character in error.object[error.start : error.end]:
        code = ord(character)
        if code in _BYTES:
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x100:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(parts), error.end
