"""A video of a session that is looked at, frame by frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.film import film
from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.timed_video import FrameTable
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.scene import Difficulty
from selfsup_motion.errors import UserError
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Session, Stored
from selfsup_motion.web.uploads import Limits
from selfsup_motion.web.videos import add_video

_SHOWN_SIDE = 1280
"""Longest side of the frames that the page shows."""
_QUALITY = 90
_AT_ONCE = 8
"""Frames that are decoded when one of them is asked for."""
_KEPT = 96
"""Frames for the page in memory."""
_EXAMPLE_WORLD, _EXAMPLE_FRAMES, _EXAMPLE_SIDE = 2, 60, 256
_EXAMPLE = Difficulty(
    colour_similarity=0.9, limbs=(3, 4), object_size=(0.35, 0.5), speed=(0.01, 0.03)
)
"""Objects that stand out, so that colours alone can follow them."""


class OpenVideo:
    """A video that is looked at. For one thread at a time: hold `lock`.

    Args:
        stored: the file.
        table: of its frames; None: it is made.
    """

    def __init__(self, stored: Stored, table: FrameTable | None = None) -> None:
        self.stored = stored
        self.lock = threading.Lock()
        self.file = VideoFile(stored.path, stored.name, table)
        self._shown: OrderedDict[int, bytes] = OrderedDict()

    @property
    def count(self) -> int:
        """Of frames."""
        return len(self.file.table.pts)

    def frame(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) RGB of a frame, all its pixels."""
        pixels: NDArray[np.uint8] = self.file.read([number], None)[0]
        return pixels

    def shown(self, number: int) -> bytes:
        """A frame as a JPEG for the page."""
        if number not in self._shown:
            # those around it are likely to be asked for next
            first = number // _AT_ONCE * _AT_ONCE
            numbers = range(first, min(first + _AT_ONCE, self.count))
            for one, pixels in zip(numbers, self.file.read(numbers, None), strict=True):
                self._shown[one] = _jpeg(pixels)
            while len(self._shown) > _KEPT:
                self._shown.popitem(last=False)
        self._shown.move_to_end(number)
        return self._shown[number]

    def frames(self, start: int) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) RGB from a frame on, by a reader of their own."""
        reader = VideoFile(self.stored.path, self.stored.name, self.file.table)
        try:
            for pixels in reader.stream(start=start):
                if pixels.shape[:2] != (self.stored.about["height"], self.stored.about["width"]):
                    raise UserError("The frames of the video differ in size; convert it to one.")
                yield pixels
        finally:
            reader.close()


def add_example(session: Session, limits: Limits, kind: str = "video") -> Stored:
    """A short film of the toy world.

    Args:
        session: its owner.
        limits: see `add_video`.
        kind: likewise.
    """
    path = session.new_path(".mp4")
    size = _EXAMPLE_SIDE * 3 // 4, _EXAMPLE_SIDE
    world = ToyWorld(
        _EXAMPLE_WORLD + 1,
        split="test",
        size=size,
        num_frames=_EXAMPLE_FRAMES,
        difficulty=_EXAMPLE,
    )
    with film(path, 15) as made:
        for number in range(_EXAMPLE_FRAMES):
            frame = world.read(_EXAMPLE_WORLD, [number]).frames[0]
            made.add(np.ascontiguousarray(np.asarray(frame, np.uint8).transpose(1, 2, 0)))
    return add_video(session, path, "example.mp4", limits, kind)


def opened(session: Session, stored: Stored) -> OpenVideo:
    """The video that a session looks at, open; the one before it is closed."""
    with session.lock:
        video = session.memory.get("follow.video")
        if not isinstance(video, OpenVideo) or video.stored.id != stored.id:
            video = OpenVideo(stored)
            session.memory["follow.video"] = video
        return video


def with_frame(
    session: Session, stored: Stored, number: int, use: Callable[[OpenVideo], bytes]
) -> bytes:
    """What `use` makes of the video, if it has a frame of that number.

    Raises:
        Refusal: it has not.
    """
    video = opened(session, stored)
    check_number(video, number)
    with video.lock:
        return use(video)


def check_number(video: OpenVideo, number: int) -> None:
    """Refuse a frame that is not there.

    Raises:
        Refusal: so.
    """
    if not 0 <= number < video.count:
        raise Refusal(f"There is no frame {number}: the video has {video.count}, from 0 on.", 404)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape[:2]
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), options)
    return data.tobytes()
