"""CMP's training samples from stored frame pairs: ours against the published recipe.

    python benchmarks/yfcc_pipeline.py

All forms make complete samples, one by one, from the same 640 × 480 pairs with JPEG-coded flow,
written to a temporary folder. The published recipe: Pillow decodes both frames, bicubic resizing of
both, normalisation of both, guidance by generic convolutions. "Exact" resizes as it does.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from guidance import blobs, published
from measuring import Call, Comparison, Make, run, scratch
from PIL import Image

from selfsup_motion.data.loading.rng import sample_rng
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.methods.cmp.view import CMPView
from selfsup_motion.ops.flow_io import write_flow_jpegs

PAIRS = 12
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


def samples(root: Path, form: str, short: int, crop: int, ratio: float, window: int) -> Make:
    def make() -> Call:
        if form == "published":
            lines = (root / "train.txt").read_text().split("\n")

            def old() -> None:
                for index in range(PAIRS):
                    published_sample(root, lines[index], short, crop, ratio, window, index)

            return old

        source = FrameFolder(root, layout="pairs", flow="stored").first_frame_only()
        view = CMPView(
            short_side=short,
            crop_size=crop,
            grid_ratio=ratio,
            nms_size=window,
            max_points=150,
            published_resize=form == "ours, exact",
        )

        def new() -> None:
            for index in range(PAIRS):
                source.info(index)
                view(source.read(index, [0, 1]), sample_rng(0, 0, index))

        return new

    return make


def comparisons(device: str) -> list[Comparison]:
    root = scratch()
    write_pairs(root, PAIRS)
    return [
        Comparison(
            f"{name}, crops of {crop} × {crop}",
            {
                form: samples(root, form, short, crop, ratio, window)
                for form in ("published", "ours, exact", "ours")
            },
            unit="sample",
            count=PAIRS,
        )
        for name, short, crop, ratio, window in SETTINGS
    ]


if __name__ == "__main__":
    run(comparisons)
