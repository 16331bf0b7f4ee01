"""DAVIS's folders: JPEGImages/480p/<sequence>, Annotations/480p/<sequence>, ImageSets/2017."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.frame_order import list_frames
from selfsup_motion.data.pictures import decode_image, read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.mask_files import read_mask
from selfsup_motion.tasks.sequences import Frame

log = logging.getLogger(__name__)


class DavisFolder:
    """Sequences in DAVIS's layout.

    Args:
        root: holds JPEGImages and Annotations.
        split: ImageSets/<year>/<split>.txt names the sequences; those that are not there are left
            out. Without that file, all folders of frames are sequences.
        year: of the list.
        resolution: folder below JPEGImages and Annotations.
    """

    def __init__(self, root: str, *, split: str, year: str, resolution: str) -> None:
        folder = Path(root)
        self._images = folder / "JPEGImages" / resolution
        self._masks = folder / "Annotations" / resolution
        if not self._images.is_dir():
            raise UserError(
                f"data.root={root}: there is no {self._images}, expected DAVIS's folder with "
                "JPEGImages and Annotations; data.resolution names the folder below them."
            )
        present = sorted(path.name for path in self._images.iterdir() if path.is_dir())
        listed = folder / "ImageSets" / year / f"{split}.txt"
        wanted = listed.read_text().split() if listed.is_file() else present
        self.names = [name for name in wanted if name in set(present)]
        if not self.names:
            raise UserError(f"{self._images}: has none of the {len(wanted)} sequences of {listed}.")
        if missing := len(wanted) - len(self.names):
            log.warning("%s: %d of its %d sequences are not there.", listed, missing, len(wanted))

    def open(self, name: str) -> FrameFolderVideo:
        """The sequence of that name."""
        return FrameFolderVideo(self._images / name, self._masks / name)


class FrameFolderVideo:
    """A folder of frames, with a folder of masks of the same names.

    Args:
        images: folder of image files; the numbers in their names give the order.
        masks: folder of indexed PNGs; None: there are none.
        leave_out: images in the folder that are no frames.

    Raises:
        UserError: there are no frames, or their order cannot be told.
    """

    def __init__(
        self, images: Path, masks: Path | None = None, leave_out: Collection[Path] = ()
    ) -> None:
        self.name = images.name
        self._masks = masks
        self._files = [images / name for name in list_frames(images, str(images), leave_out)]
        self.frame_names = [path.stem for path in self._files]

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        size = None
        for path in self._files:
            image = decode_image(read_bytes(path, str(path)), str(path))
            if size is None:
                size = image.shape[:2]
            if image.shape[:2] != size:
                raise UserError(
                    f"{path}: is {image.shape[0]}x{image.shape[1]} pixels, the first frame "
                    f"{size[0]}x{size[1]}; all frames of a sequence must have one size."
                )
            yield image.transpose(2, 0, 1)

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Object ids of a frame."""
        path = self.mask_path(index)
        return read_mask(path) if path is not None and path.is_file() else None

    def mask_path(self, index: int) -> Path | None:
        """Where the mask of a frame is looked for."""
        return None if self._masks is None else self._masks / f"{self.frame_names[index]}.png"

    def keypoints(self) -> None:
        """There are none."""
        return
