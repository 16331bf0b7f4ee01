"""What the tab Annotate asks for: points and paint on a photo → masks, as `annotate` makes them."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.annotate import (
    Refinement,
    clicked_mask,
    clicked_score,
    doubts,
    own_clicks,
    refined_score,
)
from selfsup_motion.apps.annotation_files import coco, labelme
from selfsup_motion.apps.clicks import Clicks, clicks_of
from selfsup_motion.apps.corrections import (
    NOT_AN_OBJECT,
    corrected,
    painted_objects,
)
from selfsup_motion.apps.object_scores import LookedAt
from selfsup_motion.apps.photo import read_photo
from selfsup_motion.data.reading.masks import MOST_OBJECTS, write_mask
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Answer, Call, Events, answer, stream
from selfsup_motion.web.commands import command_line
from selfsup_motion.web.marks import label_map, runs_of
from selfsup_motion.web.models import Loaded, computing
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Stored
from selfsup_motion.weights.trained_cmp import Weights

_MOST_POINTS = 500
_SCORE_SIDE = 640
"""Longer side of the score map that is shown."""
_MOST_SCORES = 256e6
"""Bytes of scores that a session keeps for the next click."""
_EDGES = ("grabcut", "none")
_FORMATS = ("png", "coco", "labelme", "clicks")


@dataclass(frozen=True)
class _Score:
    """What is known of an object.

    Attributes:
        key: the points and the zoom that it is of; None: nothing is known.
        clicked: (H, W) of `clicked_score`.
        refine: how it was refined.
        refined: (H, W) of `refined_score`.
    """

    key: tuple[bytes, bytes, float | None] | None
    clicked: NDArray[np.float32]
    refine: Refinement | None
    refined: NDArray[np.float32]


@dataclass(frozen=True)
class _Seen:
    """A photo of a session, as it was last looked at.

    Attributes:
        key: the photo and the model.
        looked: what the network has seen of it.
        scores: of the objects, by the page's labels.
    """

    key: tuple[str, int]
    looked: LookedAt
    scores: dict[int, _Score]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.looked.photo.shape[-2], self.looked.photo.shape[-1]


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for.

    Attributes:
        photo: that the objects are on.
        weights: the network.
        seen: what is known of the photo.
        labels: what the page calls the objects: those with a point on them or painted.
        names: of these.
        clicks: of these.
        corrections: (H, W): what is painted, by number of the object from 1; None: nothing.
        left_out: names of objects that have neither.
        refine: see `object_score`.
        zoom: likewise.
        threshold: see `clicked_mask`.
        all_parts: likewise.
    """

    photo: Stored
    weights: Loaded[Weights]
    seen: _Seen
    labels: list[int]
    names: list[str]
    clicks: list[Clicks]
    corrections: NDArray[np.uint8] | None
    left_out: list[str]
    refine: Refinement | None
    zoom: float | None
    threshold: float
    all_parts: bool


def masks(call: Call) -> Events:
    """The masks of all objects; those of the current one before the others are computed."""
    wanted = _wanted(call)
    current = fields.whole(call.body, "current", 0, NOT_AN_OBJECT, 0)
    shown = fields.flag(call.body, "score", False)
    sent: _Score | None = None
    if not wanted.labels:  # just opened
        with computing(wanted.weights):
            wanted.seen.looked.encode()
    if not shown and (clicked := _known_mask(call, wanted)) is not None:  # only paint is new
        count = len(wanted.labels)
        yield {
            "progress": [count, count],
            "labels": _for_page(wanted, clicked),
            **_summary(wanted, clicked),
        }
        return
    for scores, done in _scores(call, wanted, current):
        clicked = _clicked(wanted, scores)
        event: dict[str, Any] = {
            "progress": [done, len(scores)],
            "labels": _for_page(wanted, clicked),
        }
        if shown and current in wanted.labels:
            score = scores[wanted.labels.index(current)]
            if score is not sent:
                event["score"], sent = _score_picture(score.clicked), score
        if done == len(scores):
            _remember(call, wanted, clicked)
            event |= _summary(wanted, clicked)
        yield event


def save(call: Call) -> Answer:
    """The masks, or the clicks and the command that makes the same of them, to be saved."""
    kind = fields.choice(call.body, "format", _FORMATS)
    wanted = _wanted(call)
    if not wanted.labels:
        raise Refusal("There is nothing to save yet: click on an object, or paint it.")
    for old in call.session.files("annotation"):
        call.session.remove(old.id)
    stem, photo = _stem(wanted.photo.name), wanted.photo.name
    if kind == "clicks":
        return _save_clicks(call, wanted, stem)
    clicked = _known_mask(call, wanted)
    if clicked is None:
        *_, (scores, _) = _scores(call, wanted, 0)
        clicked = _clicked(wanted, scores)
        _remember(call, wanted, clicked)
    mask = _painted(wanted, clicked)
    if kind == "png":
        return {"files": [_png(call, f"{stem}_mask.png", mask)]}
    content = (coco if kind == "coco" else labelme)(mask, wanted.names, photo)
    # LabelMe looks for the file beside the photo, under the photo's name
    name = f"{stem}_coco.json" if kind == "coco" else f"{photo.rpartition('.')[0] or photo}.json"
    return {"files": [_json(call, name, content)]}


