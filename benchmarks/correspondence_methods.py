"""All methods that learn to match frames: same data, same encoder, same budget, several seeds.

    OMP_NUM_THREADS=1 python benchmarks/correspondence_methods.py --folder outputs/methods
        [--only crw mast] [--seeds 0 1 2] [--length 1.0]

Each method is trained as in `experiment=<name>`, but with the encoder of `experiment=corrflow` (it
sees Lab for MAST, grey for Video Colorization) and for so many steps that a run costs about 60
CPU-seconds, loading included; `--length` is a factor. J is measured on clips of 10 frames of the
toy world's test split, which no recipe has been chosen by: by the cosine of the features, the same
for all, and as the method itself follows objects.

A run (a method and a seed) that has its file in the folder is not repeated, so an interrupted
comparison goes on where it was. The table of what is there is printed at the end, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup_motion.callbacks.seeding import SeedEveryBatch
from selfsup_motion.library.build import build
from selfsup_motion.methods.parts.following import (
    BASELINES,
    Unlearned,
    copy_masks,
    region_similarities,
)

STRIDE, RADIUS, TEMPERATURE = 4, 6, 0.005
"""Of the common read-out: pixels per cell, cells, and what cosines are divided by."""

METHODS: dict[str, tuple[str, int, list[str]]] = {  # name: experiment, steps, overrides
    "Video Colorization": ("baseline/video_colorization", 360, []),
    "CorrFlow": ("corrflow", 320, []),
    "MAST": ("mast", 640, []),
    "CRW": ("crw", 240, ["encoder=corrflow_small"]),
    "CycleTime": ("cycletime", 160, ["encoder=corrflow_small"]),
    "DenseUlearn": ("dense_ulearn", 170, ["encoder=corrflow_small"]),
}


def test_clips(count: int) -> list[dict[str, Tensor]]:
    """Clips with masks that no training or validation uses."""
    settings = (f"data.val_videos={count}", "data.module.val_source.split=test")
    _, data = build("experiment=corrflow", "data.num_workers=0", *settings)
    data.setup("fit")
    return list(data.val_dataloader())


def similarity(
    clips: Iterable[dict[str, Tensor]], follow: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Mean J over the objects of all clips; `follow` is given frames in [0, 1] and first masks."""
    scores = []
    for batch in clips:
        with torch.inference_mode():
            followed = follow(batch["frames"].float() / 255, batch["masks"][:, 0])
        scores.append(region_similarities(followed, batch["masks"]))
    return float(torch.cat(scores).mean())


def by_readout(method: Any, clips: list[dict[str, Tensor]], *, own: bool) -> dict[str, float]:
    """J by the cosine of the features and, if asked for, as the method follows objects."""

    def features(frames: Tensor) -> Tensor:
        maps: Tensor = method(frames.flatten(0, 1)).float()
        return maps.unflatten(0, frames.shape[:2])

    def by_cosine(frames: Tensor, masks: Tensor) -> Tensor:
        maps = F.normalize(features(frames), dim=2)
        return copy_masks(maps, masks, RADIUS, STRIDE, temperature=TEMPERATURE)

    def by_itself(frames: Tensor, masks: Tensor) -> Tensor:
        followed: Tensor = method.objects.follow(features(frames), masks)
        return followed

    method.eval()
    found = {"cosine": similarity(clips, by_cosine)}
    if own:
        same = method.objects.temperature == TEMPERATURE
        found["own"] = found["cosine"] if same else similarity(clips, by_itself)
    return found


def train(name: str, seed: int, length: float, clips: list[dict[str, Tensor]]) -> dict[str, Any]:
    """One run: J of the untrained and of the trained network."""
    experiment, steps, overrides = METHODS[name]
    steps = round(steps * length)
    settings = ["data.num_workers=0", "data.val_videos=1", f"seed={seed}", *overrides]
    method, data = build(f"experiment={experiment}", *settings)
    untrained = by_readout(method, clips, own=False)
    started = time.process_time()
    trainer = pl.Trainer(
        max_steps=steps, limit_val_batches=0, num_sanity_val_steps=0, logger=False,
        callbacks=[SeedEveryBatch(seed)], gradient_clip_val=10.0 if name == "CycleTime" else None,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", max_epochs=-1,
    )  # fmt: skip
    trainer.fit(method.train(), data)
    seconds = time.process_time() - started
    return {
        "method": name, "seed": seed, "steps": steps, "cpu_seconds": round(seconds, 1),
        "untrained": untrained, "trained": by_readout(method, clips, own=True),
    }  # fmt: skip


def baselines(clips: list[dict[str, Tensor]]) -> dict[str, float]:
    """J without learning."""
    unlearned = Unlearned(STRIDE, RADIUS)
    return {
        name: similarity(clips, lambda frames, masks, name=name: unlearned(frames, masks)[name])
        for name in BASELINES
    }


def table(folder: Path) -> str:
    """What is in the folder, as Markdown."""
    files = sorted(folder.glob("*_[0-9]*.json"))
    runs = [json.loads(file.read_text()) for file in files]
    lines = [
        "| | steps | CPU-s | J, cosine: mean (seeds) | J, as the method follows | untrained |",
        "|---|---|---|---|---|---|",
    ]
    plain = json.loads((folder / "baselines.json").read_text())
    lines += [f"| {BASELINES[key]} | – | – | {value:.3f} | | |" for key, value in plain.items()]
    for name in METHODS:
        of_it = [run for run in runs if run["method"] == name]
        if not of_it:
            continue
        trained = [run["trained"]["cosine"] for run in of_it]
        each = ", ".join(f"{value:.3f}" for value in trained)
        own = statistics.mean(run["trained"]["own"] for run in of_it)
        before = statistics.mean(run["untrained"]["cosine"] for run in of_it)
        seconds = statistics.mean(run["cpu_seconds"] for run in of_it)
        lines.append(
            f"| {name} | {of_it[0]['steps']} | {seconds:.0f} | {statistics.mean(trained):.3f} "
            f"({each}) | {own:.3f} | {before:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--length", type=float, default=1.0)
    parser.add_argument("--clips", type=int, default=48)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    args.folder.mkdir(parents=True, exist_ok=True)
    clips = test_clips(args.clips)

    def once(file: Path, measure: Callable[[], dict[str, Any]]) -> None:
        if not file.exists():
            found = measure()
            part = file.with_suffix(".part")
            part.write_text(json.dumps(found, indent=2) + "\n")
            part.replace(file)
            print(json.dumps(found), flush=True)

    once(args.folder / "baselines.json", lambda: baselines(clips))
    for seed in args.seeds:  # so that a comparison that was stopped has all methods
        for name in args.only:
            file = args.folder / f"{name.lower().replace(' ', '_')}_{seed}.json"
            once(file, lambda name=name, seed=seed: train(name, seed, args.length, clips))
    print(table(args.folder))


if __name__ == "__main__":
    main()
