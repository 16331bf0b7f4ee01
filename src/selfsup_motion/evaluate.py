"""Score an encoder: `python -m selfsup_motion.evaluate task=davis2017 data.root=… checkpoint=…`.

PyTorch is imported when the config is checked and the data are found: mistakes cost no seconds.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from selfsup_motion.apps.evaluating.folder import (
    LOG,
    advice,
    choose_folder,
    has_results,
    logging_to,
    naming_kept_results,
)
from selfsup_motion.apps.evaluating.table import print_results
from selfsup_motion.errors import UserError
from selfsup_motion.settings.constants import constant
from selfsup_motion.settings.groups import config_dir, option_list
from selfsup_motion.settings.unused import TRAINING, check_used, lacking
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.output_folder import claimed, configured_path, unused

if TYPE_CHECKING:
    from selfsup_motion.tasks.task import Task

_TYPES = {
    "name": str,
    "headline": str,
    "checkpoint": str | None,
    "checkpoint_key": str | None,
    "trust": str | list[str],
    "auto_method": str,
    "device": str,
    "seed": int,
    "overlay": bool,
    "resume": str | None,
    "paths.output_dir": str,
}
_READ = (
    "name", "headline", "checkpoint", "checkpoint_key", "trust", "encoder", "device", "seed",
    "overlay", "resume", "paths",
)  # fmt: skip
_OVERLAY_FPS = 12.0


def evaluate(cfg: DictConfig) -> float | None:
    """Evaluate as configured.

    Args:
        cfg: the composed config, not resolved.

    Returns:
        The task's headline metric, for sweepers; None if nothing could be scored.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if cfg.name is None:
        raise UserError(f"Which task? Add one of these:\n{option_list('task')}")
    if "method" in cfg:
        return _train(cfg)
    from selfsup_motion.apps.preflight import task_needs

    needs = task_needs(cfg, cfg.task)
    labels = needs["labels"]
    if labels is None or labels in cfg.data:
        missing = lacking(cfg, "task", "data")
    else:
        missing = f"labelled {labels.replace('_', ' ')}"
    if missing is not None:
        raise UserError(
            f"task={cfg.name}: this data set has no {missing}; leave data=… out and set "
            "data.root, or use data=toy."
        )
    _check_used(cfg, "task")  # behind the question whether these are the right data at all
    with open_dict(cfg.data):
        cfg.data.pop("module", None)  # of training
    if cfg.overlay and not constant(cfg.task._target_, "draws"):
        raise UserError(f"overlay=true: task={cfg.name} has nothing to draw, leave it out.")
    started = os.times()

    from selfsup_motion.apps.preflight import (
        check_encoder,
        check_network,
        check_resume,
        open_sources,
    )
    from selfsup_motion.settings.check import check_config

    check_config(cfg, _TYPES)
    if needs["encoder"] == "cmp":
        check_network(cfg)
    else:
        check_encoder(cfg, cfg.auto_method)
    check_resume(cfg.resume)
    if cfg.resume is None:
        unused(*configured_path(cfg), advice)
    sources = open_sources(cfg, "task", ("source", "train", "test"))

    from selfsup_motion.models.encoder import check_sees
    from selfsup_motion.settings.build import build
    from selfsup_motion.tasks.features.choice import choose_device, weights_line
    from selfsup_motion.tasks.propagation.choice import name_preset
    from selfsup_motion.terminal.bar import Bar
    from selfsup_motion.terminal.console import quieten, show
    from selfsup_motion.training.report import finite
    from selfsup_motion.weights.used import weights_used

    quieten()
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    device = choose_device(cfg.device)
    encoder = _cmp(cfg) if needs["encoder"] == "cmp" else _encoder(cfg)
    judged = cfg.auto_method if needs["encoder"] == "cmp" else type(encoder).__name__
    if needs["encoder"] in ("image", "clip"):
        check_sees(encoder, needs["encoder"], f"task={cfg.name}")
    task: Task = build(cfg.task, "task", **sources)
    name_preset(task)
    used = weights_used(encoder)
    if used is not None and cfg.checkpoint == "auto":
        config["checkpoint"] = str(used.path)  # the newest run may be another one tomorrow
    # what is resumed must come from the same weights, wherever they are
    config["weights"] = used and {**used.summary(), "path": None}
    output = choose_folder(cfg, config)
    folder, log = output.path, output.path / LOG
    resumes = cfg.resume is not None
    with (
        claimed(output, used=resumes, advice=advice, useful=has_results),
        naming_kept_results(folder),
        logging_to(folder, config),
    ):
        show(f"{weights_line(encoder)}\nWriting to {folder}", log)
        with Bar(task.unit) as bar:
            metrics = finite(
                task.run(encoder, folder, device=device, reuse=resumes, progress=bar.show)
            )
        if cfg.overlay:
            _draw(task, folder)
        summary = {
            "task": config["name"],
            "encoder": judged,
            "checkpoint": config["checkpoint"],
            "weights": used.summary() if used else None,
            **_beside(task),
            "metrics": metrics,
            "device": device,
            **_costs(started),
            "seed": config["seed"],
        }
        text = json.dumps(summary, indent=2) + "\n"
        (folder / "summary.json").write_text(text, encoding="utf-8")
    print_results(metrics, folder, judged, summary)
    return metrics.get(cfg.headline)


