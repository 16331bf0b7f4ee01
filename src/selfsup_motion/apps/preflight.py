"""What is looked at before PyTorch and Lightning are imported, which takes seconds."""

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import FILE_OR_FOLDER, check_exists
from selfsup_motion.settings.build import build
from selfsup_motion.settings.check import check_root
from selfsup_motion.settings.constants import constant
from selfsup_motion.settings.groups import usable
from selfsup_motion.settings.trust import packages
from selfsup_motion.settings.unused import refuse_ineffective
from selfsup_motion.weights.choice import RUNS, chosen_checkpoint
from selfsup_motion.weights.run_folders import runs_below

if TYPE_CHECKING:
    from selfsup_motion.tasks.task import Needs


def open_sources(cfg: DictConfig, path: str, names: Collection[str]) -> dict[str, Any]:
    """Open the data sets that a node is going to be built with.

    Args:
        cfg: the config; it is not changed.
        path: of the node.
        names: of its arguments that are data sets; those that it does not have are left out.

    Returns:
        The data sets by argument, for `build`.

    Raises:
        UserError: as the data sets: a folder or list that is not there, nothing in it, ….
    """
    # a copy: to build a node resolves what it refers to
    node = OmegaConf.select(copy.deepcopy(cfg), path)
    parts = {name: part for name in names if _is_node(part := node.get(name))}
    for name in parts:
        check_root(cfg, f"{path}.{name}")
    return {name: build(part, "data") for name, part in parts.items()}


def filled_from_data(cfg: DictConfig, source: Any = None) -> DictConfig:
    """The config with what a task leaves to its training videos: how many they are (`videos`), on
    which the length of the run depends, and the names of their classes (`method.classes`).

    Args:
        cfg: the config; it is not changed.
        source: the training videos. None: they are not open yet, and a video stands for them, so
            that the config can be checked.

    Raises:
        UserError: videos that do not tell their classes.
    """
    cfg = copy.deepcopy(cfg)
    if cfg.get("videos", 0) is None:
        cfg.videos = 1 if source is None else len(source)
    if cfg.method.get("classes", ()) is None:
        classes = () if source is None else getattr(source, "classes", None)
        if classes is None:
            raise UserError(
                f"method.classes is null, and {type(source).__name__} does not tell its classes: "
                "set method.classes=[<name>,...]."
            )
        cfg.method.classes = list(classes)
    return cfg


def check_module(cfg: DictConfig, command: str) -> None:
    """Make sure that the data set can be trained on.

    Raises:
        UserError: it is one of evaluation.
    """
    if cfg.data.get("module") is None:
        raise UserError(
            "data: this data set has labels for evaluate and no videos for training; choose one of "
            f"{', '.join(usable('data', command))}."
        )


def _is_node(part: Any) -> bool:
    return isinstance(part, DictConfig) and "_target_" in part


def task_needs(cfg: DictConfig, node: DictConfig) -> "Needs":
    """What the class of a task says that it needs.

    Args:
        cfg: the config.
        node: of the task, or of the method that a task trains.

    Raises:
        UserError: there is no such class, or what it says is of another form.
    """
    said = constant(node._target_, "needs")
    if said is None and "method" in cfg:  # trained by a LightningModule of somebody's own
        said = {}
    form: dict[str, Any] = {"labels": (str, type(None)), "encoder": str}
    if (
        not isinstance(said, dict)
        or not all(name in form and isinstance(v, form[name]) for name, v in said.items())
        or said.get("encoder", "any") not in ("image", "clip", "cmp", "any")
    ):
        raise UserError(
            f"task={cfg.name}: {node._target_} does not say what it needs; derive it from "
            'selfsup_motion.tasks.task.Task, with needs = {"labels": None or a key of the data, '
            '"encoder": "image", "clip", "cmp" or "any"}.'
        )
    return {"labels": said.get("labels"), "encoder": said.get("encoder", "any")}


def check_encoder(cfg: DictConfig, auto_method: str) -> None:
    """Make sure that `encoder` or `checkpoint` is given, and that there is such a checkpoint.

    Raises:
        UserError: none of them is given, or both, or there is no such checkpoint.
    """
    node, checkpoint = cfg.get("encoder"), cfg.checkpoint
    packages(cfg.trust)
    without = "it is for what a checkpoint uses, and no checkpoint is given"
    refuse_ineffective([("trust", checkpoint is None, without)])
    if node is None and checkpoint is None:
        raise UserError(
            "Which encoder? Give checkpoint=<file or run folder>, or encoder=<name> for one "
            "without training (encoder=lab_color)."
        )
    if node is not None and checkpoint is not None:
        raise UserError(
            "checkpoint and encoder are both given: a checkpoint includes its encoder, leave one "
            "of them out."
        )
    if checkpoint is not None:
        check_checkpoint(checkpoint, auto_method)
    elif cfg.checkpoint_key is not None:
        raise UserError(
            f"checkpoint_key={cfg.checkpoint_key} names weights in a file: add checkpoint=<file>, "
            "or leave it out."
        )


def check_network(cfg: DictConfig) -> None:
    """Make sure that `checkpoint` is given for a task that asks a whole network.

    Raises:
        UserError: it is not, there is no such checkpoint, or an encoder is given.
    """
    packages(cfg.trust)
    if cfg.get("encoder") is not None:
        raise UserError(
            f"encoder: task={cfg.name} asks a whole {cfg.auto_method}, not an encoder; give "
            "checkpoint=<file or run folder> instead."
        )
    if cfg.checkpoint is None:
        raise UserError(
            f"Which network? Give checkpoint=<file or run folder> of a {cfg.auto_method}, or "
            "checkpoint=auto for the newest run below outputs/."
        )
    check_checkpoint(cfg.checkpoint, cfg.auto_method)


def check_resume(resume: str | None) -> None:
    """Make sure that what `resume=` names exists.

    Raises:
        UserError: it does not.
    """
    if resume not in (None, "auto"):
        check_exists("resume", str(resume), FILE_OR_FOLDER, "run folder or checkpoint")


def check_checkpoint(checkpoint: str, auto_method: str) -> None:
    """Make sure that `checkpoint=` names a file or a run folder. Which of several runs "auto" is,
    only PyTorch can tell.

    Raises:
        CheckpointError: it does not.
    """
    if checkpoint != "auto" or next(runs_below(RUNS), None) is None:
        chosen_checkpoint(checkpoint, auto_method)
