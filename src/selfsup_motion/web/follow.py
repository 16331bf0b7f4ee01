"""What the tab Follow asks for: a video, masks or points of some frames → those of all frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from starlette.responses import Response

from selfsup_motion.apps.annotate import object_ids, object_score
from selfsup_motion.apps.clicks import clicked_parts, read_clicks
from selfsup_motion.data.reading.masks import VOID, Ids, read_mask
from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import options
from selfsup_motion.tasks.propagation.choice import FittingPropagator, preset
from selfsup_motion.tasks.propagation.followers import evaluated_follower
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Answer, Call, Events, answer, stream, upload
from selfsup_motion.web.follow_run import MOST_POINTS, MaskKeys, PointKeys, Run
from selfsup_motion.web.follow_saved import boxes, film_of, masks_of, points_of, start_of
from selfsup_motion.web.follow_video import (
    add_example,
    check_number,
    opened,
    with_frame,
)
from selfsup_motion.web.marks import label_map
from selfsup_motion.web.models import computing
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Session, Stored
from selfsup_motion.web.uploads import check_picture
from selfsup_motion.web.videos import add_video

_MOST_KEYS = 500
_OF_BENCHMARKS = ("auto", "badja", "vip", "crw_")
_READ_AT_ONCE = 8
"""Frames, to go on from an earlier one."""
_MOST_SIDE = 2048
"""Of the label maps that the page has, as `LABELS_SIDE` of surface.js."""
_ZOOM, _THRESHOLD = 4.0, 0.5
"""As conf/annotate.yaml has them."""


def take_video(call: Call) -> Answer:
    """A video that is uploaded."""
    assert call.draft is not None
    return add_video(call.session, call.draft, call.name, call.studio.limits).as_json()


def example(call: Call) -> Answer:
    """A video that the package makes."""
    return add_example(call.session, call.studio.limits).as_json()


def frame(call: Call) -> Answer:
    """A frame as a JPEG: `?video=…&frame=…`."""
    stored = call.session.file(call.query.get("video"), "video")
    text = call.query.get("frame", "")
    if not text.isdecimal() or len(text) > 9:
        raise Refusal("frame: expected a number.")
    number = int(text)
    data = with_frame(call.session, stored, number, lambda video: video.shown(number))
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(data, media_type="image/jpeg", headers=headers)


def presets(call: Call) -> Answer:
    """The ways to propagate that can be chosen."""
    return {"presets": _presets()}


def take_mask(call: Call) -> Answer:
    """A mask of the first frame that is uploaded: `?video=…`."""
    assert call.draft is not None
    try:
        stored = call.session.file(call.query.get("video"), "video")
        check_picture(call.draft, call.studio.limits.megapixels)
        try:
            mask = read_mask(call.draft)
        except UserError as error:
            raise Refusal(str(error).replace(str(call.draft), "The mask"), 415) from error
    finally:
        call.draft.unlink(missing_ok=True)
    height, width = _size(stored)
    if mask.shape != (height, width):
        raise Refusal(
            f"The mask is {mask.shape[1]}x{mask.shape[0]} pixels, the video {width}x{height}: they "
            "must be of one size."
        )
    mask[mask == VOID] = 0
    if not mask.any():
        raise Refusal("The mask is empty: it shows no object.")
    return {"labels": as_labels(mask)}


def click(call: Call) -> Answer:
    """Masks of objects from points on them and beside them, as `annotate` finds them."""
    stored = call.session.file(call.body.get("video"), "video")
    number = fields.whole(call.body, "frame", 0, 10**9)
    weights = call.studio.models.cmp(fields.text(call.body, "model"), "annotate")
    points: dict[int, dict[str, list[Any]]] = {}
    for point in fields.items(call.body, "points", 500):
        if not isinstance(point, Mapping):
            raise Refusal("points: expected objects with x, y, sign and label.")
        label = fields.whole(point, "label", 1, 254)
        sign = "positive" if fields.number(point, "sign", -1, 1) > 0 else "negative"
        place = [fields.number(point, axis, -1, 1e5) for axis in "xy"]
        points.setdefault(label, {}).setdefault(sign, []).append(place)
    named = {label: rows for label, rows in sorted(points.items()) if "positive" in rows}
    clicks = read_clicks(list(named.values()), "points", _size(stored), numbered=True)
    video = opened(call.session, stored)
    check_number(video, number)
    with video.lock:
        pixels = torch.from_numpy(np.ascontiguousarray(video.frame(number).transpose(2, 0, 1)))
    scores = []
    for index in range(1, len(clicks) + 1):
        with computing(weights):
            scores.append(
                object_score(weights.value, pixels, clicks, index, zoom=_ZOOM, refine="grabcut")
            )
    found = object_ids(np.stack(scores), _THRESHOLD)
    mask = np.zeros_like(found)
    for index, (label, one) in enumerate(zip(named, clicks, strict=True), 1):
        mask[clicked_parts(found == index, one.positive)] = label
    return {"labels": as_labels(mask)}


def run(call: Call) -> Events:
    """Follow from the first frame that has changed; an event for each frame."""
    stored = call.session.file(call.body.get("video"), "video")
    keys = _keys(call, stored)
    encoder = call.studio.models.encoder(fields.text(call.body, "model"), "follow")
    made = _run(call, stored, isinstance(keys, MaskKeys))
    with made.lock:
        start, again = made.begin(keys)
        turn = made.turn
    video = opened(call.session, stored)
    yield {"first": made.first, "from": again, "frames": video.count}
    if start >= video.count:
        return
    with made.lock:
        if made.turn is not turn:
            return
        while wanted := made.wanted[:_READ_AT_ONCE]:
            with video.lock:
                pictures = video.file.read(wanted, None)
            with computing(encoder):
                made.refill(dict(zip(wanted, pictures, strict=True)))
    frames = video.frames(start)
    try:
        for number, pixels in enumerate(frames, start):
            with made.lock:
                if made.turn is not turn:  # another request goes on with it
                    return
                with computing(encoder):
                    found = made.step(number, pixels)
            if number < again:
                yield {"catching_up": [number - start, again - start]}
            elif isinstance(keys, MaskKeys):
                yield {"frame": number, "labels": as_labels(found.astype(np.uint8))}
            else:
                yield {"frame": number, "points": as_rows(found)}
            if number % 64 == 0:
                call.session.check_room()
    finally:
        frames.close()  # type: ignore[attr-defined]


def found(call: Call) -> Answer:
    """What was found in a frame, and how far it went."""
    made = _made(call)
    number = fields.whole(call.body, "frame", 0, 10**9)
    if made is None:
        return {"first": 0, "done": 0}
    with made.lock:
        told = {"first": made.first, "done": made.done}
        mask, points = made.masks(number), made.points(number)
    if mask is not None:
        return {**told, "labels": as_labels(mask)}
    return told if points is None else {**told, "points": as_rows(points)}


def save(call: Call) -> Events:
    """A file to be saved; `what` says which."""
    what = fields.choice(call.body, "what", ("masks", "film", "boxes", "csv", "json", "start"))
    stored = call.session.file(call.body.get("video"), "video")
    names = _names(call)
    if what == "start":
        yield start_of(call, stored, _keys(call, stored), names)
        return
    made = _made(call)
    if made is None or made.done <= made.first or made.identity[0] != stored.id:
        raise Refusal("Nothing has been followed yet.")
    maker = {"masks": masks_of, "film": film_of, "boxes": boxes}.get(what)
    if maker is not None:
        yield from maker(call, stored, made, names)
        return
    yield points_of(call, stored, made, names, what)


ROUTES = [
    upload("/video", take_video),
    answer("POST", "/example", example),
    answer("GET", "/frame", frame),
    answer("GET", "/presets", presets),
    upload("/mask", take_mask),
    answer("POST", "/click", click),
    stream("/run", run),
    answer("POST", "/found", found),
    stream("/save", save),
]


def as_labels(mask: Ids) -> dict[str, Any] | None:
    """(H, W) ids as `labels` of the page's surface; None if there are none."""
    if not mask.any():
        return None
    height, width = mask.shape
    shrink = min(1.0, _MOST_SIDE / max(height, width))
    if shrink < 1:
        height, width = (max(1, math.floor(side * shrink + 0.5)) for side in (height, width))
        rows, columns = (
            (np.arange(new) * old // new)
            for new, old in ((height, mask.shape[0]), (width, mask.shape[1]))
        )
        mask = mask[rows][:, columns]
    flat = mask.ravel()
    begins = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.concatenate([begins, [flat.size]]))
    runs = np.stack([flat[begins].astype(np.int64), counts], 1).ravel().tolist()
    return {"width": width, "height": height, "runs": runs}


