"""Where the time of loading clips from a folder of videos goes, on one core.

    python benchmarks/video_loading.py FOLDER [--length 2] [--short-side 160] [--clips 20]

Prints a row per file with CPU milliseconds per clip: opening (with the pass over the packets),
decoding exact frames (seek included), conversion to RGB with resizing, flow with its check; and
clips per second and core, with the file opened anew for each clip.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources.videos import VIDEO_EXTENSIONS
from selfsup_motion.errors import ClipReadError


class Clock:
    """CPU time by name."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(("open", "decode", "convert", "flow"), 0.0)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.spent[name] += time.process_time() - begin


class TimedFile(VideoFile):
    """Tells conversion from decoding."""

    clock: Clock

    def _convert(self, *args: Any) -> Any:
        with self.clock("convert"):
            return super()._convert(*args)


def measure(path: Path, args: argparse.Namespace) -> dict[str, float]:
    clock, flow, rng = Clock(), DISFlow(args.preset), np.random.default_rng(0)
    sampler = RandomClips(args.length, args.stride)
    for _ in range(args.clips):
        with clock("open"):
            video = TimedFile(path, path.name)
        video.clock = clock
        table = video.table
        info = VideoInfo(path.name, len(table.pts), table.fps, table.height, table.width)
        indices = sampler(info, rng, 0)
        with clock("decode"):
            frames = video.read(indices, args.short_side)
        with clock("flow"):
            flow(frames)
        video.close()
    clock.spent["decode"] -= clock.spent["convert"]
    return {name: seconds / args.clips for name, seconds in clock.spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--length", type=int, default=2)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--short-side", type=int, default=160)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--clips", type=int, default=20)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    table = Table("file", "MB", "open ms", "decode ms", "convert ms", "flow ms", "clips/s/core")
    rates = []
    for name in find_files(args.folder, VIDEO_EXTENSIONS, "videos"):
        path = args.folder / name
        try:
            spent = measure(path, args)
        except ClipReadError as error:
            table.add_row(name, f"{os.path.getsize(path) / 1e6:.1f}", str(error))
            continue
        rates.append(1 / sum(spent.values()))
        cells = [f"{1e3 * seconds:.1f}" for seconds in spent.values()]
        table.add_row(name, f"{os.path.getsize(path) / 1e6:.1f}", *cells, f"{rates[-1]:.1f}")
    if rates:
        # clips drawn evenly from the files: the mean of the times, not of the rates
        table.add_row("all", "", "", "", "", "", f"{len(rates) / sum(1 / r for r in rates):.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
