"""The run folder: which one, what it is resumed from, and what is written when it is opened."""

import logging
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.settings.arguments import readable, split
from selfsup_motion.settings.keys import keys
from selfsup_motion.terminal.output_folder import OutputFolder, configured_path, job_number, unused
from selfsup_motion.training.processes import from_first, is_rank_zero
from selfsup_motion.weights.checkpoints import check_weights
from selfsup_motion.weights.contents import EMA_KEY, KEY, read_checkpoint
from selfsup_motion.weights.origin import origin

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
        notes: what happened while planning, for the log.
    """

    folder: Path
    config: dict[str, Any]
    overrides: list[str]
    command: str
    checkpoint: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)
    continues: bool = False
    notes: list[str] = field(default_factory=list)
    _output: OutputFolder | None = None
    _renamed: dict[Path, Path] = field(default_factory=dict)
    _before: dict[Path, tuple[int, int]] = field(default_factory=dict)

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
            "this run is finished, raise trainer.max_steps to continue."
        )

    def resume_command(self) -> str:
        """The command that resumes this run."""
        kept = [o for o in self.overrides if not o.startswith(("resume=", "paths.output_dir="))]
        try:
            flags = [flag for flag in split(sys.argv[1:])[0] if flag.startswith("--config-")]
        except UserError:  # called from Python: these are the flags of another program
            flags = []
        resume = readable([f"resume={self.folder}"])
        return shlex.join(
            ["python", "-m", f"selfsup_motion.{self.command}", *flags, *kept, *resume]
        )

    @property
    def is_open(self) -> bool:
        """Whether this process writes to the folder."""
        return self._output is not None

    def has_done_nothing(self, step: int) -> bool:
        """Whether this session, which is at `step`, has neither made a step nor saved anything."""
        return step <= self.resume_step and self._checkpoints() == self._before

    def discard(self) -> None:
        """Undo `open`, so that the same command can be tried again: a folder that it made goes with
        all that this session wrote there, one of an earlier session is as it was left."""
        if self._output is None:
            return
        if self.continues:
            for file, kept in self._renamed.items():
                kept.replace(file)
            self._output.release(keep_lock=True)
        else:
            self._output.discard()
        self._output = None

    def saved_text(self, step: int) -> str:
        """What an interrupted session tells, empty on ranks that stay silent."""
        if self.log_file is None:
            return ""
        last = self.folder / "checkpoints" / "last.ckpt"
        return f"Stopped at step {step}, saved {last}. Continue with\n{self.resume_command()}"

    def unsaved_text(self) -> str:
        """What a session tells that a signal ended before it could save."""
        last = self.folder / "checkpoints" / "last.ckpt"
        if self.log_file is None:
            return ""
        if not last.exists():
            return "Stopped without saving: the current step did not end in time."
        return (
            f"Stopped without saving: the current step did not end in time. {last} is complete. "
            f"Continue with\n{self.resume_command()}"
        )

    def provenance(self) -> dict[str, Any]:
        """What every checkpoint says about its run: plain data."""
        return origin(self.config)

    def log_notes(self) -> None:
        """Log what happened while planning."""
        for note in self.notes:
            log.info("%s", note)

    def check_fits(self, method: nn.Module) -> None:
        """Make sure that the checkpoint belongs to this method.

        Raises:
            CheckpointError: weights of another shape, or no average of them.
        """
        if self.checkpoint is None:
            return
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
        output = OutputFolder(self.folder)
        output.claim("training", used=self.continues, advice=_advice)
        self._output, self._before = output, self._checkpoints()
        try:
            (self.folder / "checkpoints").mkdir(exist_ok=True)
            for name, content in (("config", self.config), ("overrides", self.overrides)):
                file = self.folder / f"{name}.yaml"
                if file.exists():
                    self._renamed[file] = file.rename(_free(file))
                file.write_text(OmegaConf.to_yaml(OmegaConf.create(content)), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"paths.output_dir={self.folder}: cannot be written ({error.strerror}); "
                "choose another folder."
            ) from error

    def close(self) -> None:
        """Let others go on in the folder."""
        if self._output is not None:
            self._output.release(keep_lock=True)
        self._output = None

    def _checkpoints(self) -> dict[Path, tuple[int, int]]:
        """The checkpoints that the folder has, with size and time."""
        stats = {file: file.stat() for file in (self.folder / "checkpoints").glob("*.ckpt")}
        return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


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
    folder, timestamped = configured_path(cfg)
    run = Run(folder, config, list(HydraConfig.get().overrides.task), command)

    def decide() -> dict[str, Any]:
        _decide(run, timestamped)
        return run.decision

    decision = from_first(decide, int(config["trainer"].get("num_nodes", 1)), job_number())
    run.folder, run.continues = Path(decision["folder"]), decision["continues"]
    if run.checkpoint is None and decision["checkpoint"] is not None:  # another rank has looked
        run.checkpoint = Path(decision["checkpoint"])
        run.state = read_checkpoint(run.checkpoint)
    return run


def _decide(run: Run, timestamped: bool) -> None:
    resume = run.config["resume"]
    if resume == "auto":
        _resume_newest(run, timestamped)
    elif resume is not None:
        _resume_from(run, Path(resume), timestamped)
    if run.checkpoint is not None:
        _check_method(run)
        run.notes.append(f"Resuming {run.checkpoint} at step {run.resume_step}.")
        if changed := _changed(run.state[KEY]["config"], run.config):
            run.notes.append(f"Changed since then: {', '.join(changed)}.")
    if not run.continues:
        run.folder = unused(run.folder, timestamped, _advice)
    for key, path in (("resume", run.checkpoint), ("paths.output_dir", run.folder)):
        if "::" in str(path):  # for fsspec, by which Lightning saves, a chain of file systems
            raise UserError(
                f"{key}={path}: checkpoints cannot be stored in a folder with :: in its path; "
                "rename it or choose another one."
            )


def _resume_from(run: Run, source: Path, timestamped: bool) -> None:
    if not source.exists():
        raise CheckpointError(f"resume={source}: there is no such run folder or checkpoint.")
    if source.is_dir():
        if not timestamped and source.resolve() != run.folder.resolve():
            raise UserError(
                f"resume={source} continues in that folder, but paths.output_dir={run.folder} "
                "names another: leave one out, or resume from the folder's checkpoints/last.ckpt."
            )
        run.folder, run.continues = source, True
        source = source / "checkpoints" / "last.ckpt"
        if not source.exists():
            raise CheckpointError(
                f"resume={run.folder}: not a run folder, it has no checkpoints/last.ckpt."
            )
    run.checkpoint, run.state = source, read_checkpoint(source)


def _check_method(run: Run) -> None:
    """Make sure that the checkpoint is one of the same method and, in its own folder, experiment.

    Raises:
        CheckpointError: it is not.
    """
    ours, theirs = run.config, run.state[KEY]["config"]
    source = f"resume={run.config['resume']}: {run.checkpoint}"
    wanted = ours["method"]["_target_"]
    if (found := (theirs.get("method") or {}).get("_target_")) != wanted:
        raise CheckpointError(f"{source}: it holds a {found}, not a {wanted}.")
    if run.continues and (other := _experiment(run.state)) != ours["experiment"]:
        raise CheckpointError(f"{source} {_other_experiment(run, other)}")


def _other_experiment(run: Run, found: str) -> str:
    return (
        f"is of experiment={found}, not of experiment={run.config['experiment']}: choose another "
        "paths.output_dir, or start a new run from that file with resume=<file>."
    )


def _experiment(state: dict[str, Any]) -> str:
    return str(state[KEY].get("experiment") or state[KEY]["config"].get("experiment"))


def _resume_newest(run: Run, timestamped: bool) -> None:
    below = run.folder.parent if timestamped else run.folder
    files = [file for file in below.rglob("*.ckpt") if not file.name.startswith(".")]
    times = {file: file.stat().st_mtime_ns for file in files}
    newest: dict[Path, int] = {}
    for file, time in times.items():
        newest[file.parent] = max(time, newest.get(file.parent, 0))

    def order(file: Path) -> tuple[Any, ...]:
        # of one run its `last.ckpt`, also if it was killed between writing the best and the last
        return newest[file.parent], str(file.parent), file.name == "last.ckpt", times[file]

    others: list[str] = []
    for file in sorted(files, key=order, reverse=True):
        try:
            state = read_checkpoint(file)
        except CheckpointError as error:
            run.notes.append(f"resume=auto: {error} Trying an older one.")
            continue
        if (experiment := _experiment(state)) != run.config["experiment"]:
            others.append(f"resume=auto: {file} {_other_experiment(run, experiment)}")
            continue
        run.checkpoint, run.state = file, state
        run.folder, run.continues = file.parent.parent, True
        return
    if others and not timestamped:
        raise CheckpointError(others[0])
    run.notes.append(f"resume=auto: no checkpoint below {below}, starting from the beginning.")
    # stopped before its first checkpoint: the next try of the same job takes the folder over
    run.continues = not files and _configured_experiment(run.folder) == run.config["experiment"]


def _configured_experiment(folder: Path) -> Any:
    """The experiment of a run folder; None if the folder is none."""
    try:
        config = OmegaConf.load(folder / "config.yaml")
    except Exception:  # whatever the parser raises
        return None
    return config.get("experiment") if isinstance(config, DictConfig) else None


def _advice(folder: Path) -> str:
    return f"continue there with resume={folder},"


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = OmegaConf.create(old), OmegaConf.create(new)
    result = []
    for key in keys(before):  # those that a later version adds have not changed
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
