"""`ImageFolder`: still images as videos of a single frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.geometry import check_short_side, resize_image, short_side_size
from selfsup_motion.data.loading.thread_local import ThreadLocal
from selfsup_motion.data.reading.listing import PathList, find_files, outside, place_of
from selfsup_motion.data.reading.parts import Parts
from selfsup_motion.data.reading.pictures import (
    IMAGE_EXTENSIONS,
    decode_image,
    image_size,
    read_bytes,
)
from selfsup_motion.data.source import Source, VideoInfo
from selfsup_motion.errors import ClipReadError, UserError


class ImageFolder(ThreadLocal, Source):
    """The images below a folder, nested as deep as you like; `key` is the relative path.

    Photos are turned upright as their EXIF data says.
    """

    still: ClassVar[bool] = True
    no_flow: ClassVar[str] = (
        "still images do not move: choose videos (data=videos) or frame pairs with flow (data=yfcc)"
    )

    def __init__(
        self,
        root: str | Path,
        *,
        split: Literal["train", "val", "all"] = "all",
        split_folders: bool = True,
        val_share: float = 0.1,
        val_root: str | Path | None = None,
        short_side: int | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
    ) -> None:
        """List the images; none is opened.

        Args:
            root: the folder.
            split: "train" and "val" are the folders that are called so, if there are any (see
                `Parts`); otherwise they divide `root` by a hash of the relative paths, so that
                adding files moves none. "all" takes everything.
            split_folders: False: folders called train or val are like any others.
            val_share: expected share of the images in "val", in (0, 1).
            val_root: "val" takes what is in this other folder, "train" what is in `root`; of
                either, only the part that is meant, if it is divided in folders.
            short_side: length of the shorter side in pixels that images are resized to; None keeps
                them.
            extensions: of the files that are images.

        Raises:
            UserError: there are no such files, or an argument is out of range.
        """
        if split not in ("train", "val", "all"):
            raise UserError(f"split {split!r} is unknown: choose train, val or all.")
        if not 0 < val_share < 1:
            raise UserError(f"val_share must be between 0 and 1, got {val_share}.")
        check_short_side(short_side, "data.short_side")
        self.short_side = short_side
        self._divided = False
        separate = val_root is not None and split == "val"
        self.root = Path(val_root if separate and val_root is not None else root)
        key = "data.val_root" if separate else "data.root"
        paths: Sequence[str] = find_files(self.root, extensions, "images", key, regular_only=False)
        if split != "all":
            if val_root is not None and split == "train":
                paths = outside(paths, self.root, Path(val_root))
            share = val_share if val_root is None else None
            parts = Parts(paths, enabled=split_folders)
            paths = parts.divide(paths, split, share, root=str(self.root), what="image")
            self._divided = share is not None and parts.divides_by_name
        self._paths = PathList(paths)

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def paths(self) -> PathList:
        """The images, relative to `root`."""
        return self._paths

    def name(self, index: int) -> str:
        """What image `index` is called, found without opening it."""
        return str(self.root / self._paths[index])

    def place(self, index: int) -> float | None:
        """Where image `index` stands in the division by names; None if there is none."""
        return place_of(self._paths[index]) if self._divided else None

    def info(self, index: int) -> VideoInfo:
        """Describe image `index`, resized and upright; raises `ClipReadError`."""
        name = self._paths[index]
        size = image_size(self._bytes(name), name, upright=True)
        if self.short_side is not None:
            size = short_side_size(size, self.short_side)
        return VideoInfo(name, 1, None, *size)

    def read(self, index: int, frame_indices: Sequence[int]) -> Clip:
        """Read the image, once for every frame asked for; raises `ClipReadError`."""
        name = self._paths[index]
        if any(number != 0 for number in frame_indices):
            raise ClipReadError(
                f"{name} is a still image: it has no frame {max(frame_indices)}.",
                file=name,
                reason="too short",
            )
        image = decode_image(self._bytes(name), name, upright=True)
        if self.short_side is not None:
            image = resize_image(
                image, short_side_size((image.shape[0], image.shape[1]), self.short_side)
            )
        frames = np.repeat(image[None], len(frame_indices), axis=0)
        return Clip(frames=frames.transpose(0, 3, 1, 2), key=name)

    def _bytes(self, name: str) -> bytes:
        """Content of a file; `info` asks for it and then `read`."""
        last: tuple[str, bytes] | None = getattr(self._local, "last", None)
        if last is None or last[0] != name:
            last = self._local.last = name, read_bytes(self.root / name, name)
        return last[1]
