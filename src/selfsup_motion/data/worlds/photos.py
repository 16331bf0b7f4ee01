"""Photos of a folder as backgrounds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.geometry import resize_image, short_side_size
from selfsup_motion.data.reading.listing import find_files
from selfsup_motion.data.reading.pictures import IMAGE_EXTENSIONS, decode_image, read_bytes
from selfsup_motion.files.inputs import FOLDER, check_exists


class Photos:
    """The photos below a folder.

    Args:
        root: the folder, nested or not.
        key: of the config, for messages.
        kept_side: pixels; larger photos are held at this short side.
    """

    def __init__(self, root: str | Path, key: str, kept_side: int = 320) -> None:
        self.root, self.key, self.kept_side = Path(root), key, kept_side
        check_exists(key, str(root), FOLDER, "folder")
        self.paths = find_files(self.root, IMAGE_EXTENSIONS, "images", key, regular_only=False)
        self._photo = lru_cache(maxsize=512)(self._read)

    def __getstate__(self) -> tuple[Path, str, int]:
        return self.root, self.key, self.kept_side

    def __setstate__(self, state: tuple[Path, str, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def crop(
        self, size: tuple[int, int], rng: np.random.Generator, least_share: float = 0.3
    ) -> NDArray[np.float32]:
        """A part of a photo, (H, W, 3) in [0, 255], from `least_share` of its short side to all."""
        photo = self._photo(str(self.paths[rng.integers(len(self.paths))]))
        least = min(photo.shape[:2])
        span = least * np.exp(rng.uniform(np.log(least_share), 0))
        height, width = (min(round(span * n / max(size)), limit)
                         for n, limit in zip(size, photo.shape[:2], strict=True))  # fmt: skip
        top = rng.integers(photo.shape[0] - height + 1)
        left = rng.integers(photo.shape[1] - width + 1)
        part = photo[top : top + height, left : left + width]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        scaled = cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=cv2.INTER_AREA)
        return scaled.astype(np.float32)

    def _read(self, name: str) -> NDArray[np.uint8]:
        photo = decode_image(read_bytes(self.root / name, name), name, upright=True)
        size = photo.shape[0], photo.shape[1]
        if min(size) <= self.kept_side:
            return photo
        return resize_image(photo, short_side_size(size, self.kept_side))
