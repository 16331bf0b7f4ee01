"""A progress bar over the units of some work; without a terminal a line now and then."""

import time
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from selfsup_motion.terminal.console import console

_REFRESH = 0.2  # seconds


class Bar:
    """Units done, units per second and the time left. A context manager.

    Args:
        unit: what is counted, in the plural.
        seconds_between_lines: pause between the lines that replace the bar without a terminal.
    """

    def __init__(self, unit: str = "frames", seconds_between_lines: float = 10.0) -> None:
        self._unit = unit
        self._pause = _REFRESH if console.is_terminal else seconds_between_lines
        # refreshed by hand: a thread of its own would be forked along with workers
        self._bar = Progress(
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            auto_refresh=False,
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
        """Show where the work stands; an `OnProgress`."""
        now = time.monotonic()
        under_way = 0 < done < total
        if now - self._shown < self._pause and under_way:
            return
        self._shown = now
        rate = done / max(now - self._started, 1e-3)
        left = timedelta(seconds=round((total - done) / rate)) if done else "?"
        text = f"{what}  {rate:.1f} {self._unit}/s, {left} left".lstrip()
        if console.is_terminal:
            self._bar.update(self._task, total=total, completed=done, description=text)
            self._bar.refresh()
        elif under_way:
            console.print(f"{done}/{total}  {text}", markup=False)
