"""Turns Hydra's exceptions into one sentence with the nearest valid name."""

import re
from collections.abc import Sequence

from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion.settings.arguments import folders, split
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import commands, groups, groups_of, options_with, usable
from selfsup_motion.settings.keys import keys
from selfsup_motion.settings.nearest import nearest_name

_MEANT = {
    "paths.output_dir": "output out outdir out_dir output_dir output_folder save_dir folder",
    "prepare.output": "output out outdir out_dir output_dir output_folder save_dir",
    "trainer.max_steps": "steps num_steps iterations iters max_iter max_iters num_iterations",
    "trainer.max_epochs": "epochs epoch num_epochs n_epochs",
    "trainer.devices": "gpus gpu num_gpus ngpu ngpus n_gpus",
    "trainer": "accelerator amp fp16",
    "device": "gpu gpus accelerator cuda",
    "data.batch_size": "batch bs batchsize",
    "data.num_workers": "workers n_workers jobs",
    "data.root": "root path data_root data_dir data_path dataset_path dataset_root videos",
    "prepare.root": "root path input videos input_dir data data_root",
    "data": "dataset source",
    "task": "benchmark dataset",
    "method.optimizer.lr": "learning_rate lr_rate base_lr",
    "checkpoint": "ckpt ckpt_path checkpoint_path weights pretrained resume model load resume_from",
    "resume": "ckpt ckpt_path checkpoint checkpoint_path resume_from load weights pretrained",
    "encoder": "model network backbone arch architecture",
    "experiment": "exp recipe config preset",
    "image": "photo img picture file input image_path",
    "video": "film movie clip file input path frames video_path images",
    "arrows": "vectors motion",
    "positive": "points clicks click point foreground",
    "negative": "background",
    "mask": "masks label labels annotation segmentation",
    "points": "keypoints joints",
    "seconds": "length duration",
    "formats": "format",
}
"""Other words for keys, from other programs."""

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
    return dangling(message) or re.sub(r"\s*(full_key: \S+ )?object_type=\S+", "", message)


def dangling(message: str) -> str | None:
    """A sentence for OmegaConf's message about a reference to a key that is not there."""
    found = re.search(r"Interpolation key '([^']+)' not found.*?full_key: (\S+)", message)
    if found is None:
        return None
    target, key = found.groups()
    if target.isupper():
        return f"{key}: ${{{target}}} is no key; an environment variable is ${{oc.env:{target}}}."
    group, _, name = target.partition(".")
    if group in groups() and name:
        return (
            f"{key} is taken from {target}, which this {group} does not have: set {key}=<value>, "
            f"or add {name} to the YAML file of the {group}."
        )
    return f"{key} is taken from {target}, which is not there: set {key}=<value>, or add {target}."


def _no_such_option(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(name for name in error.options or [] if not name.startswith("_"))
    if not group or not options:
        return " ".join(str(error).split())
    if group.startswith("hydra/"):
        top, folder = group, ""
    else:  # `experiment=paper/cmpp` is reported as option `cmpp` of group `experiment/paper`
        top, _, folder = group.partition("/")
    choice = f"{folder}/{name}" if folder else name
    guess = nearest_name(name, options)
    hint = f"did you mean {f'{folder}/' if folder else ''}{guess}? Valid" if guess else "valid"
    kind = top.rpartition("/")[2]
    return f"{top}={choice}: there is no such {kind}, {hint}: {', '.join(options)}."


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
        guess = nearest_name(name, siblings)
        if guess is None:
            shown = ", ".join(k for k in siblings if not k.startswith("_"))
            others = options_with(parent, name, config_name) if parent in groups() else []
            hint = f" {key} goes with {parent}={' or '.join(others)}." if others else ""
            return f"Unknown key {key}: {parent} has {shown}.{hint}"
        return f"Unknown key {key}: did you mean {parent}.{guess}?"
    if elsewhere := _of_other_commands(key, valid, config_name):
        return f"Unknown key {key}: {elsewhere}"
    if key in groups() and key not in groups_of(config_name):
        here = ", ".join(k for k in valid if "." not in k and not k.startswith("_"))
        owners = [name for name in commands() if key in groups_of(name)]
        belongs = f"it belongs to {' and '.join(owners)}; " if owners else ""
        return f"Unknown key {key}: {belongs}{config_name} has {here}."
    theirs = {g for command in commands() for g in groups_of(command)} - groups_of(config_name)
    known = [*(group for group in groups() if group not in theirs), *valid]
    # the key that a person sets, not one further down that refers to it
    last = sorted((k for k in valid if k.rpartition(".")[2] == name), key=lambda k: k.count("."))
    meant = [k for k, words in _MEANT.items() if key in words.split() and k in known]
    near = nearest_name(key, known)
    guess = next(iter([*meant, *last[:1], *([near] if near else [])]), None)
    hint = f"did you mean {guess}?" if guess else "`--cfg job` prints the valid ones."
    return f"Unknown key {key}: {hint}"


def _of_other_commands(key: str, valid: Sequence[str], config_name: str) -> str | None:
    """What to say of a key that other commands have; None if nothing is known of it."""
    trains = "method" in valid
    if key == "checkpoint" and config_name == "train":
        return "training goes on from resume=<run folder or checkpoint>."
    if key == "trust" and config_name == "train":
        return "what you train is your own; trust is for commands that take a checkpoint."
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
