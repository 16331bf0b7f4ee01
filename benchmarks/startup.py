"""Start-up: what a command costs before it does anything, in CPU seconds of a process of its own.

    python benchmarks/startup.py [--runs 3] [--only train]

`import torch` is the least that a network costs, and `import pytorch_lightning` the least that
training costs. CPU seconds grow too when other processes need the cores and caches, so only rows of
one run can be compared; the load is printed beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = {
    "import selfsup_motion": (0, "-c", "import selfsup_motion"),
    "import torch": (0, "-c", "import torch"),
    "import pytorch_lightning": (0, "-c", "import pytorch_lightning"),
    "train --help": (0, "-m", "selfsup_motion.train", "--help"),
    "train, a wrong type": (
        2, "-m", "selfsup_motion.train", "experiment=cmp", "data.batch_size=many",
    ),
    "train, a wrong name": (
        2, "-m", "selfsup_motion.train", "experiment=cmp", "data.bach_size=2",
    ),
    "evaluate, a wrong type": (
        2, "-m", "selfsup_motion.evaluate", "task=davis2017", "data=toy", "encoder=lab_color",
        "seed=x",
    ),
    "prepare, no such folder": (
        2, "-m", "selfsup_motion.prepare", "prepare=flow", "prepare.root=no", "prepare.output=o",
    ),
    "animate, no such photo": (
        2, "-m", "selfsup_motion.animate", "image=no.jpg", "arrows=[[1,2,3,4]]",
    ),
    "annotate, no such photo": (
        2, "-m", "selfsup_motion.annotate", "image=no.jpg", "positive=[[1,2]]",
    ),
    "propagate, no such video": (
        2, "-m", "selfsup_motion.propagate", "video=no.mp4", "mask=no.png",
    ),
    "activation, no such video": (2, "-m", "selfsup_motion.activation", "video=no.mp4"),
    "fit_colors, a wrong type": (2, "-m", "selfsup_motion.fit_colors", "clusters=x"),
    "animate, the example": (0, "-m", "selfsup_motion.animate", "paths.output_dir={out}"),
    "annotate, the example": (0, "-m", "selfsup_motion.annotate", "paths.output_dir={out}"),
    "train, debug=fast_dev_run": (
        0, "-m", "selfsup_motion.train", "experiment=cmp", "trainer=cpu", "debug=fast_dev_run",
        "paths.output_dir={out}",
    ),
}  # fmt: skip
"""Exit status and arguments of Python, by what they show."""


def measured(arguments: list[str], status: int, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode != status:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    cpu = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return cpu, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="processes for each row; the median")
    parser.add_argument("--only", default="", help="rows whose names contain this text")
    args = parser.parse_args()
    print("| | CPU seconds | seconds | load |\n|---|---|---|---|")
    for name, (status, *arguments) in ROWS.items():
        if args.only not in name:
            continue
        times = []
        for _ in range(args.runs):
            with tempfile.TemporaryDirectory() as folder:
                own = [text.format(out=f"{folder}/out") for text in arguments]
                times.append(measured(own, status, Path(folder)))
        cpu, wall = (statistics.median(values) for values in zip(*times, strict=True))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
