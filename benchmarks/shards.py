"""The same clips out of videos, folders of frames and tar shards on a local disk.

    python benchmarks/shards.py FOLDER [--videos 12] [--samples 300]

A few videos of the folder are prepared, then random pairs of neighbouring frames are read from each
form, as a loading process does. Processor time of this one process: what a core can deliver. Files
are in the page cache; on a network disk the number of files that are opened counts as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.loading.sampling import RandomClips
from selfsup_motion.data.preparation.work import Work
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VIDEO_EXTENSIONS, VideoFolder
from selfsup_motion.errors import ClipReadError
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose


def prepare(job: str, **settings: object) -> None:
    overrides = [f"prepare.{name}={value}" for name, value in settings.items()]
    cfg = compose([f"prepare={job}", *overrides], config_name="prepare")
    outcome = Work(num_workers=2, time_limit=600).run(build(cfg.prepare.job, "prepare"))
    assert outcome.good, outcome


def some_videos(folder: Path, count: int, into: Path) -> None:
    """Links to readable videos of ordinary length."""
    into.mkdir()
    source = VideoFolder(folder)
    found = 0
    for index in range(len(source)):
        try:
            info = source.info(index)
            source.read(index, [info.num_frames - 1])
        except ClipReadError:
            continue
        if 10 <= info.num_frames <= 400 and Path(info.key).suffix in VIDEO_EXTENSIONS:
            (into / f"{found:03d}{Path(info.key).suffix}").symlink_to((folder / info.key).resolve())
            found += 1
        if found == count:
            return


def read(source: Source, samples: int) -> tuple[float, float]:
    """Processor and wall seconds."""
    sampler = RandomClips(2)
    start = time.process_time(), time.perf_counter()
    for number in range(samples):
        rng = sample_rng(0, 0, number)
        video = int(rng.integers(len(source)))
        source.read(video, sampler(source.info(video), rng, 0))
    return time.process_time() - start[0], time.perf_counter() - start[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--short-side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        side = args.short_side
        some_videos(args.folder, args.videos, work / "videos")
        prepare("frames", root=work / "videos", output=work / "frames", short_side=side)
        options = {"root": work / "videos", "short_side": side, "videos_per_shard": 4}
        prepare("shards", output=work / "plain", **options)
        prepare("shards", output=work / "flow", flow="dis", **options)
        frames = FrameFolder(work / "frames", layout="folders", lists=["frames.csv"])
        estimated = VideoFolder(work / "videos", short_side=side, flow="dis", flow_preset="medium")
        kinds: list[tuple[str, Source]] = [
            ("videos", VideoFolder(work / "videos", short_side=side)),
            ("folders of frames", frames),
            ("shards", ClipShards(str(work / "plain"), flow=None)),
            ("videos, estimated flow", estimated),
            ("shards, stored flow", ClipShards(str(work / "flow"))),
        ]
        print(
            f"{len(frames)} videos, short side {side}, {args.samples} pairs of frames (of videos a "
            "tenth)"
        )
        print(f"{'':26}{'pairs/processor s':>18}{'pairs/s':>10}{'files':>8}{'MB':>8}")
        for title, source in kinds:
            # decoding a video up to the wanted frame takes a hundred times as long
            samples = max(1, args.samples // (10 if isinstance(source, VideoFolder) else 1))
            times = np.median([read(source, samples) for _ in range(args.rounds)], axis=0)
            root = Path(str(source.root))  # type: ignore[attr-defined]
            files = [p for p in root.rglob("*") if p.is_file() and ".prepare" not in p.parts]
            size = sum(p.stat().st_size for p in files) / 1e6
            rates = samples / times
            print(f"{title:26}{rates[0]:18.0f}{rates[1]:10.0f}{len(files):8}{size:8.1f}")


if __name__ == "__main__":
    main()
