"""What the tab Move asks for: a photo, arrows → flow and films, as `animate` makes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from selfsup_motion.apps.animate import arrow_notes, fade_note, write_films
from selfsup_motion.apps.arrows import ArrowSet, sets_of
from selfsup_motion.apps.film import Format
from selfsup_motion.apps.motion import MovingPhoto, farthest
from selfsup_motion.apps.photo import read_photo, shrunk
from selfsup_motion.apps.regions import border_pins, spread_over_regions
from selfsup_motion.apps.render import Easing, Loop, Moment, Warp, frame_count, schedule
from selfsup_motion.apps.suggest import suggested_arrows
from selfsup_motion.errors import UserError
from selfsup_motion.ops.flow import write_flow
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Answer, Call, Events, answer, stream
from selfsup_motion.web.commands import command_line
from selfsup_motion.web.marks import label_map
from selfsup_motion.web.models import Loaded, computing
from selfsup_motion.web.pictures import flow_view
from selfsup_motion.web.sessions import Session
from selfsup_motion.weights.trained_cmp import Weights

_PREVIEW_SIDE = 640
_PREVIEW_FPS = 16.0
_PREVIEW_FRAMES = 32
_PREVIEWS_KEPT = 3
_MOST_MARKS = 500
_MOST_FILM_FRAMES = 1500
_MOST_SUGGESTED = 2
_CAMERAS = ("free", "still")
_MEDIA_TYPES = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp"}


@dataclass(frozen=True)
class _Seen:
    """A photo of a session, as it was last looked at."""

    moving: MovingPhoto
    key: tuple[str, int]

    @property
    def photo(self) -> Tensor:
        """(3, H, W) uint8."""
        return self.moving.photo


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for."""

    weights: Loaded[Weights]
    seen: _Seen
    arrows: ArrowSet
    refine: bool


@dataclass(frozen=True)
class _FilmSettings:
    """How a film is to run."""

    seconds: float
    fps: float
    moments: list[Moment]
    loop: Loop
    warp: Warp
    max_side: int | None


def preview(call: Call) -> Events:
    """The flow at once, the flow that ends at edges, and a small film."""
    wanted, settings = _wanted(call), _settings(call.body, preview=True)
    flow = _flow(call.session, wanted, refine=False)
    notes = [
        *wanted.arrows.notes,
        *arrow_notes(wanted.weights.value, wanted.seen.photo, wanted.arrows),
    ]
    scale = wanted.seen.moving.scale
    yield {"flow": flow_view(farthest(flow).cpu().numpy(), scale), "notes": notes}
    if wanted.refine:
        flow = _flow(call.session, wanted, refine=True)
        yield {"flow": flow_view(farthest(flow).cpu().numpy(), scale), "notes": notes}
    path = call.session.new_path(".mp4")
    for done in _film(path, wanted, flow, settings):
        if done % 8 == 0:
            yield {"progress": [done, len(settings.moments)]}
    kept = call.session.add(path, "preview.mp4", "preview", _MEDIA_TYPES["mp4"])
    for old in call.session.files("preview")[:-_PREVIEWS_KEPT]:
        call.session.remove(old.id)
    yield {"film": kept.id, "notes": notes + _film_notes(wanted, flow, settings)}


def film(call: Call) -> Events:
    """A film to be saved, as `animate` writes it."""
    wanted, settings = _wanted(call), _settings(call.body)
    suffix = fields.choice(call.body, "format", get_args(Format))
    flow = _flow(call.session, wanted, wanted.refine)
    yield {"progress": [0, len(settings.moments)]}
    path = call.session.new_path(f".{suffix}")
    try:
        for done in _film(path, wanted, flow, settings):
            yield {"progress": [done, len(settings.moments)]}
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    name = f"{_stem(call)}.{suffix}"
    for old in call.session.files("film"):
        call.session.remove(old.id)
    yield {"file": call.session.add(path, name, "film", _MEDIA_TYPES[suffix]).id}


def suggest(call: Call) -> Answer:
    """Arrows on what could move: {"arrows": [[x, y, dx, dy], …]}."""
    weights = call.studio.models.cmp(fields.text(call.body, "model"), "move")
    stored = call.session.file(call.body.get("photo"), "photo")
    seen = _look(call.session, weights, stored.id, stored.path)
    with computing(weights):
        rows = suggested_arrows(weights.value, seen.photo, _MOST_SUGGESTED)
    if not rows:
        raise UserError(
            "Nothing in this photo stands out as a thing that could move: draw an arrow."
        )
    return {"arrows": rows}


def flow_file(call: Call) -> Answer:
    """The flow as a .flo file."""
    wanted = _wanted(call)
    flow = _flow(call.session, wanted, wanted.refine)
    path = call.session.new_path(".flo")
    write_flow(path, wanted.seen.moving.whole(farthest(flow)).cpu().numpy())
    return _only(call, path, f"{_stem(call)}.flo", "flow", "application/octet-stream")


def arrows_file(call: Call) -> Answer:
    """What is drawn as the JSON file that `animate arrows=` takes, and the command."""
    wanted, settings = _wanted(call), _settings(call.body)
    path = call.session.new_path(".json")
    path.write_text(json.dumps(wanted.arrows.as_json()) + "\n")
    name = f"{_stem(call)}_arrows.json"
    model = call.studio.models.find(fields.text(call.body, "model"), "move")
    words: dict[str, object] = {
        "image": _photo_name(call),
        "arrows": name,
        "checkpoint": model.checkpoint,
        "seconds": settings.seconds,
        "fps": settings.fps,
        "loop": settings.loop,
    }
    if settings.loop != "seamless":
        words["easing"] = _easing(call.body)
    if not wanted.refine:
        words["refine"] = None
    words["max_side"] = settings.max_side
    command = command_line("animate", words)
    return {**_only(call, path, name, "arrows", "application/json"), "command": command}


