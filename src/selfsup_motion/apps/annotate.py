"""The job of `python -m selfsup_motion.annotate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from selfsup_motion.apps.arrows import Rows
from selfsup_motion.apps.clicks import Clicks, clicked_parts, clicks_of, constrained, dots
from selfsup_motion.apps.corrections import (
    check_objects,
    corrected,
    painted_objects,
    read_corrections,
)
from selfsup_motion.apps.object_scores import (
    LookedAt,
    probe,
    refine_grabcut,
    refine_guided,
    zoom_square,
)
from selfsup_motion.apps.photo import read_photo
from selfsup_motion.data.reading.masks import palette, write_mask
from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.settings.trust import Trust
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.weights.trained_cmp import Weights, load_weights

Refinement = Literal["grabcut", "guided"]


_ALL = 0.9
"""A mask that covers more than this share of what was looked at is doubtful."""
_NOTHING = 2.0
"""So is one of fewer pixels than this many times those that the clicks alone would give."""


class Annotation:
    """Objects of a photo, each from a few points on it and beside it."""

    def __init__(
        self,
        *,
        image: ExistingFile,
        positive: Rows,
        negative: Rows,
        objects: str | Sequence[Mapping[str, Any]] | None,
        corrections: ExistingFile | None,
        checkpoint: str,
        checkpoint_key: str | None,
        trust: Trust,
        short_side: int | None,
        zoom: float | None,
        threshold: float,
        refine: Refinement | None,
        all_parts: bool,
        device: str,
    ) -> None:
        """Describe it; nothing is read before `run`.

        Args:
            image: the photo.
            positive: [[x, y], ...] on the object.
            negative: [[x, y], ...] beside it.
            objects: instead of those two, for several objects: [{"positive": [[x, y], ...],
                "negative": [...]}, ...], or the path of a JSON file with such a list.
            corrections: what was painted over the masks, see `read_corrections`.
            checkpoint: "auto", a run folder or a file, see `load_weights`.
            checkpoint_key: of the weights in the file, see `load_encoder`; None: the usual place.
            trust: packages of the user's own that the checkpoint may use, see `load_method`.
            short_side: at which the network sees the photo or the square zoomed into, in pixels;
                None: as it was trained.
            zoom: see `probe`.
            threshold: score in [0, 1] above which a pixel is the object's.
            refine: "grabcut", "guided" or None, see `probe`.
            all_parts: keep also the parts of a mask that no positive point is connected with.
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
        self.corrections = corrections
        self.checkpoint, self.checkpoint_key = checkpoint, checkpoint_key
        self.trust = trust
        self.short_side, self.device = short_side, device
        self.zoom, self.threshold, self.refine = zoom, threshold, refine
        self.all_parts = all_parts

    def run(self, folder: Path, progress: OnProgress) -> list[str]:
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
        painted = None if self.corrections is None else read_corrections(self.corrections, size)
        clicks = clicks_of(
            self.positive, self.negative, self.objects, size, painted_objects(painted)
        )
        check_objects(painted, len(clicks))
        weights = load_weights(self.checkpoint, self.device, self.checkpoint_key, self.trust)
        if self.short_side is not None:
            weights = weights.at(self.short_side)
        scores = self._scores(weights, photo, clicks, folder, progress)
        mask = clicked_mask(scores, clicks, self.threshold, all_parts=self.all_parts)
        if painted is not None:
            mask = corrected(mask, painted)
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
            *doubts(mask, clicks, self.zoom),
        ]

    def _scores(
        self,
        weights: Weights,
        photo: Tensor,
        clicks: Sequence[Clicks],
        folder: Path,
        progress: OnProgress,
    ) -> Iterator[NDArray[np.float32]]:
        """The score of each object, written as it is found."""
        looked = LookedAt(weights, photo)
        for number in range(1, len(clicks) + 1):
            score = object_score(
                weights, looked, clicks, number, zoom=self.zoom, refine=self.refine
            )
            save_grey(folder / f"score_{number}.png", score)
            progress(number, len(clicks), "")
            yield score
            del score  # or it would stay while the next one is computed


def clicked_mask(
    scores: Iterable[NDArray[np.float32]],
    clicks: Sequence[Clicks],
    threshold: float,
    *,
    all_parts: bool = False,
) -> NDArray[np.uint8]:
    """The masks of all objects, as their clicks give them.

    Args:
        scores: (H, W) of each, see `object_score`.
        clicks: of each.
        threshold: score in [0, 1] above which a pixel is the object's.
        all_parts: keep also the parts of a mask that no positive point is connected with.

    Returns:
        (H, W) uint8: the number of the object, from 1; 0 is none.
    """
    mask = object_ids(scores, threshold)
    if not all_parts:
        for number, one in enumerate(clicks, start=1):
            own = mask == number
            mask[own & ~clicked_parts(own, one.positive)] = 0
    return mask


