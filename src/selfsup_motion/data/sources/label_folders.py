"""`LabelFolder`: images and their label maps, in folders and lists of any layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.reading.label_classes import LabelClasses
from selfsup_motion.data.reading.label_maps import read_label_map
from selfsup_motion.data.reading.listed_files import Listing
from selfsup_motion.data.reading.listing import PathList
from selfsup_motion.data.reading.lists import (
    BLANKS,
    column_name,
    columns_of,
    read_lines,
    split_path,
    warn_repeated,
    without_comment,
)
from selfsup_motion.data.reading.parts import alike
from selfsup_motion.data.reading.pictures import (
    IMAGE_EXTENSIONS,
    decode_image,
    image_size,
    read_bytes,
)
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.text.names import shown, unescaped

_LABEL_EXTENSIONS = (".png",)
_COLUMNS = frozenset(
    ("image", "label", "name", "file", "filename", "file_name", "id", "image_id", "mask", "path")
)
"""What columns are called in a header."""


class LabelFolder(Source):
    """Still images with a class for every pixel: VOC 2012, LIP, CIHP and what is laid out alike.

    A clip has one frame, as it is stored, and `labels["semantic"]` (1, H, W) uint8: class ids, 255
    where there is no label. `key` is the image's path below `images` without its extension.
    """

    still: ClassVar[bool] = True
    no_flow: ClassVar[str] = "labelled images do not move: choose videos (data=videos)"

    def __init__(
        self,
        root: str | Path,
        *,
        images: str,
        labels: str,
        listing: str | None,
        classes: LabelClasses,
        void: int,
    ) -> None:
        """List the images and their label maps; none is opened.

        Args:
            root: folder that the other paths are relative to. Of a path that does not exist, one
                that is called alike is taken (`parts.alike`).
            images: folder of the images (any kind of file, found by its name without extension).
            labels: folder of the label maps (.png).
            listing: text file with a name per line, or, as some `train_aug.txt`, the paths of an
                image and its label map; an entry that is listed twice counts once. Null takes every
                label map there is.
            classes: what the ids stand for.
            void: the id of pixels without a label in the files.

        Raises:
            UserError: a folder or the list does not exist, the list is empty, or names an image
                without a file or without a label map.
        """
        self.root, self.classes, self.void = Path(root), classes, void
        if not self.root.is_dir():
            raise UserError(
                f"The folder {root} does not exist: set data.root to the folder that holds "
                f"{images}."
            )
        images, labels = self._alike(images), self._alike(labels)
        self._folder = PurePosixPath(images)
        if listing is None:
            names = sorted(_by_stem(self.root / labels, _LABEL_EXTENSIONS))
            if not names:
                below = sorted(
                    path.name for path in (self.root / labels).iterdir() if path.is_dir()
                )
                hint = f", but folders ({', '.join(below[:5])}): name one of them" if below else ""
                raise UserError(
                    f"{self.root / labels} holds no label maps (.png){hint}; see data.train and "
                    "data.val."
                )
            pairs = [(name, name) for name in names]
        else:
            known = Listing(self.root / labels)

            def is_name(text: str) -> bool:
                return any(known.find(f"{text}{end}") for end in _LABEL_EXTENSIONS)

            pairs = _read_list(self.root / self._alike(listing), is_name)
        self._images = PathList(self._find(images, [a for a, _ in pairs], IMAGE_EXTENSIONS))
        self._labels = PathList(self._find(labels, [b for _, b in pairs], _LABEL_EXTENSIONS))

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """What image `index` is called, found without opening it."""
        return str(self.root / self._images[index])

    def info(self, index: int) -> VideoInfo:
        """Describe image `index`; raises `ClipReadError`."""
        path = self.root / self._images[index]
        size = image_size(read_bytes(path, str(path)), str(path))
        return VideoInfo(self._key(index), 1, None, *size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read image and labels, once for every frame asked for.

        Raises:
            ClipReadError: a file is missing or damaged.
            UserError: the files do not belong together, or ids are no classes.
        """
        path, labelled = self.root / self._images[index], self.root / self._labels[index]
        if any(number != 0 for number in frame_indices):
            raise ClipReadError(
                f"{path} is a still image: it has no frame {max(frame_indices)}.",
                file=str(path),
                reason="too short",
            )
        image = decode_image(read_bytes(path, str(path)), str(path))
        ids = read_label_map(labelled, self.classes, self.void)
        if ids.shape != image.shape[:2]:
            raise UserError(
                f"{labelled} has {ids.shape[1]}x{ids.shape[0]} pixels and its image {path} "
                f"{image.shape[1]}x{image.shape[0]}: expected the same size."
            )
        count = len(frame_indices)
        return Clip(
            frames=np.repeat(image[None], count, axis=0).transpose(0, 3, 1, 2),
            key=self._key(index),
            labels={"semantic": np.repeat(ids[None], count, axis=0)},
        )

    def _alike(self, path: str) -> str:
        """The path below the root, or one that is called alike and exists."""
        found = alike(self.root / path)
        inside = found.is_relative_to(self.root)
        return (found.relative_to(self.root) if inside else found).as_posix()

    def _key(self, index: int) -> str:
        path = PurePosixPath(self._images[index]).with_suffix("")
        inside = path.is_relative_to(self._folder)
        return str(path.relative_to(self._folder) if inside else path)

    def _find(self, folder: str, names: Sequence[str], extensions: Sequence[str]) -> list[str]:
        """Paths of the files that are called so, relative to the root, one a name."""
        listed: dict[PurePosixPath, dict[str, list[str]]] = {}

        def there(name: str) -> tuple[PurePosixPath, list[str]]:
            parent, stem = _place(name, folder)
            if parent not in listed:
                listed[parent] = _by_stem(self.root / parent, extensions)
            return parent, listed[parent].get(stem, [])

        found = []
        for name in names:
            meanings = dict.fromkeys((name, unescaped(name), name.replace("\\", "/")))
            parent, files = next((f for f in map(there, meanings) if f[1]), there(name))
            exact = [file for file in files if file == PurePosixPath(name).name]
            if not files:
                near = Listing(self.root / parent).near(_place(name, folder)[1])
                raise UserError(
                    f"{self.root / parent} has no {shown(_place(name, folder)[1])} "
                    f"({' '.join(extensions)}), which the list names"
                    f"{f', but {shown(near)}' if near else ''}: complete the folder or use "
                    "another list."
                )
            if len(files) > 1 and not exact:
                raise UserError(
                    f"{self.root / parent} has {shown(files[0])} and {shown(files[1])}: name the "
                    "one that is meant with its extension, or move the other."
                )
            found.append(str(parent / (exact or files)[0]))
        return found


