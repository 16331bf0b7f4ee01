"""What people type on the command line, put the way Hydra reads it.

Flags may stand anywhere, and a value that Hydra's grammar has no place for (`~/videos`,
`photo (1).jpg`, `epoch=3.ckpt`) is a text. What Hydra can read keeps its meaning.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException

from selfsup_motion.errors import UserError

_TAKES_VALUE = {
    "--cfg": "-c",
    "--config-dir": "-cd",
    "--config-name": "-cn",
    "--config-path": "-cp",
    "--experimental-rerun": "",
    "--package": "-p",
}
_TAKES_NONE = {
    "--help": "-h",
    "--hydra-help": "",
    "--multirun": "-m",
    "--resolve": "",
    "--run": "-r",
    "--shell-completion": "-sc",
    "--version": "",
}
_LONG = {short: name for name, short in {**_TAKES_VALUE, **_TAKES_NONE}.items() if short}
_INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
_PRINTED = ("job", "hydra", "all")
_EXCLUSIVE = ("--cfg", "--info", "--multirun", "--run", "--shell-completion")
_CLOSES = {"]": "[", "}": "{", ")": "("}


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags, each one argument (`--cfg=job`), and everything else, lists in one piece.

    Raises:
        UserError: a flag that lacks its value, or that is not one of Hydra's.
    """
    flags, rest = [], []
    waiting = list(_joined(arguments))  # or the -10 of `arrows=[[9, 9, 5, -10]]` looks like a flag
    while waiting:
        text = waiting.pop(0)
        if not text.startswith("-"):
            rest.append(text)
            continue
        name, equals, value = text.partition("=")
        name = _flag(name)
        if name == "--info" and not equals:
            value = waiting.pop(0) if waiting and waiting[0] in _INFO else "all"
        elif name in _TAKES_VALUE and not equals:
            if not waiting or waiting[0].startswith("-"):
                raise UserError(f"{text} needs a value, for example {_example(name)}.")
            value = waiting.pop(0)
        elif name not in (*_TAKES_VALUE, *_TAKES_NONE, "--info"):
            follows = waiting[0] if waiting and _is_bare(waiting[0]) else ""
            raise UserError(_no_flag(text, follows))
        if name == "--cfg" and value not in _PRINTED:
            raise UserError(f"{name} {value}: write --cfg job to print the settings.")
        if name in ("--config-dir", "--config-path"):
            value = os.path.expanduser(value)
        flags.append(f"{name}={value}" if value else name)
    return flags, rest


def readable(arguments: Sequence[str], first: str = "") -> list[str]:
    """The same command line for Hydra: flags first, then overrides that its grammar reads.

    Args:
        arguments: of the command line, after the program's name.
        first: the key that the command wants before all others, as `experiment` of `train`.

    Raises:
        UserError: an argument that is neither a flag nor `key=value`.
    """
    flags, rest = split(arguments)
    names = {flag.partition("=")[0] for flag in flags}
    if len(several := [name for name in _EXCLUSIVE if name in names]) > 1:
        raise UserError(f"{' and '.join(several)} cannot be used together: leave one out.")
    if "--resolve" in names and not names & {"--cfg", "--help"}:
        raise UserError("--resolve goes with --cfg job, which prints the settings.")
    multirun = "--multirun" in names or "hydra.mode=MULTIRUN" in rest
    for number, text in enumerate(rest):
        if _is_bare(text):
            raise UserError(_no_override(rest, number, first))
    return [*flags, *(_mended(text, multirun) for text in rest)]


def folders(flags: Sequence[str]) -> list[Path]:
    """A person's own config folders: of --config-dir, among flags as `split` returns them, and of
    the environment variable SELFSUP_MOTION_CONF.

    Raises:
        UserError: one of them does not exist.
    """
    named = [("--config-dir", flag) for flag in flags if flag.startswith("--config-dir=")]
    named = [(name, flag.partition("=")[2]) for name, flag in named]
    named.append(("SELFSUP_MOTION_CONF", os.environ.get("SELFSUP_MOTION_CONF", "")))
    own = [(name, Path(folder)) for name, folder in named if folder]
    for name, folder in own:
        if not folder.is_dir():
            raise UserError(f"{name}={folder}: there is no such folder.")
    return [folder.resolve() for _, folder in own]


