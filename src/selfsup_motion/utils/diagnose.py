"""Turns Hydra's exceptions into one sentence with the nearest valid name."""

import difflib
import re
from collections.abc import Iterable, Sequence

from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion.utils.arguments import folders, split
from selfsup_motion.utils.config import compose, groups, keys, usable

OF_TRAINING = (
    "trainer", "callbacks", "logger", "method", "experiment", "monitor", "monitor_mode",
    "optimized_metric", "lr_scaling", "compile", "stop_within",
)  # fmt: skip
"""Top-level keys of the commands that train."""


def explain(error: Exception, arguments: Sequence[str], config_name: str = "train") -> str:
    """One sentence for an error of composition.

    Args:
        error: what Hydra or OmegaConf raised.
        arguments: the command line after the program's name.
        config_name: what the command line overrides.
    """
    flags, overrides = split(arguments)
    config_dirs = [str(folder) for folder in folders(flags)]
    if isinstance(error, MissingConfigException):
        return _no_such_option(error)
    if isinstance(error, OverrideParseException):
        return f"Cannot read {error.override!r}: write it as key=value."
    message = " ".join(str(error).split())
    if found := re.match(r"In '([^']+)/([^'/]+)': Could not override '([^']+)'", message):
        group, name, key = found.groups()
        return (
            f"{group}={name} is not for this command, which has no {key}. It takes: "
            f"{', '.join(usable(group, config_name))}."
        )
    if found := re.match(r"Could not override '([^']+)'", message):
        return _no_such_key(found[1], overrides, config_dirs, config_name)
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        message += " " + " ".join(str(cause).split())
    return re.sub(r"\s*(full_key: \S+ )?object_type=\S+", "", message)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` most probably stands for, None if nothing is close."""
    valid = list(valid)
    return next(iter(difflib.get_close_matches(name, valid, n=1, cutoff=0.6)), None)


def _no_such_option(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(name for name in error.options or [] if not name.startswith("_"))
    if not group or not options:
        return " ".join(str(error).split())
    # `experiment=paper/cmpp` is reported as option `cmpp` of group `experiment/paper`
    top, _, folder = group.partition("/")
    choice = f"{folder}/{name}" if folder else name
    guess = nearest(name, options)
    hint = f"did you mean {f'{folder}/' if folder else ''}{guess}? Valid" if guess else "valid"
    return f"{top}={choice}: there is no such {top}, {hint}: {', '.join(options)}."


def _no_such_key(
    key: str, overrides: Sequence[str], config_dirs: Sequence[str], config_name: str
) -> str:
    search = [] if not config_dirs else [f"hydra.searchpath=[{','.join(config_dirs)}]"]
    kept = [text for text in overrides if _key(text) != key]
    valid: list[str] = []
    while True:
        try:
            valid = list(keys(compose([*kept, *search], config_name=config_name)))
        except (HydraException, OmegaConfBaseException) as error:
            found = re.match(r"Could not override '([^']+)'", str(error))
            if found and any(_key(text) == found[1] for text in kept):
                kept = [text for text in kept if _key(text) != found[1]]
                continue
        break
    parent, _, name = key.rpartition(".")
    siblings = [k.rpartition(".")[2] for k in valid if k.rpartition(".")[0] == parent]
    if parent and siblings:
        guess = nearest(name, siblings)
        if guess is None:
            shown = ", ".join(k for k in siblings if not k.startswith("_"))
            return f"Unknown key {key}: {parent} has {shown}."
        return f"Unknown key {key}: did you mean {parent}.{guess}?"
    if hint := _of_other_commands(key, valid, config_name):
        return f"Unknown key {key}: {hint}"
    if key in groups():  # of other commands
        here = ", ".join(k for k in valid if "." not in k and not k.startswith("_"))
        return f"Unknown key {key}: this command has no such group, it has {here}."
    guess = nearest(key, [*groups(), *valid])
    if guess is None:
        last = [k for k in valid if k.rpartition(".")[2] == name]
        guess = last[0] if last else None
    hint = f"did you mean {guess}?" if guess else "`--cfg job` prints the valid ones."
    return f"Unknown key {key}: {hint}"


def _of_other_commands(key: str, valid: Sequence[str], config_name: str) -> str | None:
    """What to say of a key that other commands have; None if nothing is known of it."""
    trains = "method" in valid
    if key == "checkpoint" and config_name == "train":
        return "training goes on from resume=<run folder or checkpoint>."
    if key == "device" and trains:
        return "training has trainer=cpu and trainer=gpu."
    if key == "task":
        return "tasks are for python -m selfsup_motion.evaluate."
    if key == "resume":
        if config_name == "prepare":
            return "start the same command again, what is done is not done twice."
        return "this command cannot be resumed, leave it out and start anew."
    if key in ("output", "output_dir", "paths.output_dir"):
        names = {"fit_colors": "output", "prepare": "prepare.output"}
        return f"did you mean {names.get(config_name, 'paths.output_dir')}?"
    if key.partition(".")[0] in OF_TRAINING and not trains:
        what = "this task" if config_name == "evaluate" else "this command"
        return f"{what} does not train, leave it out."
    return None


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