def _place(name: str, folder: str) -> tuple[PurePosixPath, str]:
    """Folder below the root, and name without extension, of what a line of a list names.

    "/JPEGImages/2007_000032.jpg" is a path from the root; "2007_000032" and "2007_000032.jpg" are
    in `folder`.
    """
    path = PurePosixPath(name.lstrip("/"))
    is_file = path.suffix.lower() in IMAGE_EXTENSIONS
    parent = path.parent if is_file and len(path.parts) > 1 else PurePosixPath(folder, path.parent)
    return parent, path.stem if is_file else path.name


def _by_stem(folder: Path, extensions: Sequence[str]) -> dict[str, list[str]]:
    """Visible files of a folder by their names without extension; one look at the folder, however
    many files it has.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: set data.root to the folder that holds it, or say where "
            "images and labels are (data.train, data.val)."
        )
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        path = PurePosixPath(name)
        if path.suffix.lower() in extensions and not name.startswith("."):
            found.setdefault(path.stem, []).append(name)
    return found


def _read_list(path: Path, is_name: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Names or paths of the image and the label map of each line, each once.

    Args:
        path: of the list.
        is_name: whether an image is called so; names may have blanks.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: cannot be read as a list of images, there is no such file; set "
            "data.train.listing and data.val.listing, null takes every label map."
        )
    lines = read_lines(path, is_name)
    pairs: dict[tuple[str, str], None] = {}
    repeated = []
    for line in lines:
        columns = _columns(line.text, is_name)
        named = {column_name(column) for column in columns}
        if line is lines[0] and named <= _COLUMNS and not is_name(line.text):
            continue
        if len(columns) > 2:
            raise line.refused("a name, or an image and its label map")
        pair = columns[0], columns[-1]
        if pair in pairs:
            repeated.append((columns[0], line.place))
        pairs[pair] = None
    if not pairs:
        raise UserError(f"The list {path} is empty.")
    warn_repeated(str(path), len(pairs) + len(repeated), repeated)
    return list(pairs)


def _columns(text: str, is_name: Callable[[str], bool]) -> list[str]:
    if is_name(text):
        return [text]
    found: list[str] = []
    rest = text
    while rest and (parts := split_path(rest, IMAGE_EXTENSIONS)):
        found.append(parts[0])
        rest = without_comment(parts[1]).strip(f"{BLANKS},;")
    return found if found and not rest else columns_of(without_comment(text))
