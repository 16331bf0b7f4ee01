"""Measure the parts of the benchmark and write docs/benchmarks.md.

    python benchmarks/bench.py [PART ...] [--device cuda] [--plan] [--page]

Without names, all parts are measured, which takes a quarter of an hour at most (on a GPU five
minutes): each part has its seconds, and makes as many calls as fit in them, at least three of each
form. What was measured stays in benchmarks/results/, a file for each part, and the page is written
anew after each part, so that a run that was stopped loses nothing. A part that fails, or that takes
far longer than planned, is left out. `--plan` only prints the seconds, `--page` only writes the
page.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import page

STARTED = time.perf_counter()


@dataclass(frozen=True)
class Part:
    """A file of this folder.

    Attributes:
        title: on the page.
        seconds: planned on two idle cores, with starting and preparing.
        on_gpu: the same on a GPU; 0: it is not measured there.
    """

    title: str
    seconds: int
    on_gpu: int = 0


PARTS = {
    "ceilings": Part("Ceilings of the machine", 15, 15),
    "attention": Part("Restricted attention", 60, 60),
    "flow_loss": Part("CMP's loss", 30, 20),
    "steps": Part("Training steps and their bare networks", 165, 100),
    "guidance": Part("CMP's guidance", 20),
    "yfcc_pipeline": Part("CMP's training samples", 25),
    "mosi_generator": Part("MoSI's pseudo-motion", 25, 15),
    "loader": Part("Loading videos", 20),
    "propagation": Part("Following objects", 100, 40),
    "evaluator": Part("Scoring a frozen encoder", 40, 20),
    "inference": Part("Applications", 70),
    "startup": Part("Start-up", 150),
    "curves": Part("How cost grows", 60),
    "ddp": Part("Two processes", 45),
}
TITLES = {name: part.title for name, part in PARTS.items()}
LATE = 3
"""A part that takes this many times its seconds, and a minute, is stopped."""


def planned(device: str) -> dict[str, int]:
    """Seconds of each part that is measured on a device."""
    found = {name: p.seconds if device == "cpu" else p.on_gpu for name, p in PARTS.items()}
    return {name: seconds for name, seconds in found.items() if seconds}


def machine(device: str) -> dict[str, str]:
    """What a reader has to know of where this was measured."""
    import torch

    found = {"": f"{_processor()}, {os.cpu_count()} cores"}
    if device == "cuda":
        found["GPU"] = torch.cuda.get_device_name()
    found |= {"Python": platform.python_version(), "PyTorch": torch.__version__.split("+")[0]}
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure_part(part: str, device: str, seconds: float) -> None:
    """In this process: measure and store. Each comparison gets an equal share of what is left."""
    from measuring import measure

    deadline = STARTED + seconds
    loads, found = [os.getloadavg()[0]], []
    comparisons = [c for c in importlib.import_module(part).comparisons(device) if not c.extra]
    for number, comparison in enumerate(comparisons):
        left = deadline - time.perf_counter()
        found.append(measure(comparison, device, left / (len(comparisons) - number)))
        print(page.table(found[-1]), flush=True)
        loads.append(os.getloadavg()[0])
    result = {
        # at the end: the processes of the parts are forked, which a device that is in use forbids
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        "load": max(loads),
        "seconds": time.perf_counter() - STARTED,
        "comparisons": found,
    }
    path = page.RESULTS / device / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(result), indent=1) + "\n")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def plan(parts: dict[str, int]) -> str:
    """What will be measured and how long it takes."""
    lines = [f"{name:16}{seconds:5} s  {TITLES[name]}" for name, seconds in parts.items()]
    return "\n".join([*lines, f"{'together':16}{sum(parts.values()):5} s"])


def measure_all(parts: dict[str, int], device: str) -> list[str]:
    """Measure one part after the other, each in a process of its own.

    Args:
        parts: planned seconds by name.
        device: "cpu" or "cuda".

    Returns:
        What went wrong, a sentence for each part that was not measured.
    """
    wrong, left = [], sum(parts.values())
    for number, (part, seconds) in enumerate(parts.items(), start=1):
        place = f"{number} of {len(parts)}"
        print(f"== {part}: {place}, {seconds} s planned, {left} s left", flush=True)
        command = [sys.executable, __file__, part, "--device", device, "--here"]
        started = time.perf_counter()
        reason = run_part(command, LATE * seconds + 60)
        left -= seconds
        if reason:
            wrong.append(f"{part} was not measured: {reason}.")
            print(wrong[-1], flush=True)
        else:
            page.write(TITLES)
        taken = time.perf_counter() - started
        print(f"{part}: {taken:.0f} s, planned {seconds}; {left} s left\n", flush=True)
    return wrong


def run_part(command: Sequence[str], limit: float) -> str:
    """Run a process, with what it starts and writes; why it was of no use, or nothing.

    Args:
        command: the process.
        limit: seconds after which it is stopped.

    Raises:
        KeyboardInterrupt: after the process was stopped.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["TMPDIR"] = folder
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"it was stopped after {limit:.0f} seconds"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its forms are processes, too
                process.wait()
    return f"its process ended with {status}; its message is above" if status else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--plan", action="store_true", help="only print the seconds of each part")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args()
    possible = planned(args.device)
    for part in args.parts:
        if part not in possible:
            parser.error(f"{part}: expected one of {', '.join(possible)}.")
    chosen = {name: possible[name] for name in args.parts or possible}
    if args.here:
        measure_part(args.parts[0], args.device, possible[args.parts[0]])
    elif args.page:
        page.write(TITLES)
    elif args.plan:
        print(plan(chosen))
    else:
        if args.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                sys.exit("--device cuda: PyTorch finds no CUDA device here.")
        print(plan(chosen) + "\n", flush=True)
        try:
            wrong = measure_all(chosen, args.device)
        except KeyboardInterrupt:
            sys.exit(f"\nStopped. The parts that were measured are in {page.RESULTS}.")
        if wrong:
            sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
