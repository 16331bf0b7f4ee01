"""Several ranks forked from this process, which has imported everything: a second, not a minute."""

import functools
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

Rank = Any
CONTEXT = get_context("fork")
CONF = Path(__file__).parent / "conf"
"""Config groups of these tests."""


@functools.cache
def warm_up() -> None:
    """Import here, once, what every child would import for itself: some of it at the first step."""
    import pytorch_lightning as pl
    import torch

    import selfsup_motion.data.module
    import selfsup_motion.training.report
    import selfsup_motion.training.signals  # noqa: F401

    class OneWeight(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", enable_model_summary=False, **silent)
    trainer.fit(OneWeight(), torch.utils.data.DataLoader([0]))


def free_port() -> int:
    """A port that is free, with a free neighbour."""
    while True:
        port = random.SystemRandom().randint(20000, 30000)
        try:
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port


class Ranks:
    """Processes that run `function(*arguments)` as the ranks of one run."""

    def __init__(
        self,
        size: int,
        function: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        warm_up()
        port = str(free_port())
        self.processes: list[Rank] = []
        self._ends: list[Connection] = []
        for rank in range(size):
            here, there = CONTEXT.Pipe(duplex=False)
            own = {} if size == 1 else {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }  # fmt: skip
            own |= environment or {}
            process = CONTEXT.Process(target=_run, args=(rank, own, there, function, arguments))
            process.start()
            there.close()
            self.processes.append(process)
            self._ends.append(here)

    def join(self, timeout: float = PATIENCE) -> list[int]:
        """Exit statuses; the test fails if one is late."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        late = [rank for rank, p in enumerate(self.processes) if p.is_alive()]
        self.kill()
        if late:
            pytest.fail(f"ranks {late} did not end within {timeout} s")
        return [process.exitcode for process in self.processes]

    def results(self, timeout: float = PATIENCE) -> list[Any]:
        """What the function returned on each rank; the test fails if one raised."""
        deadline = time.monotonic() + timeout
        found = []
        for rank, end in enumerate(self._ends):
            try:
                if not end.poll(max(0.0, deadline - time.monotonic())):
                    raise EOFError
                error, result = end.recv()
            except EOFError:
                self.kill()
                pytest.fail(f"rank {rank} has returned nothing")
            if error is not None:
                self.kill()
                pytest.fail(f"rank {rank}:\n{error}")
            found.append(result)
        self.join(timeout)
        return found

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal all of them that are still there."""
        for process in self.processes:
            if process.is_alive():
                os.kill(process.pid, signum)
        if signum == signal.SIGKILL:
            for process in self.processes:
                process.join()


def _run(
    rank: int,
    environment: Mapping[str, str],
    end: Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    from pytorch_lightning.utilities import rank_zero_only

    os.environ.update(environment)
    rank_zero_only.rank = rank  # Lightning has read it when it was imported
    os.setpgrp()
    try:
        end.send((None, function(*arguments)))
    except Exception:
        end.send((traceback.format_exc(), None))
        raise
