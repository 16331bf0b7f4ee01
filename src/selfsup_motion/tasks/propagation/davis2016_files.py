"""DAVIS-2016 in its own archive or in that of DAVIS-2017, and several objects as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.lists import read_lines
from selfsup_motion.data.reading.masks import VOID, Ids
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.davis_files import DavisFolder, FrameFolderVideo
from selfsup_motion.tasks.propagation.sequences import Frame, LabelledVideo, LabelledVideos


class Davis2016Folder:
    """Sequences of DAVIS-2016, whose list has another place in each archive.

    Args:
        root: holds JPEGImages and Annotations.
        split: `ImageSets/2016/<split>.txt` names the sequences, as in the archive of 2017, or
            `ImageSets/480p/<split>.txt` frames and masks, as in that of 2016; those that are not
            there are left out. Without a list, all folders of frames are sequences.
        resolution: folder below JPEGImages and Annotations.
    """

    def __init__(self, root: str, *, split: str, resolution: str) -> None:
        self._folder = DavisFolder(root, split=split, year="2016", resolution=resolution)
        self.names: Sequence[str] = self._folder.names
        lists = Path(root) / "ImageSets"
        pairs = lists / resolution / f"{split}.txt"
        if pairs.is_file() and not (lists / "2016" / f"{split}.txt").is_file():
            # /JPEGImages/480p/<sequence>/00000.jpg /Annotations/480p/<sequence>/00000.png
            named = {Path(line.text.split()[0]).parent.name for line in read_lines(pairs)}
            self.names = [name for name in self._folder.names if name in named]
            if not self.names:
                raise UserError(
                    f"{pairs}: names none of the folders of {root}/JPEGImages/{resolution}."
                )

    def open(self, name: str) -> FrameFolderVideo:
        """The sequence of that name."""
        return self._folder.open(name)


class OneObject:
    """Videos whose objects are all one.

    Args:
        source: videos with an id for each object.
    """

    def __init__(self, source: LabelledVideos) -> None:
        self._source = source
        self.names = source.names

    def open(self, name: str) -> OneObjectVideo:
        """The video of that name."""
        return OneObjectVideo(self._source.open(name))


class OneObjectVideo:
    """One of them.

    Args:
        video: with an id for each object.
    """

    def __init__(self, video: LabelledVideo) -> None:
        self._video = video
        self.name, self.frame_names = video.name, video.frame_names

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        return self._video.frames()

    def mask(self, index: int) -> Ids | None:
        """(H, W) 1 where there is an object, 255 where void; None: not annotated."""
        ids = self._video.mask(index)
        if ids is None:
            return None
        return np.where(ids == VOID, VOID, ids > 0).astype(np.uint8)

    def keypoints(self) -> NDArray[np.float64] | None:
        """Those of the video."""
        return self._video.keypoints()
