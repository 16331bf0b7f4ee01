"""The run folder: which one, what it is resumed from, and what is written when it is opened."""

import logging
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from torch import nn

from selfsup_motion import __version__
from selfsup_motion.checkpoints import KEY, check_weights, read_checkpoint
from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.utils.arguments import readable, split
from selfsup_motion.utils.config import keys
from selfsup_motion.utils.ema import KEY as EMA_KEY
from selfsup_motion.utils.lock import FolderLock
from selfsup_motion.utils.ranks import from_first, is_rank_zero

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One training session.

    Attributes:
        folder: the run folder, absolute or relative to the working directory.
        config: the resolved config as plain dicts.
        overrides: the command line's overrides of this job.
        command: of this package that the command line calls.
        checkpoint: file to start from, None for a fresh start.
        state: the content of `checkpoint`.
        continues: whether `folder` holds an earlier session of this run.
        created: topmost folder that `open` made.
        notes: what happened while planning, for the log.
    """

    folder: Path
    config: dict[str, Any]
    overrides: list[str]
    command: str
    checkpoint: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)
    continues: bool = False
    created: Path | None = None
    notes: list[str] = field(default_factory=list)
    _lock: FolderLock = field(default_factory=FolderLock)

    @property
    def restarts(self) -> int:
        """How many sessions of this run there were before this one."""
        return len(list(self.folder.glob("config.*.yaml")))

    @property
    def decision(self) -> dict[str, Any]:
        """What the other processes of this run need to know."""
        return {
            "folder": str(self.folder),
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "continues": self.continues,
            "notes": self.notes,
        }

    @property
    def resume_step(self) -> int:
        """Optimiser steps that earlier sessions have done."""
        return int(self.state.get("global_step", 0))

    @property
    def finished(self) -> bool:
        """Whether the checkpoint has all the steps that the config asks for."""
        return (
            self.checkpoint is not None
            and 0 < self.config["trainer"]["max_steps"] <= self.resume_step
        )

    @property
    def log_file(self) -> Path | None:
        """`train.log`, None on ranks that stay silent."""
        return self.folder / "train.log" if is_rank_zero() else None

    def finished_text(self) -> str:
        """What a finished run tells when it is asked to go on."""
        wanted = self.config["trainer"]["max_steps"]
        return (
            f"{self.checkpoint} is at step {self.resume_step} of trainer.max_steps={wanted}: "
            "this run is finished, raise trainer.max_steps to go on."
        )

    def resume_command(self) -> str:
        """The command that goes on with this run."""
        kept = [o for o in self.overrides if not o.startswith(("resume=", "paths.output_dir="))]
        flags = [flag for flag in split(sys.argv[1:])[0] if flag.startswith("--config-")]
        resume = readable([f"resume={self.folder}"])
        return shlex.join(
            ["python", "-m", f"selfsup_motion.{self.command}", *flags, *kept, *resume]
        )

    def discard(self) -> None:
        """Remove what `open` made, so that the same command can be tried again."""
        if self.created is not None:
            shutil.rmtree(self.created)

    def goodbye(self, step: int) -> str:
        """What an interrupted session tells, empty on ranks that stay silent."""
        if self.log_file is None:
            return ""
        last = self.folder / "checkpoints" / "last.ckpt"
        return f"Stopped at step {step}, saved {last}. Go on with\n{self.resume_command()}"

    def last_words(self) -> str:
        """What a session tells that a signal ended before it could save."""
        last = self.folder / "checkpoints" / "last.ckpt"
        if self.log_file is None:
            return ""
        if not last.exists():
            return "Left without saving: the step under way did not end in time."
        return (
            f"Left without saving: the step under way did not end in time. {last} is whole; go on "
            f"with\n{self.resume_command()}"
        )

    def provenance(self) -> dict[str, Any]:
        """What every checkpoint says about its run: plain data."""
        return {
            "version": __version__,
            "experiment": self.config["experiment"],
            "config": self.config,
        }

    def log_notes(self) -> None:
        """Log what happened while planning."""
        for note in self.notes:
            log.info("%s", note)

    def check_fits(self, method: nn.Module) -> None:
        """Make sure that the checkpoint belongs to this method.

        Raises:
            CheckpointError: another method, or weights of another shape.
        """
        if self.checkpoint is None:
            return
        theirs = self.state[KEY]["config"].get("method", {}).get("_target_")
        ours = self.config["method"]["_target_"]
        if theirs != ours:
            raise CheckpointError(f"resume={self.checkpoint}: it holds a {theirs}, not a {ours}.")
        check_weights(method, self.state["state_dict"], self.checkpoint)
        if EMA_KEY in self.state and not self.config["callbacks"].get("ema"):
            raise CheckpointError(
                f"resume={self.checkpoint}: its run averages the weights, add callbacks=ema."
            )

    def open(self) -> None:
        """Create or reopen the folder and write `config.yaml` and `overrides.yaml`.

        The files of an earlier session are kept as `config.1.yaml`, ....

        Raises:
            UserError: the folder cannot be written, or another process is training there.
        """
        if not is_rank_zero():
            return
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            self.created = missing[-1] if missing else None
            self._lock.claim(self.folder)
            for name, content in (("config", self.config), ("overrides", self.overrides)):
                file = self.folder / f"{name}.yaml"
                if file.exists():
                    file.rename(_free(file))
                file.write_text(OmegaConf.to_yaml(OmegaConf.create(content)), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"paths.output_dir={self.folder}: cannot be written ({error.strerror}); "
                "choose another folder."
            ) from error

    def close(self) -> None:
        """Let others go on in the folder."""
        self._lock.release()


def plan(cfg: DictConfig, command: str = "train") -> Run:
    """Decide where to write and what to resume, once for all processes. Writes nothing.

    Args:
        cfg: the composed config.
        command: of this package that the command line calls.

    Raises:
        CheckpointError: `resume` names no usable checkpoint.
        UserError: the folder already holds something and `resume` does not ask to go on there.
    """
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN
    job = str(hydra_config.job.num) if multirun else ""
    folder = Path(config["paths"]["output_dir"]) / job
    run = Run(folder, config, list(hydra_config.overrides.task), command)

    def decide() -> dict[str, Any]:
        _decide(run, cfg)
        return run.decision

    decision = from_first(decide, int(config["trainer"].get("num_nodes", 1)), job)
    run.folder, run.continues = Path(decision["folder"]), decision["continues"]
    if run.checkpoint is None and decision["checkpoint"] is not None:  # another rank has looked
        run.checkpoint = Path(decision["checkpoint"])
        run.state = read_checkpoint(run.checkpoint)
    return run


def _decide(run: Run, cfg: DictConfig) -> None:
    # `${now:...}` in the unresolved value: the folder is this run's own
    timestamped = "${now:" in str(OmegaConf.to_container(cfg.paths)["output_dir"])  # type: ignore[index,call-overload]
    resume = run.config["resume"]
    if resume == "auto":
        _resume_newest(run, run.folder.parent if timestamped else run.folder)
    elif resume is not None:
        _resume_from(run, Path(resume), timestamped)
    if run.checkpoint is not None:
        run.notes.append(f"Resuming {run.checkpoint} at step {run.resume_step}.")
        if changed := _changed(run.state[KEY]["config"], run.config):
            run.notes.append(f"Changed since then: {', '.join(changed)}.")
    if not run.continues:
        _refuse_used(run, timestamped)


def _resume_from(run: Run, source: Path, timestamped: bool) -> None:
    if not source.exists():
        raise CheckpointError(f"resume={source}: there is no such run folder or checkpoint.")
    if source.is_dir():
        if not timestamped and source.resolve() != run.folder.resolve():
            raise UserError(
                f"resume={source} goes on in that folder, but paths.output_dir={run.folder} names "
                "another: leave one out, or resume from the folder's checkpoints/last.ckpt."
            )
        run.folder, run.continues = source, True
        source = source / "checkpoints" / "last.ckpt"
        if not source.exists():
            raise CheckpointError(
                f"resume={run.folder}: no run folder, it has no checkpoints/last.ckpt."
            )
    run.checkpoint, run.state = source, read_checkpoint(source)


def _resume_newest(run: Run, below: Path) -> None:
    files = [file for file in below.rglob("*.ckpt") if not file.name.startswith(".")]
    times = {file: file.stat().st_mtime_ns for file in files}
    newest: dict[Path, int] = {}
    for file, time in times.items():
        newest[file.parent] = max(time, newest.get(file.parent, 0))

    def order(file: Path) -> tuple[Any, ...]:
        # of one run its `last.ckpt`, also if it was killed between writing the best and the last
        return newest[file.parent], str(file.parent), file.name == "last.ckpt", times[file]

    for file in sorted(files, key=order, reverse=True):
        try:
            state = read_checkpoint(file)
        except CheckpointError as error:
            run.notes.append(f"resume=auto: {error} Trying an older one.")
            continue
        run.checkpoint, run.state = file, state
        run.folder, run.continues = file.parent.parent, True
        return
    run.notes.append(f"resume=auto: no checkpoint below {below}, starting from the beginning.")
    # stopped before its first checkpoint: the next try of the same job takes the folder over
    run.continues = not files and (run.folder / "config.yaml").exists()


def _refuse_used(run: Run, timestamped: bool) -> None:
    folder, number = run.folder, 1
    while timestamped and run.folder.exists():  # started within the same second as another
        run.folder = folder.with_name(f"{folder.name}_{number}")
        number += 1
    try:
        used = run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir()))
    except OSError as error:
        raise UserError(f"paths.output_dir={folder}: {error.strerror}.") from error
    if used:
        raise UserError(
            f"paths.output_dir={run.folder} already holds something and is left as it is: go on "
            f"there with resume={run.folder}, or choose another folder."
        )


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = OmegaConf.create(old), OmegaConf.create(new)
    result = []
    for key in dict.fromkeys([*keys(before), *keys(after)]):
        was, now = OmegaConf.select(before, key), OmegaConf.select(after, key)
        skipped = (
            key.startswith(("paths.", "data.module.", "callbacks.", "logger")) or key == "resume"
        )
        if (
            not skipped
            and was != now
            and not OmegaConf.is_config(was)
            and not OmegaConf.is_config(now)
        ):
            result.append(f"{key} {was} -> {now}")
    return result


def _free(file: Path) -> Path:
    number = 1
    while (kept := file.with_name(f"{file.stem}.{number}{file.suffix}")).exists():
        number += 1
    return kept
