"""Scores of YouTube-VOS (Xu et al. 2018): J and F of each object over its own frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from selfsup_motion.data.reading.mask_reading import Ids
from selfsup_motion.errors import UserError
from selfsup_motion.ops.mask_metrics import contour_accuracy, region_similarity
from selfsup_motion.settings.nearest import nearest_name
from selfsup_motion.tasks.propagation.tables import Values, mean_of
from selfsup_motion.tasks.propagation.vos_videos import VosVideo

Prediction = Callable[[int], Ids]
"""The mask of a frame, by its number in the video."""


def object_scores(video: VosVideo, predict: Prediction) -> dict[int, Values]:
    """J and F of each object, the mean over the annotated frames that it is asked in after its
    first, which was given; objects without such a frame are left out."""
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in video.objects}
    times = sorted({t for thing in video.objects.values() for t in thing.asked[1:]})
    for time in times:
        truth = video.mask(time)
        if truth is None:
            continue
        mask = predict(time)
        for number, thing in video.objects.items():
            if time > thing.start and time in thing.asked:
                pair = mask == number, truth == number
                found[number].append((region_similarity(*pair), contour_accuracy(*pair)))
    means = {number: np.mean(rows, axis=0) for number, rows in found.items() if rows}
    return {number: {"J": float(j), "F": float(f)} for number, (j, f) in means.items()}


def summarised(
    scores: Sequence[tuple[str | None, Values]], unseen: Collection[str]
) -> dict[str, float]:
    """`J&F`, `J_mean` and `F_mean` over all objects; with categories that are unseen, also
    `overall`, the mean of `J_seen`, `F_seen`, `J_unseen` and `F_unseen`, as the benchmark ranks.

    Args:
        scores: category, J and F of each object.
        unseen: categories that training has not had.

    Raises:
        UserError: one of these is no category of the objects.
    """
    if not scores:
        return {}
    mean = mean_of([values for _, values in scores])
    result = {"J&F": (mean["J"] + mean["F"]) / 2, "J_mean": mean["J"], "F_mean": mean["F"]}
    known = {category for category, _ in scores if category is not None}
    if absent := [name for name in unseen if name not in known]:
        guess = nearest_name(absent[0], known)
        hint = f"did you mean {guess}?" if guess else f"there are {', '.join(sorted(known))}."
        raise UserError(f"task.unseen: no scored object is a {absent[0]}, {hint}")
    if not unseen:
        return result
    for name, wanted in (("seen", False), ("unseen", True)):
        part = mean_of([values for category, values in scores if (category in unseen) == wanted])
        result |= {f"{measure}_{name}": value for measure, value in part.items()}
    quarters = [
        result[f"{m}_{n}"] for m in "JF" for n in ("seen", "unseen") if f"{m}_{n}" in result
    ]
    return {"overall": float(np.mean(quarters)), **result} if len(quarters) == 4 else result
