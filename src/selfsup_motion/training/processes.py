"""The processes of one run: which one this is, what the first has decided, who has died."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_only

from selfsup_motion.errors import UserError
from selfsup_motion.terminal.ranks import DECISION

_PATIENCE = timedelta(minutes=5)
_LOOK_EVERY = 0.2  # seconds
_WATCH_SECONDS = 10.0  # seconds in which a rank that fails has spoken and ended
_ended: set[int] = set()  # processes that this one has killed, whose end is no news


def is_rank_zero() -> bool:
    """Whether this process is the one that writes."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


@dataclass(frozen=True)
class Peers:
    """The processes that something other than Lightning has started: torchrun, SLURM, a person.

    Attributes:
        rank: of this process.
        size: their number.
        address: host of the first.
        port: where they will form their process group.
        has_store: whether the launcher already serves a key-value store there.
    """

    rank: int
    size: int
    address: str
    port: int
    has_store: bool = False


def peers(num_nodes: int) -> Peers | None:
    """The processes that were started together with this one, None if it is alone so far.

    Args:
        num_nodes: `trainer.num_nodes`; on each of them somebody starts one process.

    Raises:
        UserError: several nodes, and no word about which this is.
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        store = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return Peers(int(env["RANK"]), int(env["WORLD_SIZE"]), *_master_address(), store)
    if SLURMEnvironment.detect():
        slurm = SLURMEnvironment(auto_requeue=False)
        return Peers(slurm.global_rank(), slurm.world_size(), slurm.main_address, slurm.main_port)
    if num_nodes > 1:
        if "NODE_RANK" not in env:
            raise UserError(
                f"trainer.num_nodes={num_nodes}: start this command on every node with NODE_RANK, "
                "MASTER_ADDR and MASTER_PORT in the environment, or use torchrun or SLURM."
            )
        return Peers(int(env["NODE_RANK"]), num_nodes, *_master_address())
    return None


def from_first(decide: Callable[[], dict[str, Any]], num_nodes: int, job: str) -> dict[str, Any]:
    """What `decide` returns in the first process, in all of them.

    A clock read twice, or a folder looked into twice, would send the ranks different ways.

    Args:
        decide: gives plain data; called in the first process only.
        num_nodes: `trainer.num_nodes`.
        job: tells the jobs of a sweep apart.

    Raises:
        UserError: what `decide` raises, in the first process; or it does not answer, in another.
    """
    if DECISION in os.environ:
        return cast(dict[str, Any], json.loads(os.environ[DECISION]))
    group = peers(num_nodes)
    if group is None or group.size == 1:
        return decide()
    port = group.port if group.has_store else group.port + 1
    try:
        store: Any = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            group.address,
            port,
            is_master=group.rank == 0 and not group.has_store,
            wait_for_workers=False,
            timeout=_PATIENCE,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"Rank {group.rank} cannot reach the first process at {group.address}:{port}: make "
            "sure that this port is free and open, or choose another MASTER_PORT."
        ) from error
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = f"selfsup_motion/{job}/{attempt}"
    return (
        _decide_and_send(store, key, group, decide)
        if group.rank == 0
        else _receive_decision(store, key)
    )


class WatchRanks(pl.Callback):
    """Ends this process when one dies that Lightning has started beside it.

    Otherwise it would wait for the dead in the next collective operation, and Lightning's own
    watch kills it without a word.

    Args:
        before: called right before this process ends.
    """

    def __init__(self, before: Callable[[], object]) -> None:
        self.before = before

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if children := _children(trainer):
            threading.Thread(
                target=_watch, args=(children, self.before), daemon=True, name="ranks"
            ).start()


def end_children(trainer: pl.Trainer, seconds: float = 0.0) -> None:
    """End the processes that Lightning has started.

    Args:
        trainer: the trainer whose they are.
        seconds: that they may still take to end by themselves.
    """
    deadline = time.monotonic() + seconds
    for child in _children(trainer):
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _ended.add(child.pid)
            child.kill()
            child.wait()


def wait_for_watch(trainer: pl.Trainer) -> None:
    """Give the watch time to see which rank is gone; it then tells, and ends this process."""
    if _children(trainer):
        time.sleep(_WATCH_SECONDS)


def plugins() -> list[Any]:
    """Lightning's view of the cluster, without its own way of requeueing (see `signals`)."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _decide_and_send(
    store: Any, key: str, group: Peers, decide: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] | None = None
    try:
        answer = decide()
    finally:
        store.set(key, json.dumps(answer))
        # this process may serve the store: it has to stay until everybody has read
        deadline = time.monotonic() + _PATIENCE.total_seconds()
        while store.add(f"{key}/read", 0) < group.size - 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    return answer


def _receive_decision(store: Any, key: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] | None = json.loads(store.get(key))
    except RuntimeError as error:
        raise UserError("The first process of this run does not answer.") from error
    store.add(f"{key}/read", 1)
    if answer is None:
        raise UserError("The first process of this run could not start, see its message.")
    return answer


def _master_address() -> tuple[str, int]:
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError) as error:
        raise UserError(
            "Several processes need MASTER_ADDR and MASTER_PORT in the environment: a host and a "
            "port at which all of them can reach the first process."
        ) from error


def _children(trainer: pl.Trainer) -> list[subprocess.Popen[bytes]]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _watch(children: list[subprocess.Popen[bytes]], before: Callable[[], object]) -> None:
    alive = True
    while alive:
        alive = any(child.poll() is None for child in children)
        for rank, child in enumerate(children, 1):
            if child.poll() and child.pid not in _ended:
                _give_up(children, rank, child.returncode, before)
        time.sleep(_LOOK_EVERY)


def _give_up(
    children: list[subprocess.Popen[bytes]], rank: int, status: int, before: Callable[[], object]
) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    print(f"Rank {rank} {how}, so this run ends.", file=sys.stderr, flush=True)
    before()
    os._exit(status if status > 0 else 128 - status)
