"""Commands that do without the page what was done on it, to be pasted into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

_PLAIN = re.compile(r"[\w./-]+", re.ASCII)


def command_line(verb: str, settings: Mapping[str, object]) -> str:
    """`python -m selfsup_motion.<verb> key=value …`.

    Args:
        verb: "annotate", ….
        settings: by key; None becomes null. Texts may hold anything that a file name can.
    """
    words = [f"{key}={_value(value)}" for key, value in settings.items()]
    return f"python -m selfsup_motion.{verb} {shlex.join(words)}"


def _value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    # quotes of Hydra's, inside which only quotes and what stands before them are escaped
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'
