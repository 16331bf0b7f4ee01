"""CMP training samples per second from stored frame pairs: ours against the published recipe.

    python benchmarks/yfcc_pipeline.py [--pairs 24] [--rounds 5]

Both make complete samples, one by one, in one process with one thread, from the same 640×480 pairs
with JPEG-coded flow (written to a temporary folder). The published recipe: Pillow decodes both
frames, bicubic resizing of both, normalisation of both, guidance by generic convolutions; it needs
SciPy, which this package does not: `pip install scipy`. The rounds alternate; times are processor
time, medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from guidance import blobs, published
from PIL import Image

from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.methods.cmp.view import CMPView
from selfsup_motion.ops.flow_io import write_flow_jpegs

SETTINGS = [  # name, short side, crop, grid ratio, window
    ("AlexNet YFCC", 416, 384, 0.00015625, 41),
    ("ResNet-50 VOC", 416, 320, 0.00003629, 67),
]
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def write_pairs(root: Path, count: int) -> None:
    """Textured pictures, about 60 KB each as photos of this size are, and smooth flow."""
    lines = []
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 255, (30, 40, 3), np.uint8)
        fine = rng.normal(0, 9, (480, 640, 3))
        picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC) + fine
        names = [f"{index}_{part}.jpg" for part in ("0", "1", "fx", "fy")]
        for shift, name in enumerate(names[:2]):
            frame = np.roll(picture, 2 * shift, axis=1).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name), frame, [cv2.IMWRITE_JPEG_QUALITY, 85])
        flow = np.stack([cv2.resize(f, (640, 480)) for f in blobs(480, index)])
        write_flow_jpegs(root / names[2], root / names[3], flow, 90)
        lines.append(" ".join(names))
    (root / "train.txt").write_text("\n".join(lines))


def published_sample(
    root: Path, line: str, short: int, crop: int, ratio: float, window: int, seed: int
) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    names = line.split()
    images = [Image.open(root / name).convert("RGB") for name in names[:2]]
    codes = [np.array(Image.open(root / name)).astype(np.float32) for name in names[2:]]
    flow = np.stack([code / 255 * 100 - 50 for code in codes], axis=-1)
    width, height = images[0].size
    size = int(short / height * width), short
    images = [image.resize(size, Image.Resampling.BICUBIC) for image in images]
    flow = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR) * (short / height)
    top, left = (int(rng.random() * (n - crop)) for n in (size[1], size[0]))
    window_ = slice(top, top + crop), slice(left, left + crop)
    arrays = [(np.array(image)[window_].astype(np.float32) - MEAN) / STD for image in images]
    flow = flow[window_]
    mask = published(np.ascontiguousarray(flow.transpose(2, 0, 1)), ratio, window, rng)
    points = rng.permutation(np.argwhere(mask[0]))[:150]
    sparse, where = np.zeros_like(flow), np.zeros(flow.shape, np.int64)
    sparse[points[:, 0], points[:, 1]] = flow[points[:, 0], points[:, 1]]
    where[points[:, 0], points[:, 1]] = 1
    made = [arrays[0], sparse, where.astype(np.float32), flow, arrays[1]]
    return [torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))) for a in made]


def timed(make: Callable[[int], object], count: int) -> float:
    """Samples per processor second."""
    begin = time.process_time()
    for index in range(count):
        make(index)
    return count / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pairs(root, args.pairs)
        lines = (root / "train.txt").read_text().split("\n")
        source = FrameFolder(root, layout="pairs", flow="stored").first_frame_only()
        print(f"{'samples per processor second':36}{'published':>12}{'exact':>9}{'ours':>9}")
        for name, short, crop, ratio, window in SETTINGS:

            def old(i: int, s=(short, crop, ratio, window)) -> object:
                return published_sample(root, lines[i], *s, i)

            def new(exact: bool, s=(short, crop, ratio, window)) -> Callable[[int], object]:
                view = CMPView(
                    short_side=s[0],
                    crop_size=s[1],
                    grid_ratio=s[2],
                    nms_size=s[3],
                    max_points=150,
                    published_resize=exact,
                )

                def make(index: int) -> object:
                    source.info(index)
                    return view(source.read(index, [0, 1]), sample_rng(0, 0, index))

                return make

            makers = old, new(True), new(False)
            for maker in makers:
                maker(0)
            rates = [[timed(maker, args.pairs) for maker in makers] for _ in range(args.rounds)]
            speeds = np.median(rates, axis=0)
            print(f"{f'{name}, {crop}²':36}{speeds[0]:12.1f}{speeds[1]:9.1f}{speeds[2]:9.1f}")
            ratios = speeds / speeds[0]
            print(f"{'times the published':48}{ratios[1]:9.1f}{ratios[2]:9.1f}")


if __name__ == "__main__":
    main()
