"""A progress bar over frames; without a terminal a line now and then."""

import time
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from selfsup_motion.terminal.console import console


class Bar:
    """Frames done, frames per second and the time left. A context manager.

    Args:
        seconds_between_lines: pause between the lines that replace the bar without a terminal.
    """

    def __init__(self, seconds_between_lines: float = 10.0) -> None:
        self._pause = 0.2 if console.is_terminal else seconds_between_lines
        self._bar = Progress(
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int, what: str) -> None:
        """Tell where the work stands."""
        now = time.monotonic()
        if now - self._shown < self._pause:
            return
        self._shown = now
        rate = done / max(now - self._started, 1e-3)
        left = timedelta(seconds=round((total - done) / rate))
        text = f"{what}  {rate:.1f} frames/s, {left} left"
        if console.is_terminal:
            self._bar.update(self._task, total=total, completed=done, description=text)
        else:
            console.print(f"{done}/{total}  {text}", markup=False)
