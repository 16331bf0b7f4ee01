"""`CocoInstances`: images with COCO's instance annotations, as videos of a single frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.reading.left_out import LeftOut
from selfsup_motion.data.reading.parts import alike
from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.data.sources.coco_file import CocoFile, read_coco
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.ops.rle import decode_masks


class CocoInstances(Source):
    """The images of one annotation file; `key` is the name of the image file.

    Every clip has these labels: `image_id` () int64; `object_masks` (N, H, W) bool, one for each
    object because they may overlap; `boxes` (N, 4) float64 x, y of the corner, width, height;
    `areas` (N,) float64; `categories` (N,) int64, the ids of the file; `crowd` (N,) bool. N may be
    0.
    """

    still = True
    no_flow = "still images do not move: choose videos (data=videos)"

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path,
        *,
        objects_only: bool,
        max_bad_entries: float = 0.1,
    ) -> None:
        """Read the annotations; no image is opened.

        Args:
            annotations: COCO's json of instances.
            images: the folder that its file names are relative to, or one that is called alike
                (`parts.alike`).
            objects_only: leave out images without an object to learn from: one with a box of some
                size that is no crowd.
            max_bad_entries: share of images or annotations above which it is an error that they
                cannot be used, in [0, 1]; up to it they are named in the log and left out.

        Raises:
            UserError: a file that is missing or broken, too many unusable entries, or no images.
        """
        self.file = read_coco(Path(annotations), max_bad_entries)
        self.root = alike(Path(images))
        learnable = ~self.file.crowd & (self.file.boxes[:, 2:] > 0).all(1)
        counts = np.diff(np.concatenate([[0], np.cumsum(learnable)])[self.file.first])
        wanted = counts > 0 if objects_only else np.ones_like(counts, np.bool_)
        there = _files_there(self.root, self.file, wanted, max_bad_entries)
        self._images = np.flatnonzero(wanted & there)
        if not len(self._images):
            what = "no image with an object to learn from" if objects_only else "no images"
            raise UserError(f"{annotations}: {what}.")

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """What image `index` is called, found without opening it."""
        return str(self.root / self.file.names[int(self._images[index])])

    def info(self, index: int) -> VideoInfo:
        """Describe image `index`, as the annotations do."""
        image = int(self._images[index])
        height, width = self.file.sizes[image].tolist()
        return VideoInfo(self.file.names[image], 1, None, height, width)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read the image, once for every frame asked for; raises `ClipReadError`."""
        info = self.info(index)
        if any(number != 0 for number in frame_indices):
            raise ClipReadError(
                f"{info.key} is a still image: it has no frame {max(frame_indices)}.",
                file=info.key,
                reason="too short",
            )
        # not turned upright: the annotations are of the image as it is stored
        image = decode_image(read_bytes(self.root / info.key, self.name(index)), self.name(index))
        size = info.height, info.width
        if image.shape[:2] != size:
            raise ClipReadError(
                f"{self.name(index)} has {image.shape[0]}x{image.shape[1]} pixels (height x "
                f"width), {self.file.path} says {size[0]}x{size[1]}.",
                file=info.key,
                reason="other size",
            )
        frames = np.repeat(image[None], len(frame_indices), axis=0)
        number = int(self._images[index])
        objects = self.file.objects(number)
        of_image = slice(objects.start, objects.stop)
        labels = {
            "image_id": self.file.image_ids[number],
            "object_masks": decode_masks([self.file.rle(n, size) for n in objects], size),
            "boxes": self.file.boxes[of_image],
            "areas": self.file.areas[of_image],
            "categories": self.file.category_ids[of_image],
            "crowd": self.file.crowd[of_image],
        }
        return Clip(frames=frames.transpose(0, 3, 1, 2), key=info.key, labels=labels)


def _files_there(
    root: Path, file: CocoFile, wanted: NDArray[np.bool_], max_bad_entries: float
) -> NDArray[np.bool_]:
    """(I,) whether the file of each image is there, by one look into each folder."""
    hint = f"; set data.images and data.val_images to their folders, not {root}"
    left_out = LeftOut(file.path, "images", max_bad_entries, hint=hint)
    listed: dict[str, set[str]] = {}
    there = np.ones_like(wanted)
    for image in np.flatnonzero(wanted).tolist():
        folder, name = os.path.split(file.names[image])
        if folder not in listed:
            path = root / folder
            listed[folder] = set(os.listdir(path)) if path.is_dir() else set()
        if name not in listed[folder]:
            left_out.add(image, f"({file.names[image]}) is not below {root}")
            there[image] = False
    left_out.finish(int(wanted.sum()))
    return there