ROUTES = [stream("/masks", masks), answer("POST", "/save", save)]


def _wanted(call: Call) -> _Wanted:
    body = call.body
    weights = call.studio.models.cmp(fields.text(body, "model"), "annotate")
    photo = call.session.file(body.get("photo"), "photo")
    objects = [_object(entry) for entry in fields.items(body, "objects", MOST_OBJECTS)]
    if len({label for label, _, _ in objects}) < len(objects):
        raise Refusal("objects: two of them have the same label.")
    seen = _look(call, weights, photo)
    size = seen.size
    painted = label_map(body, size)
    there = painted_objects(painted)
    used = [one for one in objects if one[2]["positive"] or one[0] in there]
    labels = [label for label, _, _ in used]
    corrections = None if painted is None else _numbered(painted, labels)
    clicks = []
    if used:
        numbers = painted_objects(corrections)
        clicks = clicks_of([], [], [points for _, _, points in used], size, numbers)
    return _Wanted(
        photo=photo,
        weights=weights,
        seen=seen,
        labels=labels,
        names=[name for _, name, _ in used],
        clicks=clicks,
        corrections=corrections,
        left_out=[name for label, name, _ in objects if label not in labels],
        refine="grabcut" if fields.choice(body, "refine", _EDGES, "grabcut") != "none" else None,
        zoom=fields.number(body, "zoom", 0, 100, 0) or None,
        threshold=fields.number(body, "threshold", 0, 0.99, 0.5),
        all_parts=fields.flag(body, "all_parts", False),
    )


def _object(entry: Any) -> tuple[int, str, dict[str, Sequence[Any]]]:
    """Label, name and points of an object of the page."""
    if not isinstance(entry, dict):
        raise Refusal("objects: expected a list of objects.")
    label = fields.whole(entry, "label", 1, MOST_OBJECTS)
    name = fields.text(entry, "name", 80).strip() or f"object {label}"
    points = {key: fields.items(entry, key, _MOST_POINTS, ()) for key in ("positive", "negative")}
    return label, name, points


def _numbered(painted: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.uint8]:
    """Labels of the page as numbers of objects; those of removed objects count as not painted."""
    numbers = np.zeros(256, np.uint8)
    numbers[labels] = np.arange(1, len(labels) + 1)
    numbers[NOT_AN_OBJECT] = NOT_AN_OBJECT
    return np.asarray(numbers[painted], np.uint8)


def _look(call: Call, weights: Loaded[Weights], photo: Stored) -> _Seen:
    """A photo, encoded once for a session and a model."""
    key, memory = (photo.id, weights.serial), call.session.memory
    with call.session.lock:
        known = memory.get("annotate.seen")
    if isinstance(known, _Seen) and known.key == key:
        return known
    seen = _Seen(key, LookedAt(weights.value, read_photo(photo.path, name="The photo")), {})
    with call.session.lock:
        memory["annotate.seen"] = seen
    return seen


def _scores(call: Call, wanted: _Wanted, current: int) -> Iterator[tuple[list[_Score], int]]:
    """Scores of all objects, as far as they are known, and how many are up to date.

    The current object comes first; of the others, the last scores stand until their turn comes.
    """
    looked = wanted.seen.looked
    with call.session.lock:
        known = dict(wanted.seen.scores)
    own = [own_clicks(wanted.clicks, number) for number in range(1, len(wanted.labels) + 1)]
    keys = [(one.positive.tobytes(), one.negative.tobytes(), wanted.zoom) for one in own]
    nothing = np.zeros(wanted.seen.size, np.float32)
    scores = [known.get(label, _Score(None, nothing, None, nothing)) for label in wanted.labels]
    old = [
        at
        for at, score in enumerate(scores)
        if (score.key, score.refine) != (keys[at], wanted.refine)
    ]
    old.sort(key=lambda at: wanted.labels[at] != current)
    for left, at in zip(range(len(old) - 1, -1, -1), old, strict=True):
        score = scores[at].clicked
        if scores[at].key != keys[at]:
            with computing(wanted.weights):
                score = clicked_score(wanted.weights.value, looked, own[at], wanted.zoom)
        refined = refined_score(score, looked, own[at], wanted.refine)
        scores[at] = known[wanted.labels[at]] = _Score(keys[at], score, wanted.refine, refined)
        _keep(call, wanted, known)
        if left:
            yield scores, len(scores) - left
    yield scores, len(scores)


