"""A job without videos, for tests of how jobs are run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup_motion.errors import ClipReadError
from selfsup_motion.files.atomic import folder_size, new_folder, write_text

HANGING = "hanging"
"""File beside the texts that appears when a text hangs."""


class CopyTexts:
    """Copies texts into folders of their own, a letter per file; what the text says may happen."""

    def __init__(self, root: Path, output: Path, version: int = 1) -> None:
        self.root, self.output, self.version = root, output, version

    def settings(self) -> dict[str, Any]:
        return {"version": self.version}

    def units(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    def stamp(self, unit: str) -> list[int]:
        return [(self.root / unit).stat().st_mtime_ns]

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        text = (self.root / unit).read_text()
        if text == "bad":
            raise ClipReadError(f"{unit} is bad.", file=unit, reason="damaged")
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "hang":
            (self.root.parent / HANGING).touch()
            parent = os.getppid()
            while os.getppid() == parent:  # not for ever: whoever takes the results may be killed
                time.sleep(0.05)
        if text == "bug":
            raise ZeroDivisionError("division by zero")
        with new_folder(self.output / unit, drafts) as draft:
            for place, letter in enumerate(text):
                (draft / str(place)).write_text(letter)
        return {"letters": len(text)}

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        return folder_size(self.output / unit)[0] == result["letters"]

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        total = sum(result["letters"] for result in results.values())
        write_text(self.output / "total", str(total))
        return [f"{total} letters"]
