"""Loading clips of videos, against the raw decoding limit.

    [VIDEOS=/path/to/folder] python benchmarks/loader.py

Without a folder of videos, a few are made: MPEG-4, 320 × 240, moving textures.

The loader opens each video anew, as in a data set too large to remember anything of, decodes the
frames of a random clip, resizes, crops, stacks and ships batches to this process. The limit is as
many processes that open the same files, seek and decode up to the same frames and convert them to
RGB of the same size, with no pipeline around it. (Our decoder can beat that limit: it leaves out
frames on which no wanted one builds.)
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from measuring import Call, Comparison, Make, run, scratch
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.loader import TrainOrder, ValLoader, ValOrder
from selfsup_motion.data.loading.reader import ClipReader, Delivery, Draw, prepare_worker
from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.loading.watch import ReadingBoard
from selfsup_motion.data.source import VideoInfo
from selfsup_motion.data.sources import videos
from selfsup_motion.data.view import View
from selfsup_motion.errors import ClipReadError

BATCHES, BATCH, LENGTH, SHORT_SIDE, CROP, WORKERS = 6, 8, 8, 160, 128, 2

Task = tuple[Path, float, int, int]
"""File, frame rate, first and last frame of a clip."""


class Crop(View):
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


def write_videos(folder: Path) -> None:
    for number in range(6):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (60, 80, 3), np.uint8)
        texture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for time in range(80):
                image = np.ascontiguousarray(texture[time : time + 240, 2 * time : 2 * time + 320])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())


def raw(root: Path) -> Make:
    def make() -> Call:
        batches, _ = work(root)

        def call() -> None:
            mine = [batches[n::WORKERS] for n in range(WORKERS)]
            shares = [[task for batch in some for task in batch] for some in mine]
            context = multiprocessing.get_context("fork")
            processes = [context.Process(target=decode, args=(s, SHORT_SIDE)) for s in shares]
            for process in processes:
                process.start()
            for process in processes:
                process.join()

        return call

    return make


def loaded(root: Path) -> Make:
    def make() -> Call:
        _, source = work(root)
        sampler = RandomClips(LENGTH, clips_per_video=10)
        order = TrainOrder(len(source) * 10, BATCH, seed=0)

        def receive(delivery: Delivery) -> None:
            assert delivery.batch is not None, delivery.error

        def call() -> None:
            reader = ClipReader(source, sampler, Crop(CROP), 0, ReadingBoard(WORKERS))
            # the training loader's order is endless: its workers would go on behind what counts
            draws = [order.batch(position) for position in range(BATCHES)]
            loader = ValLoader(reader, Given(draws), receive, num_workers=WORKERS)
            assert sum(1 for _ in loader) == BATCHES
            loader.close()

        return call

    return make


def work(root: Path) -> tuple[list[list[Task]], Readable]:
    """What the loader decodes, as plain tasks, and where from."""
    videos._TABLES_KEPT = 1
    source = Readable(videos.VideoFolder(root, short_side=SHORT_SIDE), LENGTH)
    sampler = RandomClips(LENGTH, clips_per_video=10)
    order = TrainOrder(len(source) * 10, BATCH, seed=0)
    batches: list[list[Task]] = []
    for position in range(BATCHES):
        batch = []
        for epoch, index in order.batch(position):
            info = source.info(index // 10)
            frames = sampler(info, sample_rng(0, epoch, index), 0)
            batch.append((root / info.key, float(info.fps or 0), frames[0], frames[-1]))
        batches.append(batch)
    return batches, source


def comparisons(device: str) -> list[Comparison]:
    root = Path(os.environ.get("VIDEOS") or scratch())
    if root == scratch():
        write_videos(root)
    return [
        Comparison(
            f"clips of {LENGTH} frames, short side {SHORT_SIDE}, {WORKERS} processes",
            {"raw decoding": raw(root), "loader": loaded(root)},
            unit="clip",
            count=BATCHES * BATCH,
        )
    ]


if __name__ == "__main__":
    run(comparisons)
