"""Where metrics go: always a CSV file, on request Weights & Biases and TensorBoard."""

import csv
import importlib.util
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from selfsup_motion.errors import UserError
from selfsup_motion.files.atomic import new_file, write_text


class CSVMetrics(Logger):
    """`metrics.csv`: one row per logged step, a column per metric.

    Rows are on disk as soon as they are logged. New metrics add columns. A resumed run goes on in
    the same file, after dropping the rows that were written later than its checkpoint.

    Args:
        folder: the run folder.
        resume_step: number of steps that the run had done when it was resumed.
    """

    def __init__(self, folder: str, resume_step: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns = ["step"]
        self._rows: dict[int, dict[str, Any]] = {}
        self._resume_step = resume_step
        self._started = False

    @property
    def name(self) -> str:
        """The kind of log."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one file per run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder, where Lightning's profilers write too."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the run folder has config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step.

        Args:
            metrics: numbers by name.
            step: Lightning's number of the step, from 0; the file counts finished steps, from 1.
        """
        self._start()
        number = (step or 0) + 1
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        new_columns = [name for name in values if name not in self._columns]
        new_row = number not in self._rows
        self._columns += new_columns
        self._rows.setdefault(number, {"step": number}).update(values)
        if new_columns or not new_row:
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._columns).writerow(self._rows[number])

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a disk that was full has cut the last line
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            rows = [{k: v for k, v in row.items() if v} for row in reader]
            self._columns = list(reader.fieldnames or self._columns)
            self._rows = {int(r["step"]): r for r in rows if int(r["step"]) <= self._resume_step}
        self._rewrite()

    def _rewrite(self) -> None:
        with new_file(self.path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self._columns)
            writer.writeheader()
            writer.writerows(self._rows.values())


def wandb_logger(
    folder: str,
    resume_step: int = 0,
    *,
    mode: Literal["online", "offline", "disabled"],
    project: str,
    entity: str | None = None,
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
) -> WandbLogger:
    """A Weights & Biases run whose files are in the run folder and which a resumed run continues.

    Args:
        folder: the run folder; `checkpoints/wandb_run_id` remembers the run.
        resume_step: number of steps that the run had done when it was resumed.
        mode: `offline` keeps the files for `wandb sync`, `disabled` does nothing.
        project: project at the server.
        entity: team or user at the server, the account's default if None.
        name: shown name of the run, wandb invents one if None.
        group: runs shown together.
        tags: labels of the run.
    """
    from wandb.sdk.lib.runid import generate_id

    remembered = Path(folder) / "checkpoints" / "wandb_run_id"
    run_id = remembered.read_text().strip() if resume_step and remembered.exists() else ""
    # a sweep's agent has chosen the id already
    run_id = run_id or os.environ.get("WANDB_RUN_ID") or generate_id()
    logger = WandbLogger(
        save_dir=folder,
        project=project,
        entity=entity,
        name=name,
        group=group,
        tags=list(tags or []),
        mode=mode,
        id=run_id,
        resume="allow",
    )
    _remember(remembered, run_id)
    return logger


def tensorboard_logger(folder: str, resume_step: int = 0) -> TensorBoardLogger:
    """Event files in `<run folder>/tensorboard`.

    Args:
        folder: the run folder.
        resume_step: later entries of an interrupted session are hidden.

    Raises:
        UserError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "logger=tensorboard: TensorBoard is not installed, get it with "
            "pip install 'selfsup_motion[tensorboard]'."
        )
    purge = resume_step if resume_step else None
    return TensorBoardLogger(folder, name="", version="tensorboard", purge_step=purge)


@rank_zero_only
def _remember(file: Path, run_id: str) -> None:
    write_text(file, f"{run_id}\n")
