"""Commands of the package as calls: in this process, or in one of their own."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
import tempfile
from unittest import mock

from measuring import Call, Make


def here(verb: str, *arguments: str) -> Call:
    """`python -m selfsup_motion.<verb> …`, without the start of a process."""

    def call() -> None:
        told = io.StringIO()
        with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as stack:
            line = [verb, *arguments, f"paths.output_dir={out}"]
            stack.enter_context(mock.patch.object(sys, "argv", line))
            stack.enter_context(contextlib.redirect_stdout(told))
            stack.enter_context(contextlib.redirect_stderr(told))
            try:
                importlib.import_module(f"selfsup_motion.{verb}").main()
            except SystemExit as stop:
                if stop.code:
                    raise RuntimeError(f"{' '.join(line)}:\n{told.getvalue()}") from stop

    return call


def process(status: int, *arguments: str) -> Make:
    """Python with arguments, `{out}` for a folder of its own; it must end with `status`."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            line = [sys.executable, *(text.format(out=f"{folder}/out") for text in arguments)]
            done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != status:
            raise RuntimeError(f"{' '.join(line)} ended with {done.returncode}:\n{done.stderr}")

    return lambda: call