def as_text(key: str, value: str) -> str:
    """The override that sets `key` to this very text, whatever it looks like to Hydra."""
    return f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def typed(override: str) -> str:
    """An override as it is typed into a shell."""
    return shlex.quote(override)


def _flag(name: str) -> str:
    """The long form of a flag that may be short or abbreviated."""
    name = {**_LONG, "-i": "--info"}.get(name, name)
    known = [*_TAKES_VALUE, *_TAKES_NONE, "--info"]
    # not --experiment, by which nobody means --experimental-rerun
    begun = [flag for flag in known if flag.startswith(name) and flag != "--experimental-rerun"]
    return begun[0] if len(begun) == 1 and name not in known and len(name) > 3 else name


def _example(flag: str) -> str:
    return {"--cfg": "--cfg job", "--config-dir": "--config-dir /path/to/conf"}.get(
        flag, f"{flag} <name>"
    )


def _no_flag(text: str, follows: str) -> str:
    from selfsup_motion.settings.groups import groups
    from selfsup_motion.settings.nearest import nearest_name

    name, equals, value = text.partition("=")
    key = name.lstrip("-").replace("-", "_")
    guess = nearest_name(name, [*_TAKES_VALUE, *_TAKES_NONE])
    if guess not in (None, "--experimental-rerun") and key not in groups():
        return f"{name}: there is no such flag, did you mean {guess}?"
    value = value if equals else follows or "<value>"
    given = f"{text} {follows}".rstrip() if not equals else text
    return (
        f"{given}: there is no such flag. Settings have no dashes in front: write "
        f"{typed(f'{key}={value}') if value != '<value>' else f'{key}=<value>'}, see --help."
    )


def _is_bare(text: str) -> bool:
    """Whether an argument is neither a flag nor an override."""
    if text.startswith("-"):
        return False
    deletion = text.startswith("~") and _parsed(text) is not None and len(text) > 1
    return not deletion and (text.startswith("=") or "=" not in text)


def _no_override(overrides: Sequence[str], number: int, first: str) -> str:
    """What to write instead of the argument that is no `key=value`."""
    from selfsup_motion.settings.groups import groups, options
    from selfsup_motion.settings.nearest import nearest_name

    text = overrides[number]
    before = overrides[number - 1] if number else ""
    after = overrides[number + 1] if number + 1 < len(overrides) else ""
    if after.startswith("="):
        value = after[1:] or "".join(overrides[number + 2 : number + 3]) or "<value>"
        return f"Write {typed(f'{text}={value}')}, without spaces around the equals sign."
    if before.endswith("=") and not _is_bare(before):
        return f"Write {typed(before + text)}, without a space behind the equals sign."
    whole = f"{before} {text}"
    if before and Path(whole.partition("=")[2]).exists():
        return f"Put quotes around what has spaces: {typed(whole)}."
    named = [first, *(group for group in groups() if group != first)]
    if text in named and after and _is_bare(after):
        return f"Write {typed(f'{text}={after}')}: settings are key=value."
    for group in named:
        if text in options(group):
            return f"Write {group}={text}: settings are key=value."
    if first not in groups() and _names_file(text):
        return f"Write {typed(f'{first}={text}')}: settings are key=value."
    if guess := nearest_name(text, options(first)):
        return f"Cannot read {text!r}: did you mean {first}={guess}?"
    hint = (
        f"; if it belongs to the argument before it, put both in quotes: {typed(whole)}"
        if before
        else ""
    )
    return f"Cannot read {text!r}: write it as key=value{hint}."


