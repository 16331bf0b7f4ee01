"""VIP's folders: Images, Category_ids, Instance_ids and lists."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selfsup_motion.data.reading.frame_order import list_frames
from selfsup_motion.data.reading.label_classes import VOID, LabelClasses
from selfsup_motion.data.reading.lists import read_lines, read_text
from selfsup_motion.data.reading.mask_images import decode_mask
from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.parsed_videos import Instances
from selfsup_motion.tasks.propagation.sequences import Frame

log = logging.getLogger(__name__)

_CATEGORIES, _INSTANCES = "Category_ids", "Instance_ids"


class VipFolder:
    """Videos in VIP's layout.

    `Images/<video>/<frame>.jpg`, `Category_ids/<video>/<frame>.png` and, for AP^r,
    `Instance_ids/<video>/<frame>.png` with `<frame>.txt`, a line `<id> <class> …` for each
    instance; the annotations may lie in a folder `Annotations`. Frames without annotation are left
    out: VIP labels one frame in 25, and labels go from one labelled frame to the next.

    Args:
        root: holds those folders.
        split: `lists/<split>_id.txt` or `lists/<split>_videos.txt` names its videos, or frames of
            them; without such a file, all videos.
        classes: what the ids of `Category_ids` stand for; others count as unknown.
    """

    def __init__(self, root: str, *, split: str, classes: LabelClasses) -> None:
        folder = Path(root)
        self._images = folder / "Images"
        inner = folder / "Annotations"
        labels = inner if (inner / _CATEGORIES).is_dir() else folder
        self._parts, self._instances = labels / _CATEGORIES, labels / _INSTANCES
        if not self._images.is_dir() or not self._parts.is_dir():
            raise UserError(
                f"data.root={root}: expected VIP's folder with Images and Category_ids."
            )
        self.class_names = classes.names
        there = (p for p in self._parts.iterdir() if p.is_dir() and not p.name.startswith("."))
        names = sorted((path.name for path in there), key=lambda name: (len(name), name))
        lists = [folder / "lists" / f"{split}_{kind}.txt" for kind in ("id", "videos")]
        if listed := next((path for path in lists if path.is_file()), None):
            # a line is a video, or a frame of it with its path
            wanted = dict.fromkeys(
                line.text.split()[0].split("/")[0] for line in read_lines(listed)
            )
            absent = [name for name in wanted if name not in names]
            if absent:
                log.warning(
                    "%d of %d videos of %s are not in %s (%s%s).", len(absent), len(wanted), listed,
                    self._parts, absent[0], ", …" if len(absent) > 1 else "",
                )  # fmt: skip
            names = [name for name in names if name in wanted]
        self.names = names
        if not self.names:
            raise UserError(f"{self._parts}: holds no video of the split {split}.")

    def open(self, name: str) -> VipVideo:
        """The video of that name."""
        instances = self._instances / name
        return VipVideo(
            self._images / name, self._parts / name, instances if instances.is_dir() else None,
            len(self.class_names),
        )  # fmt: skip


class VipVideo:
    """The labelled frames of a video.

    Args:
        images: folder of frames.
        parts: folder of label maps, called as the frames.
        instances: folder of instances; None: there are none.
        classes: number of classes.

    Raises:
        UserError: no frame is labelled.
    """

    def __init__(self, images: Path, parts: Path, instances: Path | None, classes: int) -> None:
        self.name = images.name
        self._parts, self._instances, self._classes = parts, instances, classes
        if not images.is_dir():
            raise UserError(f"{parts}: its frames are missing, there is no {images}.")
        files = [images / name for name in list_frames(images, str(images))]
        self._files = [f for f in files if (parts / f"{f.stem}.png").is_file()]
        self.frame_names = [file.stem for file in self._files]
        if not self._files:
            raise UserError(
                f"{parts}: none of the {len(files)} frames of {images} has a label map of its name "
                f"there ({files[0].stem}.png)."
            )
        if len(self._files) < len(files):
            log.info(
                "%s: %d of %d frames are labelled, the others are left out.",
                self.name, len(self._files), len(files),
            )  # fmt: skip

    def frames(self) -> Iterator[Frame]:
        """The labelled frames in order."""
        for index, file in enumerate(self._files):
            frame = decode_image(read_bytes(file, str(file)), str(file))
            if frame.shape[:2] != (size := self.parts(index).shape):
                raise UserError(
                    f"{file}: is {frame.shape[0]}x{frame.shape[1]} pixels, its label map {size[0]}x"
                    f"{size[1]}; they must be of one size."
                )
            yield frame.transpose(2, 0, 1)

    def parts(self, index: int) -> Ids:
        """(H, W) classes of a frame, 255 where unknown."""
        ids = _ids(self._parts / f"{self.frame_names[index]}.png")
        return np.where(ids < self._classes, ids, VOID).astype(np.uint8)

    def instances(self, index: int) -> Instances | None:
        """Of a frame; None: there is no folder of them.

        Raises:
            UserError: a file is missing or wrong.
        """
        if self._instances is None:
            return None
        file = self._instances / f"{self.frame_names[index]}.png"
        ids = _ids(file)
        classes: dict[int, int] = {}
        listed = file.with_suffix(".txt")
        # a frame may show nobody
        for line in read_lines(listed) if read_text(listed).strip() else []:
            columns = line.text.split()
            if len(columns) < 2 or not all(column.isdecimal() for column in columns[:2]):
                raise line.refused("the id of an instance and its class")
            number, kind = map(int, columns[:2])
            if not 0 < number < VOID or not kind < self._classes:
                raise line.refused(f"an id of 1 to 254 and a class below {self._classes}")
            classes[number] = kind
        known = np.isin(ids, list(classes))
        return Instances(np.where(known, ids, 0).astype(np.uint8), classes)


def _ids(path: Path) -> Ids:
    """A grey or indexed PNG of ids."""
    image = decode_mask(path)
    if image.kind == "colour" or image.lossy or image.values.max() > VOID:
        raise UserError(f"{path}: expected an indexed or grey PNG of ids, as VIP's are.")
    return image.values.astype(np.uint8)
