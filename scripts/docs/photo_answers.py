"""Draw what `cmp` answers to one arrow on photos:
python scripts/docs/photo_answers.py skimage/data docs/pictures/cmp_photos.webp

The photos are in the public domain or CC0, and come with the package scikit-image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.apps.arrows import ArrowSet
from selfsup_motion.apps.motion import predict_motion
from selfsup_motion.apps.photo import read_photo
from selfsup_motion.methods.cmp.steps import STEP
from selfsup_motion.ops.draw import draw_arrows
from selfsup_motion.weights.trained_cmp import load_weights

POINTS = {
    "rocket.jpg": (322, 230),
    "coffee.png": (250, 200),
    "coins.png": (44, 258),
    "camera.png": (110, 330),
    "astronaut.png": (150, 400),
    "chelsea.png": (200, 200),
    "moon.png": (256, 256),
    "brick.png": (256, 256),
}
"""x, y of the arrow in each photo; it points to the right."""
_HEIGHT = 150
"""Pixels: of each photo."""
_COLUMNS = 4
_RED = np.array([255, 45, 45], np.float32)


def answer(photo: Path, point: tuple[int, int]) -> NDArray[np.uint8]:
    """The photo with its arrow, what moves by more than half of the arrow in red."""
    image = read_photo(photo)
    length = STEP * min(image.shape[-2:])
    points, vectors = np.array([point], np.float32), np.array([[length, 0]], np.float32)
    arrows = ArrowSet(photo.stem, points, vectors, ())
    flow = predict_motion(load_weights("cmp"), image, arrows, "grabcut")
    moves = (flow.norm(dim=0) > length / 2).numpy()
    picture = image.permute(1, 2, 0).numpy().copy()
    picture[moves] = (0.5 * picture[moves] + 0.5 * _RED).astype(np.uint8)
    scale = _HEIGHT / len(picture)
    size = round(picture.shape[1] * scale), _HEIGHT
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return draw_arrows(small, points * scale, vectors * scale * 2)


def main(folder: Path, output: Path) -> None:
    """Write the sheet."""
    torch.set_num_threads(1)
    tiles = [answer(folder / name, point) for name, point in POINTS.items()]
    width = max(tile.shape[1] for tile in tiles)
    padded = []
    for tile in tiles:
        side = width - tile.shape[1]
        padding = (0, 0), (side // 2, side - side // 2), (0, 0)
        padded.append(np.pad(tile, padding, constant_values=255))
    rows = [np.hstack(padded[i : i + _COLUMNS]) for i in range(0, len(padded), _COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(output, quality=70, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