ROUTES = [
    stream("/preview", preview),
    stream("/film", film),
    answer("POST", "/suggest", suggest),
    answer("POST", "/flow-file", flow_file),
    answer("POST", "/arrows-file", arrows_file),
]


def _wanted(call: Call) -> _Wanted:
    weights = call.studio.models.cmp(fields.text(call.body, "model"), "move")
    stored = call.session.file(call.body.get("photo"), "photo")
    seen = _look(call.session, weights, stored.id, stored.path)
    size = seen.photo.shape[-2], seen.photo.shape[-1]
    return _Wanted(weights, seen, _arrows(call, size), fields.flag(call.body, "refine", True))


def _arrows(call: Call, size: tuple[int, int]) -> ArrowSet:
    """What is drawn; regions become points, a still camera pins."""
    arrows, pins, paths = (
        list(fields.items(call.body, name, _MOST_MARKS, ())) for name in ("arrows", "pins", "paths")
    )
    drawn = {"arrows": arrows, "pins": pins, "paths": paths}
    (own,) = sets_of(drawn, "drawing", size)  # as drawn, so that messages are about that
    regions = label_map(call.body, size)
    still = fields.choice(call.body, "camera", _CAMERAS, "free") == "still"
    if regions is None and not still:
        return own
    if regions is not None:
        arrows, stay, paths = spread_over_regions(arrows, paths, regions)
        pins += stay
    if still:
        pins += border_pins(size, [*arrows, *(path[0] for path in paths)])
    (own,) = sets_of({"arrows": arrows, "pins": pins, "paths": paths}, "drawing", size)
    return own


def _look(session: Session, weights: Loaded[Weights], photo: str, path: Path) -> _Seen:
    """A photo, encoded once for a session and a model."""
    key = photo, weights.serial
    with session.lock:
        seen = session.memory.get("move.seen")
    if isinstance(seen, _Seen) and seen.key == key:
        return seen
    moving = MovingPhoto(weights.value, read_photo(path, name="The photo"))
    with computing(weights):
        moving.encode()
    seen = _Seen(moving, key)
    with session.lock:
        session.memory["move.seen"] = seen
    return seen


def _flow(session: Session, wanted: _Wanted, refine: bool) -> Tensor:
    """See `MovingPhoto.motion`; computed once for the last arrows."""
    key = wanted.seen.key, json.dumps(wanted.arrows.as_json()), refine
    with session.lock:
        known = session.memory.get("move.flow")
    if known is not None and known[0] == key:
        flow: Tensor = known[1]
        return flow
    with computing(wanted.weights):
        flow = wanted.seen.moving.motion(wanted.arrows, "grabcut" if refine else None)
    with session.lock:
        session.memory["move.flow"] = key, flow
    return flow


def _film(path: Path, wanted: _Wanted, flow: Tensor, settings: _FilmSettings) -> Iterator[int]:
    """Writes a film; yields how many frames are done."""
    photo = shrunk(wanted.seen.photo, max_side=settings.max_side)
    frames = write_films([path], settings.fps, photo, flow, settings.moments, settings.warp)
    for done, _ in enumerate(frames, 1):
        yield done


def _film_notes(wanted: _Wanted, flow: Tensor, settings: _FilmSettings) -> list[str]:
    if settings.loop != "seamless":
        return []
    side = max(wanted.seen.photo.shape[-2:])
    shown = min(side, settings.max_side or side)
    told = fade_note(farthest(flow), shown / max(flow.shape[-2:]))
    return [] if told is None else [told]


def _settings(body: dict[str, Any], *, preview: bool = False) -> _FilmSettings:
    seconds = fields.number(body, "seconds", 0.1, 60, 2)
    fps = fields.number(body, "fps", 1, 60, 24)
    loop: Loop = fields.choice(body, "loop", get_args(Loop), "back")  # type: ignore[assignment]
    warp: Warp = fields.choice(body, "warp", get_args(Warp), "backward")  # type: ignore[assignment]
    side = fields.whole(body, "max_side", 0, 20000, 0) or None
    if preview:
        side = min(side or _PREVIEW_SIDE, _PREVIEW_SIDE)
        fps = min(fps, _PREVIEW_FPS, _PREVIEW_FRAMES / seconds)
    moments = schedule(min(_MOST_FILM_FRAMES, frame_count(seconds, fps)), loop, _easing(body))
    return _FilmSettings(seconds, fps, moments, loop, warp, side)


def _easing(body: dict[str, Any]) -> Easing:
    return fields.choice(body, "easing", get_args(Easing), "smooth")  # type: ignore[return-value]


def _only(call: Call, path: Path, name: str, kind: str, media_type: str) -> dict[str, Any]:
    """Let the page have a file, instead of the one of its kind that was there before."""
    for old in call.session.files(kind):
        call.session.remove(old.id)
    return {"file": call.session.add(path, name, kind, media_type).id}


def _photo_name(call: Call) -> str:
    return call.session.file(call.body.get("photo"), "photo").name


def _stem(call: Call) -> str:
    """What results are called: as the photo, of characters that any system takes."""
    stem = _photo_name(call).rpartition(".")[0] or _photo_name(call)
    return re.sub(r"[^\w-]+", "_", stem).strip("_") or "photo"