def _train(cfg: DictConfig) -> float | None:
    """A task that trains: a run of train, of a method that is given the encoder."""
    if cfg.device != "auto":
        raise UserError(
            f"device={cfg.device}: task={cfg.name} trains, use trainer=cpu or trainer=gpu."
        )
    if cfg.overlay:
        raise UserError(f"overlay=true: task={cfg.name} draws figures anyway, leave it out.")
    from selfsup_motion.apps.preflight import task_needs

    if not {"module", task_needs(cfg, cfg.method)["labels"]} - {None} <= {*map(str, cfg.data)}:
        raise UserError(
            f"task={cfg.name} cannot learn from this data set: leave data=… out and set data.root."
        )
    _check_used(cfg, *TRAINING)

    from selfsup_motion.apps.preflight import (
        check_encoder,
        check_resume,
        filled_from_data,
        open_sources,
    )
    from selfsup_motion.settings.check import TOP_LEVEL, check_config
    from selfsup_motion.training.lengths import check_lengths

    checked = filled_from_data(cfg)
    check_config(
        checked,
        {
            **TOP_LEVEL,
            "name": str,
            "headline": str,
            "checkpoint": str | None,
            "checkpoint_key": str | None,
            "trust": str | list[str],
            "auto_method": str,
        },
        given={"method": ("encoder",)},
    )
    check_lengths(checked.trainer)
    check_encoder(cfg, cfg.auto_method)
    check_resume(cfg.resume)
    sources = open_sources(cfg, "data.module", ("source", "val_source"))
    cfg = filled_from_data(cfg, sources["source"])

    from selfsup_motion.tasks.features.choice import weights_line
    from selfsup_motion.terminal.console import console
    from selfsup_motion.training.processes import is_rank_zero
    from selfsup_motion.training.session import session
    from selfsup_motion.weights.used import load_report, made_from, weights_used

    encoder = _encoder(cfg).train()
    used = weights_used(encoder)
    if (node := made_from(encoder)) is not None:  # so that the run's own checkpoints can be loaded
        with open_dict(cfg):
            cfg.encoder = node
    if is_rank_zero():
        console.print(weights_line(encoder), markup=False)
    origin = {
        "task": cfg.name,
        "encoder": type(encoder).__name__,
        "encoder_from": cfg.checkpoint,
        "encoder_weights": load_report(encoder),
        "weights": used.summary() if used else None,
    }
    return session(
        cfg,
        sources,
        command="evaluate",
        parts={"encoder": encoder},
        origin=origin,
    )


def _encoder(cfg: DictConfig) -> Any:
    """The encoder that is judged, or that training begins with."""
    from selfsup_motion.tasks.features.choice import choose_encoder

    return choose_encoder(
        cfg.get("encoder"),
        cfg.checkpoint,
        cfg.seed,
        auto_method=cfg.auto_method,
        key=cfg.checkpoint_key,
        trust=cfg.trust,
    )


def _cmp(cfg: DictConfig) -> Any:
    """The whole CMP, for a task that asks for motion."""
    from selfsup_motion.weights.trained_cmp import load_weights

    return load_weights(cfg.checkpoint, key=cfg.checkpoint_key, trust=cfg.trust).method


def _check_used(cfg: DictConfig, *roots: str) -> None:
    """Refuse settings that are read by nothing of a task that reads `roots`."""
    auto = ("auto_method",) if cfg.checkpoint == "auto" else ()
    check_used(cfg, (*_READ, *auto, *roots), f"task={cfg.name}")


def _draw(task: "Task", folder: Path) -> None:
    """Write a film of each sequence that has a result."""
    from selfsup_motion.apps.film import film

    for name in task.tracked(folder):
        path = folder / "overlays" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with film(path, _OVERLAY_FPS) as overlay:
            for picture in task.pictures(name, folder):
                overlay.add(picture)


def _costs(started: os.times_result) -> dict[str, Any]:
    """Time, memory and versions for `summary.json`."""
    import platform

    import torch

    from selfsup_motion import __version__
    from selfsup_motion.callbacks.meter import peak_memory_mb
    from selfsup_motion.training.report import git_revision

    now = os.times()
    return {
        "wall_seconds": now.elapsed - started.elapsed,
        "cpu_seconds": sum(now[:4]) - sum(started[:4]),
        "peak_memory_mb": peak_memory_mb(),
        "versions": {
            "selfsup_motion": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "git_revision": git_revision(),
    }


def _beside(task: "Task") -> dict[str, Any]:
    """What the task tells, and what was scored beside the encoder, for `summary.json`."""
    from selfsup_motion.training.report import finite

    baselines = {name: finite(values) for name, values in task.beside.items()}
    order = {"lower_is_better": True} if task.lower_is_better else {}
    return {**order, **task.summary(), "baselines": baselines}


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="evaluate")
def _main(cfg: DictConfig) -> float | None:
    return cli.job(evaluate, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="evaluate")


if __name__ == "__main__":
    main()
