"""The valid name that was meant."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` most probably stands for, None if nothing is close."""
    valid = list(valid)
    return next(iter(difflib.get_close_matches(name, valid, n=1, cutoff=0.6)), None)
