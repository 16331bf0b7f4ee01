"""Follow a mask or points of the first frame through a video, and write what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfsup_motion.apps.arrows import check_inside
from selfsup_motion.apps.film import film
from selfsup_motion.apps.propagate_input import FrameStream, PointList, open_inputs, read_points
from selfsup_motion.data.reading.mask_reading import describe_objects, mask_warning
from selfsup_motion.data.reading.masks import VOID, Ids, MaskReader, palette, write_mask
from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingPath
from selfsup_motion.ops.overlay import draw_masks, draw_points
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import Auto, FittingPropagator
from selfsup_motion.tasks.propagation.davis_files import masks_of_frames
from selfsup_motion.tasks.propagation.followers import Follower, evaluated_follower
from selfsup_motion.tasks.propagation.object_starts import starting_masks
from selfsup_motion.tasks.propagation.point_files import PointWriter
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import Frame
from selfsup_motion.tasks.propagation.tracking import follow_masks, follow_points
from selfsup_motion.text.progress import OnProgress

log = logging.getLogger(__name__)


class Propagate:
    """One video. Holds a few frames at a time, whatever its length.

    Args:
        video: file, or folder of frames. An image in it that `mask` names is not taken for one.
        mask: the first frame's objects, see `MaskReader` for what the file may be; or a folder of
            masks, each called as its frame: an object starts in the first of them that shows it; or
        points: of the first frame, `[[x, y], …]` or `{"nose": [x, y], …}` in pixels, or a JSON
            file of that.
        propagator: copies the labels.
        layer: of the encoder; None: its output.
        precision: of the encoder, "32", "bf16" or "16".
        sigma: of the dots that stand for points, in cells.
        overlay: write `overlay.mp4`.
        fps: of a folder of frames; None: 25, or the video's own.
        max_frames: end after so many; None: the whole video.
        corrections: folder of masks, each called as its frame and true of it, whatever was found
            there; 255 where nothing is said. Frames after it are found from it. None: there are
            none.
        short_side: that frames are resized to before they are encoded; masks and points are of the
            video's own size. None: they are not resized; "auto": as the propagator has it.

    Raises:
        UserError: a file cannot be read, or both or neither of mask and points are given.
    """

    def __init__(
        self,
        *,
        video: ExistingPath,
        mask: ExistingPath | None,
        points: PointList | None,
        propagator: LabelPropagator | FittingPropagator,
        layer: str | None,
        precision: Precision,
        sigma: float,
        overlay: bool,
        fps: float | None,
        max_frames: int | None,
        short_side: int | Auto | None,
        corrections: ExistingPath | None = None,
    ) -> None:
        if sigma <= 0 or (fps or 1) <= 0 or (max_frames or 1) < 1:
            raise UserError(
                f"sigma={sigma}, fps={fps}, max_frames={max_frames}: all must be positive."
            )
        self.stream: FrameStream = open_inputs(video, mask, points, fps)
        if corrections is not None and mask is None:
            raise UserError("corrections are masks: give mask=, which they correct.")
        self.mask, self.points = mask, points
        self.corrections = corrections
        self.propagator, self.layer, self.precision = propagator, layer, precision
        self.sigma, self.overlay, self.short_side = sigma, overlay, short_side
        self.names = self.stream.frame_names[:max_frames]

    def run(
        self, encoder: nn.Module, folder: Path, *, device: str, progress: OnProgress | None = None
    ) -> None:
        """Do it.

        Args:
            encoder: see `FrameEncoder`.
            folder: gets `masks/00000.png` or `points.json`, and `overlay.mp4`.
            device: to compute on.
            progress: is told (frames done, frames in all, the frame's name).

        Raises:
            UserError: frames, mask or points do not fit together.
        """
        follower = evaluated_follower(
            encoder, self.propagator,
            layer=self.layer, precision=self.precision, device=device, folder=folder, key="layer",
            short_side=self.short_side,
        )  # fmt: skip
        log.info("Propagation: %s.", follower.propagation)
        with ExitStack() as stack:
            drawn = None
            follow = self._masks if self.mask is not None else self._points
            if self.overlay:
                drawn = stack.enter_context(film(folder / "overlay.mp4", self.stream.fps))
            pictures = follow(follower, stack)
            for done, (name, picture) in enumerate(zip(self.names, pictures, strict=False), 1):
                if drawn is not None:
                    drawn.add(picture())
                if progress:
                    progress(done, len(self.names), name)

    def _masks(
        self, follower: Follower, stack: ExitStack
    ) -> Iterator[Callable[[], NDArray[np.uint8]]]:
        """Write the masks; yields what draws each."""
        folder, propagator = follower.folder, follower.propagation.propagator
        path = Path(str(self.mask))
        colours = palette()
        given, corrections = self._given(path)
        (folder / "masks").mkdir()
        last: list[Frame] = []
        frames = self._frames(last, {**corrections, **given}, str(path))
        found = follow_masks(follower.encoder, propagator, frames, given, corrections)
        for name, ids in zip(self.names, found, strict=False):
            write_mask(folder / "masks" / f"{name}.png", ids)
            yield lambda ids=ids: draw_masks(_upright(last[0]), ids, colours)  # type: ignore[misc]

    def _given(self, path: Path) -> tuple[dict[int, Ids], dict[int, Ids]]:
        """The masks that objects start in, void as background, and those that correct, by the
        numbers of the frames."""
        files = {0: path}
        if path.is_dir():
            files = masks_of_frames(path, self.stream.frame_names)
            files = {time: file for time, file in files.items() if time < len(self.names)}
        later: dict[int, Path] = {}
        if self.corrections is not None:
            later = masks_of_frames(Path(self.corrections), self.stream.frame_names)
            later = {time: file for time, file in later.items() if time < len(self.names)}
        reader = MaskReader([*files.values(), *later.values()], self.names[0])
        masks = {time: reader.read(file) for time, file in files.items()}
        void = " except for void (255)" if any((m == VOID).any() for m in masks.values()) else ""
        masks = {time: np.where(mask == VOID, 0, mask) for time, mask in masks.items()}
        given = {time: mask for time, mask in starting_masks(masks).items() if mask.any()}
        if not given:
            raise UserError(f"{path}: is empty{void}, there is nothing to follow.")
        for time, mask in given.items():
            if (reason := mask_warning(mask)) is not None:
                log.warning("%s: %s.", files[time], reason)
            late = f" from frame {self.names[time]} on" if time else ""
            log.info("Following %s%s.", describe_objects(mask, reader.object_names), late)
        return given, {time: reader.read(file) for time, file in later.items()}

    def _points(
        self, follower: Follower, stack: ExitStack
    ) -> Iterator[Callable[[], NDArray[np.uint8]]]:
        """Write the points; yields what draws each frame's."""
        folder, propagator = follower.folder, follower.propagation.propagator
        assert self.points is not None
        where = self.points if isinstance(self.points, str) else "points"
        names, points = read_points(self.points)
        writer = stack.enter_context(PointWriter(folder / "points.json", names))
        last: list[Frame] = []
        frames = self._frames(last, None, where, points)
        found = follow_points(follower.encoder, propagator, frames, points, self.sigma)
        for _, row in zip(self.names, found, strict=False):
            writer.write(row)
            yield lambda row=row: draw_points(_upright(last[0]), row)  # type: ignore[misc]

    def _frames(
        self,
        last: list[Frame],
        masks: Mapping[int, Ids] | None,
        where: str,
        points: NDArray[np.float64] | None = None,
    ) -> Iterator[Frame]:
        """The frames, the latest one also in `last`; the first must fit mask and points."""
        for time, frame in enumerate(self.stream.frames()):
            height, width = frame.shape[1:]
            mask = None if masks is None else masks.get(time)
            if mask is not None and mask.shape != (height, width):
                raise UserError(
                    f"{where}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, the frames of "
                    f"{self.stream.path} are {width}x{height}; they must be of one size."
                )
            if time == 0 and points is not None:
                check_inside(points, where, (height, width), "point", "first frame")
            last[:] = [frame]
            yield frame


def _upright(frame: Frame) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frame.transpose(1, 2, 0))
