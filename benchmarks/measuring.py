"""Several forms of the same work, measured in turn, each in a process of its own.

A benchmark describes what it compares as `Comparison`s and ends with `run(comparisons)`; `bench.py`
measures all of them and writes the page. The processes are forked and wait for each other: one call
of each form, then the next round, so that what else the machine does meets all forms alike. A
comparison has some seconds; a form that has used up its share of them takes no part in further
rounds, but each has at least three calls.

Processor time is that of the process and of the children that ended in it, on one thread. Memory is
the growth of the resident memory from the finished preparation to the peak of the first call. On a
GPU, time is the wall's, with the device's work done, and memory is what the allocator handed out.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import torch

Call = Callable[[], float | None]
"""One call of a form; returns a number that all forms must agree on, or nothing."""
Make = Callable[[], Call]
"""Prepares a form, in its own process: what this takes is not counted."""


LEAST = 3
"""Calls of each form, whatever they take."""


@dataclass(frozen=True)
class Comparison:
    """Forms of the same work, the first of them the baseline.

    Attributes:
        name: what they do.
        forms: by their names.
        repeats: most calls of each.
        warm_up: whether the first call of each form only warms it up and is not counted.
        agree: the largest relative difference of the returned numbers. `None`: not compared.
        unit, count: what a call makes, and how many: times are given for one of them.
        clock: what the ratios are of on a CPU: "cpu" or, for several processes, "wall".
        note: a sentence below the table.
        extra: left out by `bench.py`; measured if its name is asked for (`--only`).
    """

    name: str
    forms: dict[str, Make]
    repeats: int = 9
    warm_up: bool = True
    agree: float | None = 1e-3
    unit: str = "call"
    count: float = 1
    clock: str = "cpu"
    note: str = ""
    extra: bool = False


@dataclass
class Figures:
    """Seconds of a unit, MiB of the first call, and the number that it returned."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    mib: float = 0.0
    value: float | None = None


def measure(comparison: Comparison, device: str, seconds: float = 12) -> dict[str, Any]:
    """The figures of each form, as plain values.

    Args:
        comparison: what to measure.
        device: "cpu" or "cuda".
        seconds: of the wall, for preparations and calls. The forms share what the preparations
            leave; each is called at least `LEAST` times, even if that takes longer.

    Raises:
        RuntimeError: a form failed, or the forms do not agree.
    """
    deadline = time.perf_counter() + seconds
    context = multiprocessing.get_context("fork")
    found: dict[str, Figures] = {}
    pipes, processes = {}, []
    try:
        for name, make in comparison.forms.items():
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(make, device, theirs), daemon=False)
            process.start()
            theirs.close()
            processes.append(process)
            cpu, wall, mib, value = _answer(pipes[name], f"{comparison.name}, {name}")
            first = ([], []) if comparison.warm_up else ([cpu], [wall])
            found[name] = Figures(*first, mib=mib, value=value)
        share = (deadline - time.perf_counter()) / len(found)
        least = min(LEAST, comparison.repeats)
        while called := [
            name
            for name, figures in found.items()
            if another(figures.wall, share, least, comparison.repeats)
        ]:
            for name in called:
                pipes[name].send(True)
                cpu, wall, _, _ = _answer(pipes[name], f"{comparison.name}, {name}")
                found[name].cpu.append(cpu)
                found[name].wall.append(wall)
    finally:
        for pipe, process in zip(pipes.values(), processes, strict=True):
            # not by closing the pipe: processes that were forked later also hold it
            with contextlib.suppress(BrokenPipeError):
                pipe.send(False)
            process.join()
    _compare(comparison, found)
    for figures in found.values():
        figures.cpu = [seconds / comparison.count for seconds in figures.cpu]
        figures.wall = [seconds / comparison.count for seconds in figures.wall]
    forms = {name: asdict(figures) for name, figures in found.items()}
    clock = comparison.clock if device == "cpu" else "wall"
    told = {"name": comparison.name, "unit": comparison.unit, "note": comparison.note}
    return {**told, "clock": clock, "forms": forms}


def another(taken: Sequence[float], share: float, least: int, most: int) -> bool:
    """Whether a form is called once more, given the seconds of its calls and those it may take."""
    if not least <= len(taken) < most:
        return len(taken) < least
    return sum(taken) * (1 + 1 / len(taken)) <= share


def run(comparisons: Callable[[str], Iterable[Comparison]]) -> None:
    """The command line of one benchmark: measure, and print its tables."""
    from page import table  # which needs nothing of this

    parser = argparse.ArgumentParser(description="Measure this part alone and print its tables.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", help="tables whose names contain this text")
    parser.add_argument("--repeats", type=int, help="most calls of each form")
    parser.add_argument("--seconds", type=float, default=12, help="for each table")
    args = parser.parse_args()
    for comparison in comparisons(args.device):
        if args.only in comparison.name and (args.only or not comparison.extra):
            chosen = replace(comparison, repeats=args.repeats or comparison.repeats)
            print(table(measure(chosen, args.device, args.seconds)), flush=True)


@cache
def scratch() -> Path:
    """A folder that is deleted when this process ends, for what forms read."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # not in processes of forms
    return Path(folder)


def _compare(comparison: Comparison, found: dict[str, Figures]) -> None:
    values = {name: f.value for name, f in found.items() if f.value is not None}
    if comparison.agree is None or not values:
        return
    first = next(iter(values.values()))
    for name, value in values.items():
        if abs(value - first) > comparison.agree * abs(first):
            raise RuntimeError(f"{comparison.name}: {name} gives {value}, not {first}")


def _answer(pipe: Connection, what: str) -> Any:
    answer = pipe.recv()
    if isinstance(answer, str):
        raise RuntimeError(f"{what}:\n{answer}")
    return answer


def _serve(make: Make, device: str, pipe: Connection) -> None:
    try:
        torch.set_num_threads(1)
        cv2.setNumThreads(0)  # 1 waits, in a forked process, for threads that only its parent has
        torch.manual_seed(0)
        call = make()
        gc.collect()
        before = _start_peak(device)
        cpu, wall = _cpu(), time.perf_counter()
        value = call()
        _wait(device)
        cpu, wall = _cpu() - cpu, time.perf_counter() - wall
        pipe.send((cpu, wall, _peak(device) - before, value))
        while pipe.recv():
            cpu, wall = _cpu(), time.perf_counter()
            call()
            _wait(device)
            pipe.send((_cpu() - cpu, time.perf_counter() - wall, 0.0, None))
    except Exception:
        pipe.send(traceback.format_exc())
    finally:
        os._exit(0)  # without waiting for processes that a form has left


def _cpu() -> float:
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _start_peak(device: str) -> float:
    """MiB in use; the peak counts from here."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _kib("VmRSS") / 1024
    except OSError:  # not Linux, or not allowed: the peak so far
        return _peak(device)


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        return _kib("VmHWM") / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _kib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise OSError(key)