def as_rows(points: NDArray[np.generic]) -> list[list[float] | None]:
    """(K, 2) points; None for those that are lost."""
    return [None if x < 0 else [round(float(x), 2), round(float(y), 2)] for x, y in points]


def _presets() -> list[str]:
    """Those for any video; "auto" is what fits the encoder."""
    return ["auto", *(n for n in options("propagator") if not n.startswith(_OF_BENCHMARKS))]


def _size(stored: Stored) -> tuple[int, int]:
    return stored.about["height"], stored.about["width"]


def _names(call: Call) -> list[str]:
    given = fields.items(call.body, "names", 254, ())
    if not all(isinstance(name, str) and len(name) <= 100 for name in given):
        raise Refusal("names: expected texts of at most 100 characters.")
    return [str(name) for name in given]


def _keys(call: Call, stored: Stored) -> MaskKeys | PointKeys:
    """What is painted or placed, by frame."""
    last = stored.about["frames"] - 1
    kind = fields.choice(call.body, "kind", ("masks", "points"))
    painted: dict[int, tuple[Ids, bool]] = {}
    places: dict[int, NDArray[np.float64]] = {}
    height, width = _size(stored)
    for key in fields.items(call.body, "keys", _MOST_KEYS):
        if not isinstance(key, Mapping):
            raise Refusal("keys: expected objects with frame and labels or points.")
        time = fields.whole(key, "frame", 0, last)
        if kind == "points":
            places[time] = _places(key, (height, width))
            continue
        full = fields.flag(key, "full", False)
        mask = label_map(key, (height, width))
        mask = np.zeros((height, width), np.uint8) if mask is None else mask
        if (mask == VOID).any():
            raise Refusal("labels: objects are 1 to 254.")
        if full or mask.any():
            painted[time] = mask, full
    if kind == "points":
        if not any(np.isfinite(rows).any() for rows in places.values()):
            raise Refusal("Click on what is to be followed first.")
        return PointKeys(dict(sorted(places.items())))
    if not any(mask.any() for mask, _ in painted.values()):
        raise Refusal("Paint what is to be followed first, or click on it.")
    return MaskKeys.of(painted)