def doubts(mask: NDArray[np.uint8], clicks: Sequence[Clicks], zoom: float | None) -> list[str]:
    """What to tell of masks that cover nearly all or nearly nothing.

    Args:
        mask: (H, W) numbers of objects.
        clicks: of each; those without a positive point are passed over.
        zoom: see `probe`.

    Returns:
        A sentence for each such object.
    """
    size = mask.shape[0], mask.shape[1]
    lines = []
    for number, one in enumerate(clicks, start=1):
        if not len(one.positive):
            continue
        own, place, looked_at = mask == number, "photo", mask.size
        every = one.among([c for c in clicks if c is not one])
        points = np.concatenate([every.positive, every.negative])
        square = None if zoom is None else zoom_square(points, size, zoom)
        if square is not None:
            place, looked_at = "zoomed square", square[2] ** 2
        share = np.count_nonzero(own) / looked_at
        few = _NOTHING * np.count_nonzero(dots(one.positive, size))
        if share > _ALL:
            told = f"covers {share:.0%} of the {place}: add negative points or raise threshold"
            told += "" if square is None else ", or zoom less"
        elif np.count_nonzero(own) < few:
            told = "is hardly larger than the points: add points or lower threshold"
        else:
            continue
        lines.append(f"doubtful: the mask of object {number} {told}.")
    return lines


def object_score(
    weights: Weights,
    photo: Tensor | LookedAt,
    clicks: Sequence[Clicks],
    number: int,
    *,
    zoom: float | None,
    refine: Refinement | None,
) -> NDArray[np.float32]:
    """Score of one of several objects; points on the others count as beside it.

    The clicks are kept to, see `constrained`, also where a refinement would not.

    Args:
        weights: the network.
        photo: (3, H, W) uint8, or what the network has seen of one.
        clicks: of all objects.
        number: of the object, from 1.
        zoom: see `probe`.
        refine: see `probe`.

    Returns:
        (H, W) float32 in [0, 1]; 0 for an object without a positive point.
    """
    own = own_clicks(clicks, number)
    score = clicked_score(weights, photo, own, zoom)
    return refined_score(score, photo, own, refine)


def own_clicks(clicks: Sequence[Clicks], number: int) -> Clicks:
    """The clicks of an object, from 1, with the points on the others beside it."""
    return clicks[number - 1].among([c for i, c in enumerate(clicks, start=1) if i != number])


def clicked_score(
    weights: Weights, photo: Tensor | LookedAt, own: Clicks, zoom: float | None
) -> NDArray[np.float32]:
    """What the network says of an object; see `object_score`.

    Args:
        weights: the network.
        photo: see `object_score`.
        own: of `own_clicks`.
        zoom: see `probe`.
    """
    if not len(own.positive):
        return np.zeros(_picture(photo).shape[-2:], np.float32)
    return constrained(probe(weights, photo, own.positive, own.negative, zoom=zoom), own)


def refined_score(
    score: NDArray[np.float32], photo: Tensor | LookedAt, own: Clicks, refine: Refinement | None
) -> NDArray[np.float32]:
    """A score of `clicked_score` along the edges of the photo; see `object_score`."""
    if refine is None or not len(own.positive):
        return score
    refined = refine_grabcut if refine == "grabcut" else refine_guided
    return constrained(refined(score, _picture(photo)), own)


def _picture(photo: Tensor | LookedAt) -> Tensor:
    return photo.photo if isinstance(photo, LookedAt) else photo


def object_ids(scores: Iterable[NDArray[np.float32]], threshold: float) -> NDArray[np.uint8]:
    """N scores (H, W) → (H, W) uint8: the object with the highest score above the threshold, from
    1; 0 if there is none. The scores are read one by one and not kept."""
    following = iter(scores)
    best = next(following).copy()
    ids = np.ones(best.shape, np.uint8)
    for number, score in enumerate(following, start=2):
        ids[score > best] = number  # of equal ones, the first stays
        np.maximum(best, score, out=best)
        del score
    ids[~(best > threshold)] = 0
    return ids


def save_grey(path: Path, score: NDArray[np.float32]) -> None:
    """Write (H, W) in [0, 1] as an 8-bit PNG."""
    Image.fromarray(np.rint(score * 255).astype(np.uint8)).save(path)


def overlay(photo: Tensor, mask: NDArray[np.uint8], clicks: Sequence[Clicks]) -> NDArray[np.uint8]:
    """(H, W, 3): half-transparent objects on the photo, points on them green, beside them red."""
    mixed = photo.permute(1, 2, 0).numpy().copy()
    colours = palette().astype(np.uint16)
    for row, ids in zip(mixed, mask, strict=True):  # a row at a time takes hardly any memory
        inside = ids > 0
        row[inside] = (row[inside] + colours[ids[inside]]) // 2
    radius = max(2, min(mask.shape) // 100)
    for click in clicks:
        for points, shade in ((click.positive, (40, 220, 40)), (click.negative, (230, 40, 40))):
            for x, y in points:
                place = round(float(x)), round(float(y))
                cv2.circle(mixed, place, radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(mixed, place, radius, shade, -1, cv2.LINE_AA)
    return mixed
