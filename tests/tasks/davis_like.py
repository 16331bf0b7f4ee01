"""A small data set in DAVIS's layout."""

from pathlib import Path

import cv2
import numpy as np

from selfsup_motion.data.reading.masks import write_mask


def write_davis(
    root: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 4, size=(40, 56)
) -> Path:
    """Two bright squares over noise that move 2 pixels a frame."""
    ground = np.random.default_rng(0).integers(40, 90, (*size, 3), np.uint8)
    for name in names:
        images, masks = (root / f / "480p" / name for f in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for time in range(count):
            ids = np.zeros(size, np.uint8)
            ids[4:18, 4 + 2 * time : 18 + 2 * time] = 1
            ids[20:36, 30 - 2 * time : 46 - 2 * time] = 2
            image = ground.copy()
            image[ids == 1], image[ids == 2] = (250, 60, 60), (60, 60, 250)
            cv2.imwrite(str(images / f"{time:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
            write_mask(masks / f"{time:05d}.png", ids)
    listed = root / "ImageSets/2017"
    listed.mkdir(parents=True)
    (listed / "val.txt").write_text("\n".join([*names, "not-here"]))
    return root


def hide(file: Path, where: np.ndarray) -> None:
    """Paint over a part of a frame, as if nothing was there."""
    image = cv2.imread(str(file))
    image[where] = np.random.default_rng(1).integers(40, 90, (int(where.sum()), 3), np.uint8)
    cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