def _places(key: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """(K, 2) of one frame."""
    rows = np.full((len(fields.items(key, "points", MOST_POINTS)), 2), np.nan)
    for index, row in enumerate(key["points"]):
        if row is None:
            continue
        if not isinstance(row, list) or len(row) != 2:
            raise Refusal("points: expected [x, y] or null.")
        place = {"x": row[0], "y": row[1]}
        rows[index] = [
            fields.number(place, axis, 0, side - 1)
            for axis, side in zip("xy", reversed(size), strict=True)
        ]
    return rows


def _run(call: Call, stored: Stored, masks: bool) -> Run:
    """The run of this video, encoder and preset; a new one if there is none."""
    model = fields.text(call.body, "model")
    name = fields.choice(call.body, "preset", _presets(), "auto")
    encoder = call.studio.models.encoder(model, "follow")
    identity = (stored.id, encoder.serial, name, masks)
    made = _made(call)
    if made is not None and made.identity == identity:
        return made
    chosen: LabelPropagator | FittingPropagator = FittingPropagator()
    if name != "auto":
        chosen = LabelPropagator(**preset(name))
        chosen.name = name
    with computing(encoder):
        follower = evaluated_follower(
            encoder.value, chosen, layer=None, precision="32",
            device=call.studio.models.device, folder=call.session.folder, short_side="auto",
        )  # fmt: skip
    fresh = Run(
        identity, follower.encoder, follower.propagation.propagator,
        call.session.new_path(), _size(stored), stored.about["frames"],
    )  # fmt: skip
    _replace(call.session, fresh)
    return fresh


def _made(call: Call) -> Run | None:
    with call.session.lock:
        made = call.session.memory.get("follow.run")
    return made if isinstance(made, Run) else None


def _replace(session: Session, fresh: Run) -> None:
    with session.lock:
        old = session.memory.get("follow.run")
        session.memory["follow.run"] = fresh
    if isinstance(old, Run):
        with old.lock:
            old.close()
