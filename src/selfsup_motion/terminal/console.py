"""One console for everything a run says, and the log file that keeps it."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType

from selfsup_motion.text.names import register_handler

# rich takes anything but a terminal for one of 80 columns
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# Nothing that a user could act on; each is answered by this package's own design.
_SILENCED = (
    r".*does not have many workers which may be a bottleneck.*",
    r".*You're resuming from a checkpoint that ended before the epoch ended.*",
    r".*The number of training batches \(\d+\) is smaller than the logging interval.*",
    r".*Trying to infer the `batch_size` from an ambiguous collection.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*GPU available but not used.*",
    r".*It is recommended to use `self\.log\(.*sync_dist=True.*",  # torchmetrics has reduced it
    r".*Found \d+ module\(s\) in eval mode at the start of training.*",  # a frozen encoder
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)


_EARLY_KEPT = 200
"""Messages that are remembered until there is a log file."""


def quieten() -> None:
    """Keep what libraries say and nobody can use off the console, for the rest of the process.

    Messages that come before `logging_to` are remembered for it; warnings are printed at once too.
    """
    for name in ("pytorch_lightning", "lightning_fabric", "torch", "wandb"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in _SILENCED:
        warnings.filterwarnings("ignore", message=pattern)
    _early.start()


@contextlib.contextmanager
def logging_to(file: Path | None) -> Iterator[None]:
    """Log messages on the console and in `file`; an exception leaves its traceback in the file.

    Args:
        file: appended to; None on ranks that stay silent.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    early = _early.stop()
    kept_level, root.level = root.level, logging.INFO
    if file is not None:
        to_file = logging.FileHandler(file, encoding="utf-8", errors=register_handler())
        to_file.setFormatter(logging.Formatter(_FORMAT))
        handlers = [_ToConsole(), to_file]
    for handler in handlers:
        root.addHandler(handler)
    for record in early:
        for handler in handlers:
            # warnings have been on the console
            if handler is not handlers[0] or record.levelno < logging.WARNING:
                handler.handle(record)
    logging.captureWarnings(True)
    try:
        yield
    except BaseException as error:
        record = root.makeRecord(
            __package__, logging.ERROR, "", 0, "%s", (type(error).__name__,),
            (type(error), error, error.__traceback__),
        )  # fmt: skip
        for handler in handlers[1:]:
            handler.handle(record)
        raise
    finally:
        logging.captureWarnings(False)
        root.level = kept_level
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def show(renderable: RenderableType, file: Path | None = None) -> None:
    """Print to the console and, if given, append the same as plain text to `file`."""
    console.print(renderable, markup=False)
    if file is not None:
        with file.open("a", encoding="utf-8", errors=register_handler()) as stream:
            Console(file=stream, width=120).print(renderable, markup=False)


class _ToConsole(logging.Handler):
    """Prints above a live progress bar, without time and logger name."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "py.warnings":
            # `file.py:12: UserWarning: text` + the source line; the log file keeps it all
            text = text.partition("Warning: ")[2].partition("\n")[0] or text
        if record.levelno >= logging.WARNING:
            text = f"Warning: {text}"
        # in a notebook, nobody has told the stream what to do with names that are not UTF-8
        console.print(text.encode("utf-8", register_handler()).decode(), markup=False)


class _Buffered(_ToConsole):
    """What is said before the folder of the log file is known, each message once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._records: dict[str, logging.LogRecord] = {}
        self._level = logging.WARNING

    def start(self) -> None:
        root = logging.getLogger()
        if self not in root.handlers:
            self._level, root.level = root.level, logging.INFO
            root.addHandler(self)
        self._records = {}

    def stop(self) -> list[logging.LogRecord]:
        """The messages so far."""
        root = logging.getLogger()
        if self in root.handlers:
            root.removeHandler(self)
            root.level = self._level
        records, self._records = self._records, {}
        return list(records.values())

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._records:
            if len(self._records) < _EARLY_KEPT:
                self._records[text] = record
            if record.levelno >= logging.WARNING:
                super().emit(record)


_early = _Buffered()
