"""Names of files as they are shown and read again."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfsup_motion.text.names import register_handler, shown, unescaped

NAMES = st.binary(min_size=1).filter(lambda name: b"\0" not in name).map(os.fsdecode)


@given(NAMES, st.sampled_from(["", ' ,;\t"#']))
@example("a\\\n", "")
@example("\\\\xe9\\", "")
@example("\\ ", " ")
@example("C:\\new\\x41", "")
def test_a_shown_name_is_one_line_of_utf8_and_gives_the_name_back(name: str, also: str) -> None:
    text = shown(name, also)
    text.encode()
    assert text.isprintable()
    assert not set(text) & set(also)
    assert os.fsencode(unescaped(text)) == os.fsencode(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vidéo (1) = 50 % ~ [x].mp4", "vidéo (1) = 50 % ~ [x].mp4"),
        (os.fsdecode(b"caf\xe9.mp4"), "caf\\xe9.mp4"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("a\\b.mp4", "a\\b.mp4"),
        ("a\\n.mp4", "a\\\\n.mp4"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_only_what_cannot_be_printed_is_escaped(name: str, text: str) -> None:
    assert shown(name) == text


def test_a_stream_writes_any_name() -> None:
    handler = register_handler()
    name = os.fsdecode("é\n".encode() + b"\xe9")
    for encoding, expected in [("utf-8", "é\n\\xe9"), ("ascii", "\\xe9\n\\xe9")]:
        stream = io.TextIOWrapper(io.BytesIO(), encoding, handler)
        stream.write(name)
        stream.flush()
        assert stream.buffer.getvalue().decode() == expected
