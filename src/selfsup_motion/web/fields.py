"""Values out of what a page has sent, checked: a wrong one is told by its name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsup_motion.web.refusals import Refusal

_MOST_DEPTH = 12


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object that a request carries; an empty one if it carries nothing.

    Raises:
        Refusal: not JSON, no object, or nested deeper than any of ours.
    """
    if not data:
        return {}
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal("The request is not JSON that can be read.") from error
    if not isinstance(body, dict):
        raise Refusal("The request must be a JSON object.")
    _check_depth(body, _MOST_DEPTH)
    return body


def number(
    body: Mapping[str, Any], name: str, low: float, high: float, default: float | None = None
) -> float:
    """A finite number in a range.

    Args:
        body: of the request.
        name: of the field.
        low: the least allowed.
        high: the most allowed.
        default: where the field is missing; None: it must be there.

    Raises:
        Refusal: missing, no number, or out of range.
    """
    value = body.get(name, default)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not low <= value <= high:
        raise Refusal(f"{name}: expected a number from {low:g} to {high:g}.")
    return float(value)


def whole(
    body: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None
) -> int:
    """As `number`, a whole one."""
    value = number(body, name, low, high, default)
    if value != int(value):
        raise Refusal(f"{name}: expected a whole number from {low} to {high}.")
    return int(value)


def choice(
    body: Mapping[str, Any], name: str, options: Sequence[str], default: str | None = None
) -> str:
    """One of some words.

    Raises:
        Refusal: none of them.
    """
    value = body.get(name, default)
    if not isinstance(value, str) or value not in options:
        raise Refusal(f"{name}: expected one of {', '.join(options)}.")
    return value


def flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    """true or false.

    Raises:
        Refusal: neither.
    """
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(f"{name}: expected true or false.")
    return value


def text(body: Mapping[str, Any], name: str, longest: int = 200, default: str | None = None) -> str:
    """A text of a limited length.

    Raises:
        Refusal: missing, no text, or longer.
    """
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > longest:
        raise Refusal(f"{name}: expected a text of at most {longest} characters.")
    return value


def items(
    body: Mapping[str, Any], name: str, most: int, default: Sequence[Any] | None = None
) -> Sequence[Any]:
    """A list of a limited length, of anything.

    Raises:
        Refusal: missing, no list, or longer.
    """
    value = body.get(name, default)
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise Refusal(f"{name}: expected a list of at most {most}.")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise Refusal("The request is nested too deeply.")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                _check_depth(item, left - 1)
