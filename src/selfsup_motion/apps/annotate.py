"""The job of `python -m selfsup_motion.annotate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from selfsup_motion.apps.arrows import Rows, check_inside, read_json, read_rows, short
from selfsup_motion.apps.photo import read_photo
from selfsup_motion.apps.probe import probe, refine_grabcut, refine_guided
from selfsup_motion.apps.weights import Weights, load_weights
from selfsup_motion.data.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.tasks.mask_files import MOST_OBJECTS, palette, write_mask

Refinement = Literal["grabcut", "guided"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clicks:
    """Points on and beside one object: (K, 2) and (L, 2) float32, x, y; K ≥ 1."""

    positive: NDArray[np.float32]
    negative: NDArray[np.float32]


class Annotation:
    """Objects of a photo, each from a few points on it and beside it."""

    def __init__(
        self,
        *,
        image: str,
        positive: Rows,
        negative: Rows,
        objects: str | Sequence[Mapping[str, Any]] | None,
        checkpoint: str,
        short_side: int | None,
        zoom: float | None,
        threshold: float,
        refine: Refinement | None,
        device: str,
    ) -> None:
        """Describe it; nothing is read before `run`.

        Args:
            image: the photo.
            positive: [[x, y], ...] on the object.
            negative: [[x, y], ...] beside it.
            objects: instead of those two, for several objects: [{"positive": [[x, y], ...],
                "negative": [...]}, ...], or the path of a JSON file with such a list.
            checkpoint: "auto", a run folder or a file, see `load_weights`.
            short_side: at which the network sees the photo or the square zoomed into, in pixels;
                None: as it was trained.
            zoom: see `probe`.
            threshold: score in [0, 1] above which a pixel is the object's.
            refine: "grabcut", "guided" or None, see `probe`.
            device: "cpu", "cuda", ....

        Raises:
            UserError: an argument is out of range.
        """
        if not 0 <= threshold < 1:
            raise UserError(f"threshold={threshold:g}: expected a score from 0 to below 1.")
        if zoom is not None and not zoom >= 1:
            raise UserError(f"zoom={zoom:g}: expected at least 1, or null for the whole photo.")
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side={short_side}: expected at least 1 pixel.")
        self.image, self.positive, self.negative, self.objects = image, positive, negative, objects
        self.checkpoint, self.short_side, self.device = checkpoint, short_side, device
        self.zoom, self.threshold, self.refine = zoom, threshold, refine

    def run(self, folder: Path, progress: Progress) -> list[str]:
        """Write the mask, the scores and an overlay.

        Args:
            folder: existing.
            progress: told after every object.

        Returns:
            What was used and written, a line each.

        Raises:
            UserError: anything wrong with photo, points or checkpoint.
        """
        photo = read_photo(self.image)
        size = photo.shape[-2], photo.shape[-1]
        clicks = self._clicks(size)
        weights = load_weights(self.checkpoint, self.device)
        if self.short_side is not None:
            weights = weights.at(self.short_side)
        scores = []
        for number in range(1, len(clicks) + 1):
            score = object_score(weights, photo, clicks, number, zoom=self.zoom, refine=self.refine)
            save_grey(folder / f"score_{number}.png", score)
            scores.append(score)
            progress(number, len(clicks))
        mask = label_map(np.stack(scores), self.threshold)
        write_mask(folder / "mask.png", mask)
        save_picture(folder / "overlay.png", overlay(photo, mask, clicks))
        areas = ", ".join(
            f"{number}: {(mask == number).mean():.1%}" for number in range(1, len(clicks) + 1)
        )
        return [
            f"weights {weights.used}",
            f"mask    {folder / 'mask.png'} (object: share of the photo; {areas})",
            f"overlay {folder / 'overlay.png'}",
            f"scores  {folder / 'score_<object>.png'}",
        ]

    def _clicks(self, size: tuple[int, int]) -> list[Clicks]:
        content: Any = [{"positive": self.positive, "negative": self.negative}]
        where = "positive, negative"
        if self.objects is not None:
            if len(self.positive) or len(self.negative):
                raise UserError("objects has its own points: leave positive and negative out.")
            where, content = "objects", self.objects
        if isinstance(content, str):
            where, content = content, read_json(content, "objects", "[{positive:[[x,y]]}]")
        if not isinstance(content, Sequence) or isinstance(content, str) or not content:
            raise UserError(f"{where}: expected a list of objects, got {short(content)}.")
        if len(content) > MOST_OBJECTS:
            raise UserError(f"{where}: an indexed PNG holds at most {MOST_OBJECTS} objects.")
        several = self.objects is not None
        return [
            _clicks_of(entry, f"{where}, object {number}" if several else "", size)
            for number, entry in enumerate(content, start=1)
        ]


def object_score(
    weights: Weights,
    photo: Tensor,
    clicks: Sequence[Clicks],
    number: int,
    *,
    zoom: float | None,
    refine: Refinement | None,
) -> NDArray[np.float32]:
    """Score of one of several objects; points on the others count as beside it.

    Args:
        weights: the network.
        photo: (3, H, W) uint8.
        clicks: of all objects.
        number: of the object, from 1.
        zoom: see `probe`.
        refine: see `probe`.

    Returns:
        (H, W) float32 in [0, 1].
    """
    own = clicks[number - 1]
    others = [c.positive for i, c in enumerate(clicks, start=1) if i != number]
    score = probe(weights, photo, own.positive, np.concatenate([own.negative, *others]), zoom=zoom)
    if refine == "grabcut":
        return refine_grabcut(score, photo)
    if refine == "guided":
        return refine_guided(score, photo)
    return score


def label_map(scores: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """(N, H, W) scores → (H, W) uint8: the object with the highest score above the threshold, from
    1; 0 if there is none."""
    best = scores.argmax(0)
    return np.where(scores.max(0) > threshold, best + 1, 0).astype(np.uint8)


def save_grey(path: Path, score: NDArray[np.float32]) -> None:
    """Write (H, W) in [0, 1] as an 8-bit PNG."""
    Image.fromarray(np.rint(score * 255).astype(np.uint8)).save(path)


def overlay(photo: Tensor, mask: NDArray[np.uint8], clicks: Sequence[Clicks]) -> NDArray[np.uint8]:
    """(H, W, 3): half-transparent objects on the photo, points on them green, beside them red."""
    picture = photo.permute(1, 2, 0).numpy().astype(np.float32)
    colour = palette()[mask].astype(np.float32)
    mixed = np.where(mask[..., None] > 0, (picture + colour) / 2, picture).astype(np.uint8)
    radius = max(2, min(mask.shape) // 100)
    for click in clicks:
        for points, shade in ((click.positive, (40, 220, 40)), (click.negative, (230, 40, 40))):
            for x, y in points:
                place = round(float(x)), round(float(y))
                cv2.circle(mixed, place, radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(mixed, place, radius, shade, -1, cv2.LINE_AA)
    return mixed


def _clicks_of(entry: Any, place: str, size: tuple[int, int]) -> Clicks:
    if not isinstance(entry, Mapping) or not entry.keys() <= {"positive", "negative"}:
        raise UserError(
            f'{place}: expected {{"positive": [[x, y], ...], "negative": [[x, y], ...]}}, got '
            f"{short(entry)}."
        )
    found = []
    for kind in ("positive", "negative"):
        where = f"{place}, {kind}" if place else kind
        rows = read_rows(entry.get(kind, []), where, 2, "x, y")
        check_inside(rows, where, size, "point")
        found.append(rows.astype(np.float32))
    if not len(found[0]):
        raise UserError(f"{place + ', ' if place else ''}positive: no point on the object.")
    return Clicks(*found)