def _keep(call: Call, wanted: _Wanted, known: Mapping[int, _Score]) -> None:
    """Keep the scores of the objects that are there, as far as memory is set apart for them."""
    most = int(_MOST_SCORES // (2 * 4 * math.prod(wanted.seen.size)))
    kept = [(label, known[label]) for label in wanted.labels if label in known][:most]
    with call.session.lock:
        wanted.seen.scores.clear()
        wanted.seen.scores.update(kept)


def _clicked(wanted: _Wanted, scores: Sequence[_Score]) -> NDArray[np.uint8]:
    if not scores:
        return np.zeros(wanted.seen.size, np.uint8)
    refined = [score.refined for score in scores]
    return clicked_mask(refined, wanted.clicks, wanted.threshold, all_parts=wanted.all_parts)


def _mask_key(wanted: _Wanted) -> tuple[object, ...]:
    """What `_clicked` depends on."""
    points = tuple((one.positive.tobytes(), one.negative.tobytes()) for one in wanted.clicks)
    settings = wanted.zoom, wanted.refine, wanted.threshold, wanted.all_parts
    return wanted.seen.key, points, settings


def _known_mask(call: Call, wanted: _Wanted) -> NDArray[np.uint8] | None:
    """The last mask of `_clicked`, if it is the wanted one: scores of many objects on a large photo
    are not kept, and would have to be computed again to save it or to paint on it."""
    with call.session.lock:
        key, mask = call.session.memory.get("annotate.mask", (None, None))
    return mask if key == _mask_key(wanted) else None


def _remember(call: Call, wanted: _Wanted, clicked: NDArray[np.uint8]) -> None:
    with call.session.lock:
        call.session.memory["annotate.mask"] = _mask_key(wanted), clicked


def _summary(wanted: _Wanted, clicked: NDArray[np.uint8]) -> dict[str, Any]:
    """What is told beside the masks, once all are there."""
    mask = _painted(wanted, clicked)
    shares = {
        label: float((mask == number).mean()) for number, label in enumerate(wanted.labels, start=1)
    }
    return {"shares": shares, "notes": _notes(wanted, mask)}


def _painted(wanted: _Wanted, clicked: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return clicked if wanted.corrections is None else corrected(clicked, wanted.corrections)


def _for_page(wanted: _Wanted, clicked: NDArray[np.uint8]) -> dict[str, Any]:
    """Masks by the page's labels; it lays what is painted on top itself, as it is painted."""
    return runs_of(np.array([0, *wanted.labels], np.uint8)[clicked])


def _notes(wanted: _Wanted, mask: NDArray[np.uint8]) -> list[str]:
    notes = []
    for told in doubts(mask, wanted.clicks, wanted.zoom):
        notes.append(re.sub(r"object (\d+)", lambda found: wanted.names[int(found[1]) - 1], told))
    if wanted.labels:  # before the first click, nothing is missing
        notes += [f"{name}: no point on it yet." for name in wanted.left_out]
    return notes


def _score_picture(score: NDArray[np.float32]) -> str:
    """A score in colours, as a data URL."""
    height, width = score.shape
    scale = min(1.0, _SCORE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = np.rint(cv2.resize(score, size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    _, png = cv2.imencode(".png", cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"


def _save_clicks(call: Call, wanted: _Wanted, stem: str) -> Answer:
    """Points, what is painted, and the command that makes the same masks of them."""
    points = [
        {"positive": one.positive.tolist(), "negative": one.negative.tolist()}
        for one in wanted.clicks
    ]
    name, painted = f"{stem}_clicks.json", f"{stem}_corrections.png"
    files = [_json(call, name, points)]
    settings: dict[str, object] = {"image": wanted.photo.name, "objects": name}
    if wanted.corrections is not None and wanted.corrections.any():
        files.append(_png(call, painted, wanted.corrections))
        settings["corrections"] = painted
    model = call.studio.models.find(fields.text(call.body, "model"), "annotate")
    settings |= {
        "checkpoint": model.checkpoint,
        "zoom": wanted.zoom,
        "threshold": wanted.threshold,
        "refine": wanted.refine,
    }
    if wanted.all_parts:
        settings["all_parts"] = True
    return {"files": files, "command": command_line("annotate", settings)}


def _png(call: Call, name: str, mask: NDArray[np.uint8]) -> str:
    path = call.session.new_path(".png")
    write_mask(path, mask)
    return call.session.add(path, name, "annotation", "image/png").id


def _json(call: Call, name: str, content: Any) -> str:
    path = call.session.new_path(".json")
    path.write_text(json.dumps(content) + "\n")
    return call.session.add(path, name, "annotation", "application/json").id


def _stem(name: str) -> str:
    """What results are called: as the photo, of characters that any system takes."""
    return re.sub(r"[^\w-]+", "_", name.rpartition(".")[0] or name).strip("_") or "photo"
