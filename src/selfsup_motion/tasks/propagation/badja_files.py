"""BADJA's files: joints of animals in videos of DAVIS, and what is read from them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.frame_order import list_frames
from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.data.reading.masks import Ids, read_mask
from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.propagation.sequences import Frame

log = logging.getLogger(__name__)

_JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
"""Those of the 37 rows of an annotation that the benchmark uses."""
_ROWS = 37
_KEYS = {"image_path", "segmentation_path", "joints", "visibility"}


class JointVideo(Protocol):
    """A video of an animal, from the first to the last frame whose joints are known."""

    name: str
    frame_names: Sequence[str]

    def frames(self) -> Iterator[Frame]:
        """All frames in order, of one size."""
        ...

    def joints(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(T, K, 2) x, y in pixels, and (T, K) whether visible; nothing is visible in a frame that
        is not annotated."""
        ...

    def animal(self, index: int) -> NDArray[np.bool_] | None:
        """(H, W) its pixels in a frame; None: not annotated."""
        ...


class JointVideos(Protocol):
    """A set of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of all videos."""
        ...

    def open(self, name: str) -> JointVideo:
        """The video of that name."""
        ...


class BadjaFolder:
    """Videos in BADJA's layout: `joint_annotations/<video>.json`, which name images and masks.

    Args:
        root: holds `joint_annotations` and what the annotations name, `DAVIS/JPEGImages/…`.
        videos: names of the benchmark's videos; None: all. Those that are not there, or whose
            images are not, are left out.
    """

    def __init__(self, root: str, *, videos: Sequence[str] | None) -> None:
        self._root = Path(root)
        files = {path.stem: path for path in (self._root / "joint_annotations").glob("*.json")}
        if not files:
            raise UserError(
                f"data.root={root}: expected BADJA's folder, with joint_annotations/<video>.json "
                "and the images that these name."
            )
        entries = {name: _entries(files[name]) for name in videos or sorted(files) if name in files}
        there = {n: e for n, e in entries.items() if (self._root / e[0]["image_path"]).is_file()}
        absent = [name for name in videos or sorted(files) if name not in there]
        if not there:
            example = next(iter(entries.values()))[0]["image_path"] if entries else absent[0]
            raise UserError(
                f"data.root={root}: the images of {', '.join(absent)} are not there, for example "
                f"{example}."
            )
        if absent:
            log.warning("%s: without images or annotation, left out.", ", ".join(absent))
        self._files, self._entries = files, there
        self.names = list(there)

    def open(self, name: str) -> BadjaVideo:
        """The video of that name."""
        return BadjaVideo(name, self._root, self._files[name], self._entries[name])


class BadjaVideo:
    """One video.

    Args:
        name: of the video.
        root: what the paths of the annotations are relative to.
        file: of the annotations, for messages.
        entries: its content.

    Raises:
        UserError: an annotated frame is missing.
    """

    def __init__(self, name: str, root: Path, file: Path, entries: list[dict[str, Any]]) -> None:
        self.name = name
        images = [root / entry["image_path"] for entry in entries]
        folder = images[0].parent
        files = [folder / part for part in list_frames(folder, str(folder))]
        positions = {path: number for number, path in enumerate(files)}
        for image in images:
            if image not in positions:
                raise UserError(f"{file}: names {image}, which is not there.")
        times = [positions[image] for image in images]
        order = np.argsort(times)
        first, last = times[order[0]], times[order[-1]]
        self._files = files[first : last + 1]
        self.frame_names = [path.stem for path in self._files]
        self._known = {times[i] - first: entries[i] for i in order}
        self._root = root

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        size = None
        for path in self._files:
            image = decode_image(read_bytes(path, str(path)), str(path))
            size = size or image.shape[:2]
            if image.shape[:2] != size:
                raise UserError(
                    f"{path}: is {image.shape[0]}x{image.shape[1]} pixels, the first frame "
                    f"{size[0]}x{size[1]}; all frames of a video must have one size."
                )
            yield image.transpose(2, 0, 1)

    def joints(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(T, 20, 2) x, y in pixels, and (T, 20) whether visible."""
        points = np.zeros((len(self._files), len(_JOINTS), 2))
        visible = np.zeros(points.shape[:2], bool)
        rows = list(_JOINTS)
        for time, entry in self._known.items():
            points[time] = np.array(entry["joints"], np.float64)[rows, ::-1]  # stored as y, x
            visible[time] = np.array(entry["visibility"], bool)[rows]
        return points, visible

    def animal(self, index: int) -> NDArray[np.bool_] | None:
        """(H, W) its pixels in a frame; None: not annotated."""
        entry = self._known.get(index)
        if entry is None:
            return None
        mask: Ids = read_mask(self._root / entry["segmentation_path"])
        return mask > 0


def _entries(file: Path) -> list[dict[str, Any]]:
    """The content of an annotation.

    Raises:
        UserError: it has another form.
    """
    content = parsed_json(read_bytes(file, str(file)), str(file))
    expected = (
        f"{file}: expected a list of {{image_path, segmentation_path, joints, visibility}}, with "
        f"{_ROWS} joints [y, x] each, as BADJA's annotations are"
    )
    if not isinstance(content, list) or not content:
        raise UserError(f"{expected}.")
    for number, entry in enumerate(content):
        try:
            joints = np.array(entry["joints"], np.float64)
            shapes = joints.shape, np.array(entry["visibility"], bool).shape
            whole = isinstance(entry, dict) and set(entry) >= _KEYS and np.isfinite(joints).all()
        except (TypeError, ValueError, KeyError, IndexError):
            whole, shapes = False, ((), ())
        if not whole or shapes != ((_ROWS, 2), (_ROWS,)):
            raise UserError(f"{expected}; entry {number} is not.")
    return content
