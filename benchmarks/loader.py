"""Loader throughput against the raw decoding limit.

    python benchmarks/loader.py FOLDER [--workers 2] [--batches 24] [--rounds 3]

The loader opens each video anew, as in a data set too large to remember anything of, decodes the
frames of a random clip, resizes, crops, stacks and ships batches to this process. The limit is as
many processes that open the same files, seek and decode up to the same frames and convert them to
RGB of the same size, with no pipeline around it. (Our decoder can beat that limit: it leaves out
frames on which no wanted one builds.) Rounds alternate; the ratio is of medians. Wall
time tells what a training would see and needs an idle machine; processor time of the decoding
processes is what to compare on a busy one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.loader import TrainOrder, ValLoader, ValOrder
from selfsup_motion.data.loading.reader import ClipReader, Delivery, Draw, prepare_worker
from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.loading.watch import ReadingBoard
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources import videos
from selfsup_motion.errors import ClipReadError

Task = tuple[Path, float, int, int]
"""File, frame rate, first and last frame of a clip."""


class Crop:
    """A view that costs no more than it must: a random square, uint8."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
        top, left = (int(rng.integers(n - self.side + 1)) for n in clip.frames.shape[2:])
        window = clip.frames[..., top : top + self.side, left : left + self.side]
        return {"frames": torch.from_numpy(np.ascontiguousarray(window))}


class Readable:
    """The videos of a folder that can be read, with what is known of them."""

    def __init__(self, source: videos.VideoFolder, length: int) -> None:
        self.source = source
        self.infos: list[tuple[int, VideoInfo]] = []
        for index in range(len(source)):
            try:
                info = source.info(index)
                source.read(index, [info.num_frames - 1])
            except ClipReadError:
                continue
            if info.num_frames >= length and info.fps:
                self.infos.append((index, info))

    def __len__(self) -> int:
        return len(self.infos)

    def info(self, index: int) -> VideoInfo:
        return self.infos[index][1]

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        return self.source.read(self.infos[index][0], frame_indices)


class Given(ValOrder):
    """The batches of another order, as one that ends."""

    def __init__(self, batches: list[list[Draw]]) -> None:
        super().__init__(sum(map(len, batches)), len(batches[0]))
        self._given = batches

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self._given)


def decode(tasks: Sequence[Task], short_side: int) -> None:
    prepare_worker(0)
    for path, fps, first, last in tasks:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            stream.codec_context.thread_count = 1
            begin = stream.start_time or 0
            at = begin + int(first / fps / stream.time_base)
            container.seek(at, stream=stream)
            left = last - first + 1
            for frame in container.decode(stream):
                if frame.pts is None or frame.pts < at:
                    continue
                scale = short_side / min(frame.height, frame.width)
                size = round(frame.width * scale), round(frame.height * scale)
                frame.reformat(*size, "rgb24", interpolation="AREA").to_ndarray()
                left -= 1
                if not left:
                    break


def measured(function: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and processor seconds of the processes that ended in them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    function()
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--short-side", type=int, default=160)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = videos.VideoFolder(args.folder, short_side=args.short_side)
    source = Readable(folder, args.length)
    videos._TABLES_KEPT = 1
    sampler = RandomClips(args.length, clips_per_video=10)
    order = TrainOrder(len(source) * 10, args.batch_size, seed=0)
    batches: list[list[Task]] = []
    for position in range(args.batches):
        batch = []
        for epoch, index in order.batch(position):
            info = source.info(index // 10)
            frames = sampler(info, sample_rng(0, epoch, index), 0)
            batch.append((folder.root / info.key, float(info.fps or 0), frames[0], frames[-1]))
        batches.append(batch)

    def raw() -> None:
        mine = [batches[n :: args.workers] for n in range(args.workers)]
        shares = [[task for batch in some for task in batch] for some in mine]
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=decode, args=(s, args.short_side)) for s in shares]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    def receive(delivery: Delivery) -> None:
        assert delivery.batch is not None, delivery.error

    def loaded() -> None:
        reader = ClipReader(source, sampler, Crop(args.crop), 0, ReadingBoard(args.workers))
        # the training loader's order is endless: its workers would go on behind what counts
        draws = [order.batch(position) for position in range(args.batches)]
        loader = ValLoader(reader, Given(draws), receive, num_workers=args.workers)
        assert sum(1 for _ in loader) == args.batches
        loader.close()

    clips = args.batches * args.batch_size
    print(f"{len(source)} videos, {clips} clips of {args.length} frames, {args.workers} processes")
    times = np.array([[measured(raw), measured(loaded)] for _ in range(args.rounds)])
    wall, cpu = np.median(times, axis=0).T
    print(f"{'':24}{'raw decoding':>14}{'loader':>10}{'ratio':>8}")
    for name, (limit, ours) in (("clips/s", clips / wall), ("clips/processor s", clips / cpu)):
        print(f"{name:24}{limit:14.1f}{ours:10.1f}{ours / limit:8.0%}")


if __name__ == "__main__":
    main()
