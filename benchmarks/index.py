"""A million videos: how long a list of them takes to open, and what each worker keeps of it.

    python benchmarks/index.py [--samples 3000]

Index and list of N rows are synthetic; all rows lead to the same few small files. "private" is the
memory that belongs to one loading process alone (USS): at its first sample, and how much it has
grown after many more. It must not depend on N: neither a copy of the list for each worker, nor a
page of it that is copied when it is looked at. What remains is what decoders and allocators keep;
each number of rows is measured in processes of its own.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.index import VideoIndex
from selfsup_motion.data.sources.videos import VideoFolder

FILES = 8


def private_mb() -> float:
    """Memory of this process that no other one shares."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+)", text, re.M)) / 1024


def write_video(path: Path, frames: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            image = np.full((48, 64, 3), 9 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_index(folder: Path, rows: int) -> None:
    """`root/<link>/<file>.mp4`: links of different names to the folder of the few files."""
    root = folder / "root"
    (root / "few").mkdir(parents=True)
    for number in range(FILES):
        write_video(root / "few" / f"{number}.mp4", 12)
    for number in range(1000):
        (root / f"class_{number:03d}").symlink_to("few")
    (folder / f"{rows}").mkdir()
    keys = PathList(
        f"class_{n % 1000:03d}/" + "../few/" * (n // 1000 % 8) + f"{n % FILES}.mp4"
        for n in range(rows)
    )
    size = np.tile(np.array([[48, 64]], np.int32), (rows, 1))
    index = VideoIndex(keys, np.full(rows, 12, np.int32), np.full(rows, 25.0), size)
    index.save(folder / f"{rows}" / "index.npz")


def make_pairs(folder: Path, rows: int) -> None:
    for number in range(FILES):
        image = np.full((48, 64, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
        cv2.imwrite(str(folder / f"x{number}.jpg"), image[..., 0])
    lines = (
        f"{n % FILES}.jpg {n % FILES}.jpg x{n % FILES}.jpg x{n % FILES}.jpg" for n in range(rows)
    )
    (folder / "list.txt").write_text("\n".join(lines))


def read(source: Source, samples: int, results: object) -> None:
    """A worker: its private memory, at first and as it grows."""
    cv2.setNumThreads(0)
    memory = []
    for number in range(samples + 1):
        index = int(sample_rng(0, 0, number).integers(len(source)))
        source.info(index)
        source.read(index, [0, 1])
        if number in (0, samples // 2, samples):
            memory.append(private_mb())
    results.put(memory)  # type: ignore[attr-defined]


def measure(kind: str, rows: int, samples: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (make_index if kind == "index" else make_pairs)(folder, rows)
        start = time.perf_counter(), time.process_time()
        source: Source
        if kind == "index":
            source = VideoFolder(folder / "root", index=folder / f"{rows}")
        else:
            source = FrameFolder(folder, layout="pairs", lists=["list.txt"], flow="stored")
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        size = len(pickle.dumps(source)) / 1e6
        context = get_context("fork")  # as a loader starts its workers
        results = context.Queue()
        worker = context.Process(target=read, args=(source, samples, results))
        worker.start()
        first, half, last = results.get(timeout=600)
        worker.join()
        print(
            f"{kind:7}{rows:12,}{wall:10.2f}{cpu:9.2f}{size:12.1f}{first:12.1f}"
            f"{half - first:+14.1f}{last - half:+15.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    half = arguments.samples // 2
    print(
        f"{'':7}{'rows':>12}{'open, s':>10}{'CPU, s':>9}{'pickle, MB':>12}{'private, MB':>12}"
        f"{f'after {half}':>14}{f'after {half} more':>15}"
    )
    for kind in ("index", "pairs"):
        for rows in arguments.rows:
            # in a process of its own: what one leaves behind is not the other's
            child = get_context("spawn").Process(
                target=measure, args=(kind, rows, arguments.samples)
            )
            child.start()
            child.join()
            if child.exitcode:
                sys.exit(child.exitcode)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
