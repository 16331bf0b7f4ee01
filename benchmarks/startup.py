"""Start-up: what a command costs before it does anything.

    python benchmarks/startup.py

`import torch` is the least that a network costs, and `import pytorch_lightning` the least that
training costs.
"""

from __future__ import annotations

from typing import Any

from commands import process
from measuring import Comparison, run

ROWS: dict[str, tuple[Any, ...]] = {
    "import torch": (0, "-c", "import torch"),
    "import selfsup_motion": (0, "-c", "import selfsup_motion"),
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
    "propagate, no such video": (
        2, "-m", "selfsup_motion.propagate", "video=no.mp4", "mask=no.png",
    ),
    "animate, the example": (0, "-m", "selfsup_motion.animate", "paths.output_dir={out}"),
    "train, debug=fast_dev_run": (
        0, "-m", "selfsup_motion.train", "experiment=cmp", "trainer=cpu", "debug=fast_dev_run",
        "paths.output_dir={out}",
    ),
}  # fmt: skip
"""Exit status and arguments of Python, by what they show."""


def comparisons(device: str) -> list[Comparison]:
    forms = {name: process(*arguments) for name, arguments in ROWS.items()}
    return [Comparison("one process each", forms, repeats=5, warm_up=False, unit="process")]


if __name__ == "__main__":
    run(comparisons)
