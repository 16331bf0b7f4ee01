"""DAVIS's folders: JPEGImages/480p/<sequence>, Annotations/480p/<sequence>, ImageSets/2017."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.frame_order import list_frames
from selfsup_motion.data.reading.listed_files import Listing, missing, named_once
from selfsup_motion.data.reading.masks import MaskReader
from selfsup_motion.data.reading.pictures import IMAGE_EXTENSIONS, decode_image, read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.sequences import Frame

log = logging.getLogger(__name__)

MASK_EXTENSIONS = (*IMAGE_EXTENSIONS, ".gif", ".json", ".npy")


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
        present = sorted(
            path.name
            for path in self._images.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
        listed = folder / "ImageSets" / year / f"{split}.txt"
        self.names = self._listed(listed) if listed.is_file() else present
        if not self.names:
            raise UserError(f"{self._images}: holds no folders of frames.")

    def _listed(self, file: Path) -> list[str]:
        """The sequences of a list that are there, each once.

        Raises:
            UserError: none is, or one by almost the same name only.
        """
        listing = Listing(self._images)
        named = named_once(file, listing)
        found = {name: listing.find(name) for name in named}
        absent = [(name, place) for name, place in named.items() if found[name] is None]
        if absent:
            told, near = missing(listing, absent, len(named), "sequence")
            if near or len(absent) == len(named):
                raise UserError(f"{told}: correct {file}, or complete the data.")
            log.warning("%s.", told)
        return [path for path in found.values() if path is not None]

    def open(self, name: str) -> FrameFolderVideo:
        """The sequence of that name."""
        return FrameFolderVideo(self._images / name, self._masks / name)


class FrameFolderVideo:
    """A folder of frames, with a folder of masks of the same names.

    Args:
        images: folder of image files; the numbers in their names give the order.
        masks: folder of masks, called as the frames (see `MaskReader` for what they may be); None:
            there are none.
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

    def frame(self, index: int) -> Frame:
        """One frame."""
        path = self._files[index]
        return decode_image(read_bytes(path, str(path)), str(path)).transpose(2, 0, 1)

    @property
    def annotated(self) -> list[int]:
        """Numbers of the frames that have a mask."""
        return [i for i, name in enumerate(self.frame_names) if name in self._mask_files]

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Object ids of a frame."""
        path = self._mask_files.get(self.frame_names[index])
        return None if path is None else self._reader.read(path)

    @cached_property
    def _mask_files(self) -> dict[str, Path]:
        """The masks of the frames that have one, by the frame's name.

        Raises:
            UserError: two files are masks of one frame, or the masks are called otherwise.
        """
        if self._masks is None or not self._masks.is_dir():
            return {}
        found: dict[str, Path] = {}
        others = []
        for path in sorted(self._masks.iterdir()):
            if path.suffix.lower() not in MASK_EXTENSIONS or path.name.startswith("."):
                continue
            if path.stem in found:
                raise UserError(
                    f"{path.parent}: {found[path.stem].name} and {path.name} are masks of one "
                    "frame; keep one of them."
                )
            if path.stem in self._names:
                found[path.stem] = path
            else:
                others.append(path.name)
        if others and not found:
            raise UserError(
                f"{self._masks}: its masks have names like {others[0]}, the frames "
                f"{self._files[0].name}; a mask has the name of its frame."
            )
        if others:
            log.warning(
                "%s: %d masks have no frame of their name (%s) and are left out.",
                self._masks, len(others), others[0],
            )  # fmt: skip
        return found

    @cached_property
    def _names(self) -> set[str]:
        return set(self.frame_names)

    @cached_property
    def _reader(self) -> MaskReader:
        names = (name for name in self.frame_names if name in self._mask_files)
        return MaskReader([self._mask_files[name] for name in names])

    def keypoints(self) -> None:
        """There are none."""
        return


def masks_of_frames(folder: Path, names: Sequence[str]) -> dict[int, Path]:
    """The masks in a folder, by the number of the frame that each is called after.

    Args:
        folder: of masks.
        names: of the frames.

    Raises:
        UserError: there are no masks, two of one frame, or one of no frame.
    """
    numbers = {name: number for number, name in enumerate(names)}
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in MASK_EXTENSIONS or path.name.startswith("."):
            continue
        number = numbers.get(path.stem)
        if number is None:
            raise UserError(
                f"mask={folder}: {path.name} has the name of no frame; they are called {names[0]} "
                f"to {names[-1]}."
            )
        if number in found:
            raise UserError(
                f"mask={folder}: {found[number].name} and {path.name} are masks of one frame; keep "
                "one of them."
            )
        found[number] = path
    if not found:
        raise UserError(f"mask={folder}: holds no masks.")
    return found
