"""Measure the parts of the benchmark and write docs/benchmarks.md.

    python benchmarks/bench.py [PART ...] [--device cuda] [--page]

Without names, all parts are measured. What was measured stays in benchmarks/results/, a file for
each part, and the page is written anew after each part, so that a run that was stopped loses
nothing. `--page` only writes the page.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import page

PARTS = {  # file: title
    "ceilings": "Ceilings of the machine",
    "attention": "Restricted attention",
    "flow_loss": "CMP's loss",
    "steps": "Training steps and their bare networks",
    "train_step": "CMP's training step and the published loss",
    "corrflow_step": "CorrFlow's training step and the published one",
    "guidance": "CMP's guidance",
    "yfcc_pipeline": "CMP's training samples",
    "mosi_generator": "MoSI's pseudo-motion",
    "loader": "Loading videos",
    "propagation": "Following objects",
    "inference": "Applications",
    "startup": "Start-up",
    "curves": "How cost grows",
    "ddp": "Two processes",
}
ON_GPU = (
    "ceilings", "attention", "flow_loss", "steps", "train_step", "mosi_generator", "propagation",
)  # fmt: skip


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


def measure_part(part: str, device: str) -> None:
    """In this process: measure and store."""
    from measuring import measure

    loads, found = [os.getloadavg()[0]], []
    for comparison in importlib.import_module(part).comparisons(device):
        found.append(measure(comparison, device))
        print(page.table(found[-1]), flush=True)
        loads.append(os.getloadavg()[0])
    result = {
        # at the end: the processes of the parts are forked, which a device that is in use forbids
        "machine": machine(device),
        "date": datetime.date.today().isoformat(),
        "load": max(loads),
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args()
    possible = PARTS if args.device == "cpu" else ON_GPU
    for part in args.parts:
        if part not in possible:
            parser.error(f"{part}: expected one of {', '.join(possible)}.")
    if args.here:
        measure_part(args.parts[0], args.device)
        return
    if args.device == "cuda" and not args.page:
        import torch

        if not torch.cuda.is_available():
            sys.exit("--device cuda: PyTorch finds no CUDA device here.")
    for part in [] if args.page else args.parts or possible:
        print(f"== {part}", flush=True)
        started = time.perf_counter()
        command = [sys.executable, __file__, part, "--device", args.device, "--here"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if subprocess.run(command, env=environment, check=False).returncode:
            sys.exit(f"{part} was not measured; the parts before it are in {page.RESULTS}.")
        print(f"{part}: {time.perf_counter() - started:.0f} s\n", flush=True)
        page.write(PARTS)
    if args.page:
        page.write(PARTS)


if __name__ == "__main__":
    main()
