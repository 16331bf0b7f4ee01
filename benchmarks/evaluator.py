"""Scoring a frozen encoder: `evaluate task=davis2017` with one propagation and with all of them.

    python benchmarks/evaluator.py [--device cuda]

ResNet-18 of stride 8 on a clip of the toy world, all propagations at the size of its frames (their
protocols enlarge them, some to 480 pixels and more, which takes minutes). A call is a whole run of
the command, with PyTorch already imported, divided by the number of frames. `propagator=all`
follows with every one of them in a single run and computes features once; `--only runs` compares it
with a run for each, which takes too long for `make bench`.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from commands import here
from measuring import Call, Comparison, Make, run

from selfsup_motion.settings.compose import config_dir

CLIPS, LENGTH, SIDE = 1, 6, 128


def presets() -> list[str]:
    """Of `propagator=all`."""
    text = (Path(config_dir()) / "propagator" / "all.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["names"])


def evaluated(device: str, *propagators: str) -> Make:
    """A run for each of some propagations."""
    line = [
        "evaluate", "task=davis2017", "data=toy", "task.baselines=[]", f"task.short_side={SIDE}",
        "encoder=resnet18_stride8",
        f"data.sequences.source.num_videos={CLIPS}", f"data.sequences.length={LENGTH}",
        f"data.size={SIDE}", f"device={device}",
    ]  # fmt: skip

    def make() -> Call:
        runs = [here(*line, f"propagator={name}") for name in propagators]

        def call() -> None:
            for one in runs:
                one()

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    one, every = evaluated(device, "dense_ulearn"), evaluated(device, "all")
    count = len(presets())
    together = f"{count} propagations, propagator=all"
    title = f"task=davis2017, a clip of {LENGTH} frames, {SIDE} × {SIDE}"
    named: dict[str, Make] = {"one propagation (dense_ulearn)": one, together: every}
    runs: dict[str, Make] = {
        f"{count} propagations, one run each": evaluated(device, *presets()),
        together: every,
    }
    return [
        Comparison(title, named, repeats=5, unit="frame", count=CLIPS * LENGTH),
        Comparison(
            f"{title}, runs", runs, repeats=5, unit="frame", count=CLIPS * LENGTH, extra=True
        ),
    ]


if __name__ == "__main__":
    run(comparisons)
