"""Options of a command that composes no config: the same `key=value`, without Hydra's seconds."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import readable, split
from selfsup_motion.settings.check import describe, matches, value_text
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.nearest import nearest_name

Options = TypeVar("Options")


def read_options(
    kind: type[Options],
    arguments: Sequence[str],
    first: str,
    meant: Mapping[str, str] | None = None,
) -> Options:
    """The command line as an object.

    Args:
        kind: a dataclass, whose fields are the keys with their types and defaults.
        arguments: of the command line, after the program's name.
        first: see `readable`.
        meant: other words for keys, from other programs.

    Raises:
        UserError: an argument that cannot be read, a key that is not there, a value of another
            type.
    """
    flags, _ = split(arguments)
    if flags:
        raise UserError(f"{flags[0]}: this command has no flags but --help.")
    types = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    parser = OverridesParser.create()
    values: dict[str, Any] = {}
    for text in readable(arguments, first):
        override = parser.parse_override(text)
        key = override.key_or_group
        if key not in names:
            guess = (meant or {}).get(key) or nearest_name(key, names)
            hint = f"did you mean {guess}?" if guess else f"there are {', '.join(names)}."
            raise UserError(f"Unknown key {key}: {hint}")
        if override.is_delete() or override.is_add() or override.is_sweep_override():
            raise UserError(f"{text}: write {key}=<value>.")
        value = _plain(override.value())
        if matches([value], types[key]) and not matches(value, types[key]):
            value = [value]
        if not matches(value, types[key]):
            raise UserError(f"{key}={value_text(value)}: expected {describe(types[key])}.")
        values[key] = value
    return kind(**values)


def help_text(command: str) -> str:
    """The help of a command: the same file that Hydra prints it from."""
    file = config_dir() / "hydra" / "help" / f"{command}.yaml"
    parts = yaml.safe_load(file.read_text(encoding="utf-8"))
    text = str(parts["template"])
    for name in ("header", "footer"):
        text = text.replace(f"${{hydra.help.{name}}}", str(parts[name]))
    return text.strip()


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
