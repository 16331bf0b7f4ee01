"""Numbers of things in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Write "1 video", "2 videos", "3 folders of frames".

    Args:
        number: of things.
        noun: in the singular; its first word takes the s.
    """
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Write "videos", "folders of frames"."""
    first, space, rest = noun.partition(" ")
    return f"{first}s{space}{rest}"
