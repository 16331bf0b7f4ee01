"""The job of `python -m selfsup_motion.animate`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfsup_motion.apps.arrows import ArrowSet, Rows, arrow_sets, short
from selfsup_motion.apps.film import Format, film
from selfsup_motion.apps.motion import (
    MovingPhoto,
    Refinement,
    farthest,
    length_warning,
    overlap_warning,
    resized_flow,
)
from selfsup_motion.apps.photo import read_photo, shrunk
from selfsup_motion.apps.render import (
    Easing,
    Loop,
    Moment,
    Warp,
    frame_count,
    render_frames,
    schedule,
)
from selfsup_motion.apps.suggest import SUGGEST, arrow_to_begin_with
from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.ops.draw import draw_arrows
from selfsup_motion.ops.flow import write_flow
from selfsup_motion.ops.flow_pictures import below, flow_legend, flow_picture
from selfsup_motion.settings.trust import Trust
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.weights.trained_cmp import Weights, load_weights

_FADE = 3.0
"""Pixels between two blended copies from which on they are seen as two."""
_DRAWING_SIDE = 1000
"""Arrows are drawn on a copy of at most this size, or they would be hair lines."""


class Animation:
    """A photo that follows arrows."""

    def __init__(
        self,
        *,
        image: ExistingFile,
        arrows: str | Rows,
        pins: Rows,
        checkpoint: str,
        checkpoint_key: str | None,
        trust: Trust,
        short_side: int | None,
        seconds: float,
        fps: float,
        loop: Loop,
        easing: Easing,
        warp: Warp,
        refine: Refinement | None,
        formats: Sequence[Format],
        max_side: int | None,
        device: str,
    ) -> None:
        """Describe it; nothing is read before `run`.

        Args:
            image: the photo.
            arrows: [[x, y, dx, dy], ...] or the path of a JSON file, see `arrow_sets`; "suggest":
                the network chooses one.
            pins: [[x, y], ...]: points that stay.
            checkpoint: "auto", a run folder or a file, see `load_weights`.
            checkpoint_key: of the weights in the file, see `load_encoder`; None: the usual place.
            trust: packages of the user's own that the checkpoint may use, see `load_method`.
            short_side: at which the network sees the photo, in pixels; None: as it was trained.
            seconds: length of the film.
            fps: frames per second.
            loop: "none", "back" (there and back) or "seamless", see `schedule`.
            easing: "linear", "in", "out" or "smooth".
            warp: "backward" or "forward", see `render_frames`.
            refine: "grabcut": what moves ends at edges of the photo; None: as predicted.
            formats: of the film: "mp4", "gif", "webp".
            max_side: longest side of the film in pixels; None: the photo's own size.
            device: "cpu", "cuda", ....

        Raises:
            UserError: an argument is out of range.
        """
        if not (seconds > 0 and fps > 0):
            raise UserError(f"seconds={seconds:g} and fps={fps:g} must be above zero.")
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side={short_side}: expected at least 1 pixel.")
        if not formats:
            raise UserError(f"formats is empty: choose from {', '.join(get_args(Format))}.")
        self.image, self.arrows, self.pins = image, arrows, pins
        self.checkpoint, self.checkpoint_key = checkpoint, checkpoint_key
        self.trust = trust
        self.short_side, self.device = short_side, device
        self.max_side, self.formats, self.fps, self.warp = max_side, formats, fps, warp
        self.loop, self.refine = loop, refine
        self.moments = schedule(frame_count(seconds, fps), loop, easing)

    def run(self, folder: Path, progress: OnProgress) -> list[str]:
        """Write flow, pictures and films.

        Args:
            folder: existing; several arrow sets get a folder each in it.
            progress: told after every frame.

        Returns:
            What was used and written, a line each.

        Raises:
            UserError: anything wrong with photo, arrows or checkpoint.
        """
        whole = read_photo(self.image)
        size = whole.shape[-2], whole.shape[-1]
        suggest = self.arrows == SUGGEST
        # a mistake in the arrows is told before the network is read
        sets = [] if suggest else arrow_sets(self.arrows, self.pins, size)
        photo = shrunk(whole, max_side=self.max_side)
        weights = load_weights(self.checkpoint, self.device, self.checkpoint_key, self.trust)
        if self.short_side is not None:
            weights = weights.at(self.short_side)
        lines = [f"weights {weights.used}"]
        if suggest:
            rows = arrow_to_begin_with(weights, whole, self.image)
            sets = arrow_sets(rows, self.pins, size)
            lines.append(f"note    the network's suggestion: arrows={short(rows)}; draw your own")
        moving = MovingPhoto(weights, whole)
        total, done = len(sets) * len(self.moments), 0
        for arrows in sets:
            own = folder / arrows.name
            own.mkdir(exist_ok=True)
            flow = moving.motion(arrows, self.refine)
            lines += _write_motion(own, whole, arrows, moving.whole(farthest(flow)))
            lines += [f"note    {note}" for note in self._notes(weights, whole, arrows, flow)]
            paths = [own / f"film.{suffix}" for suffix in self.formats]
            for _ in write_films(paths, self.fps, photo, flow, self.moments, self.warp):
                done += 1
                progress(done, total, "")
            lines += [f"film    {path}" for path in paths]
        return lines

    def _notes(
        self, weights: Weights, photo: Tensor, arrows: ArrowSet, flow: Tensor
    ) -> Iterator[str]:
        """What may look otherwise than meant, a sentence each."""
        yield from arrows.notes
        yield from arrow_notes(weights, photo, arrows)
        size = max(photo.shape[-2:])
        shown = size if self.max_side is None else min(size, self.max_side)
        if shown < size:
            yield (
                f"the film is smaller than the photo, {self.max_side} instead of {size} pixels "
                "along its longer side; max_side=null keeps the size."
            )
        scale = shown / max(flow.shape[-2:])
        if self.loop == "seamless" and (told := fade_note(farthest(flow), scale)) is not None:
            yield told


def arrow_notes(weights: Weights, photo: Tensor, arrows: ArrowSet) -> list[str]:
    """What the network may make of arrows otherwise than meant, a sentence each."""
    arrows = arrows.at(1.0) if arrows.paths else arrows
    told = overlap_warning(weights, photo, arrows), length_warning(weights, photo, arrows)
    return [sentence for sentence in told if sentence is not None]


def fade_note(flow: Tensor, shown: float) -> str | None:
    """A sentence if a seamless loop of a motion shows double edges.

    Args:
        flow: (2, H, W) in pixels.
        shown: pixels of the film for one of the flow.
    """
    far = float(flow.norm(dim=0).max()) * shown
    if far <= _FADE:
        return None
    return (
        "loop=seamless blends the end of the motion with its beginning: things that move "
        f"{far:.0f} px apart show double edges; loop=back goes there and back without them."
    )


def write_films(
    paths: Sequence[Path],
    fps: float,
    photo: Tensor,
    flow: Tensor,
    moments: Sequence[Moment],
    warp: Warp,
) -> Iterator[None]:
    """Write films of a photo that moves, all of the same frames; yields after each frame.

    Args:
        paths: of the files, see `film`.
        fps: frames per second.
        photo: (3, H, W) uint8.
        flow: (2, h, w) or (T, 2, h, w), see `render_frames`, in pixels of its own size.
        moments: see `schedule`.
        warp: see `render_frames`.

    Raises:
        UserError: a format cannot hold frames of this size or rate.
    """
    with contextlib.ExitStack() as stack:
        films = [stack.enter_context(film(path, fps)) for path in paths]
        flow = resized_flow(flow, (photo.shape[-2], photo.shape[-1]))
        for frame in render_frames(photo, flow, moments, warp):
            for each in films:
                each.add(frame)
            yield


def _write_motion(folder: Path, photo: Tensor, arrows: ArrowSet, flow: Tensor) -> list[str]:
    field = flow.cpu()
    write_flow(folder / "flow.flo", field.numpy())
    longest = max(float(field.norm(dim=0).max()), 1.0)
    colours = flow_picture(field.numpy(), scale=longest)
    legend = flow_legend([f"full colour: {longest:.0f} px"])
    save_picture(folder / "flow.png", below(colours, legend))
    save_picture(folder / "arrows.png", _drawing(photo, arrows))
    (folder / "arrows.json").write_text(json.dumps(arrows.as_json()) + "\n")
    return [
        f"flow    {folder / 'flow.flo'}, in colours {folder / 'flow.png'}",
        f"arrows  {folder / 'arrows.png'}",
    ]


def _drawing(photo: Tensor, arrows: ArrowSet) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(photo.permute(1, 2, 0).numpy())
    height, width = picture.shape[:2]
    scale = min(1.0, _DRAWING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    arrows = arrows.at(1.0) if arrows.paths else arrows
    return draw_arrows(small, arrows.points * scale, arrows.vectors * scale)