def _joined(arguments: Sequence[str]) -> Iterator[str]:
    """Lists that a shell has cut at their spaces (`points=[[1, 2]]`) in one piece again."""
    waiting = list(arguments)
    while waiting:
        text = waiting.pop(0)
        value = text.partition("=")[2]
        if value.startswith(("[", "{")) and _depth(value) > 0:
            for end in range(1, len(waiting) + 1):
                whole = " ".join([text, *waiting[:end]])
                if _depth(whole.partition("=")[2]) == 0:
                    text, waiting = whole, waiting[end:]
                    break
        yield text


def _mended(text: str, multirun: bool) -> str:
    """An override that Hydra reads."""
    key, _, value = text.partition("=")
    if text.startswith("~"):
        return text
    if not key or _parsed(f"{key}=0") is None:
        raise UserError(f"Cannot read {text!r}: write it as key=value.")
    override = _parsed(text)
    if override is not None:
        if _names_file(value) and _reads_otherwise(override, value, multirun):
            return _quoted(key, value)
        if override.is_sweep_override() and not multirun:
            listed = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
            other = f", {typed(f'{key}=[{value}]')} for a list" if listed else ""
            raise UserError(
                f"{text} holds several values: add --multirun to run once for each, or write "
                f"{typed(as_text(key, value))} for a single text{other}."
            )
        return text
    if not _names_file(value):
        value = value.strip()
        if value.startswith(("[", "{", '"', "'")):
            return _container(key, value)
        if multirun and len(parts := _parts(value)) > 1:
            return f"{key}={','.join(_element(part) for part in parts)}"
    return _quoted(key, value)


def _reads_otherwise(override: Override, value: str, multirun: bool) -> bool:
    """Whether Hydra takes something else for the name of an existing file: the spaces at its ends
    left out, a backslash dropped, what is between commas one by one, `${…}` as a reference."""
    if override.is_sweep_override():
        return not multirun
    read = override._value
    return isinstance(read, str) and ("${" in value or (read != value and not _names_file(read)))


def _container(key: str, value: str) -> str:
    """A list or mapping whose members are texts that Hydra cannot read."""
    mended = f"{key}={_element(value)}"
    if _depth(value) != 0 or value[0] in "\"'" or _parsed(mended) is None:
        what = {"[": "list", "{": "mapping"}.get(value[0], "quoted text")
        raise UserError(
            f"{key}={value} is not a complete {what}. If it is a plain text, write "
            f"{typed(as_text(key, value))}."
        )
    return mended


def _element(value: str) -> str:
    """One element of a list or sweep: as it is, if Hydra reads it, else as a quoted text."""
    value = value.strip()
    if _parsed(f"x={value}") is not None:
        return value
    inner = value[1:-1]
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_element(part) for part in _parts(inner))}]"
    if value.startswith("{") and value.endswith("}"):
        pairs = [part.partition(":") for part in _parts(inner)]
        return f"{{{','.join(f'{name}:{_element(member)}' for name, _, member in pairs)}}}"
    return _quoted("", value)[1:]


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no brackets and in no quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and not parts[-1].rpartition(":")[2].strip(" [{"):
            quote = char
        elif char in _CLOSES.values():
            depth += 1
        elif char in _CLOSES:
            depth -= 1
        elif char == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += char
    return parts


def _depth(text: str) -> int:
    """How many brackets are left open."""
    opened = sum(text.count(char) for char in "[{")
    return opened - sum(text.count(char) for char in "]}")


def _quoted(key: str, value: str) -> str:
    text = value
    if value.startswith("~") and not Path(value).exists():
        text = os.path.expanduser(value)
    if _names_file(value):
        text = text.replace("${", "\\${")  # no reference to another key
    return as_text(key, text)


def _names_file(value: str) -> bool:
    try:
        return bool(value) and Path(os.path.expanduser(value)).exists()
    except (OSError, ValueError):
        return False


def _parsed(text: str) -> Override | None:
    try:
        override: Override = _parser().parse_override(text)
    except HydraException:
        return None
    return override


@cache
def _parser() -> Any:
    return OverridesParser.create()
