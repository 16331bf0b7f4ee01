"""What the tab Follow saves: masks, films, coordinates, and what the command needs for the same."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.apps.film import film
from selfsup_motion.data.reading.masks import Ids, palette
from selfsup_motion.ops.overlay import draw_masks, draw_points
from selfsup_motion.tasks.propagation.point_files import PointWriter
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Call, Events
from selfsup_motion.web.commands import command_line
from selfsup_motion.web.follow_run import MaskKeys, PointKeys, Run
from selfsup_motion.web.follow_video import opened
from selfsup_motion.web.models import COLOR_PATCHES
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Stored

_TOLD = 8
"""Frames between two events of progress."""


def masks_of(call: Call, stored: Stored, run: Run, names: Sequence[str]) -> Events:
    """A zip in DAVIS's layout: Annotations/480p/<video>/00000.png, and the names of the objects."""
    path, stem = call.session.new_path(".zip"), _stem(stored)
    folder = f"Annotations/480p/{stem}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for time in range(run.done):
            with run.lock:
                mask = run.masks(time)
            ids = np.zeros(run.size, np.uint8) if mask is None else mask
            packed.writestr(f"{folder}/{frame_name(time, run.frames)}.png", _png(ids))
            if time % _TOLD == 0:
                yield {"progress": [time, run.done]}
        packed.writestr("objects.json", json.dumps(_named(names), indent=1))
    yield _only(call, path, f"{stem}_masks.zip", "application/zip")


def film_of(call: Call, stored: Stored, run: Run, names: Sequence[str]) -> Events:
    """The video with what was found over it, as `overlay.mp4` of the command."""
    path, colours = call.session.new_path(".mp4"), palette()
    frames = opened(call.session, stored).frames(0)
    try:
        with film(path, stored.about["fps"]) as made:
            for time, pixels in zip(range(run.done), frames, strict=False):
                with run.lock:
                    mask, points = run.masks(time), run.points(time)
                if mask is not None:
                    pixels = draw_masks(pixels, mask, colours)
                elif points is not None:
                    pixels = draw_points(pixels, points)
                made.add(pixels)
                if time % _TOLD == 0:
                    yield {"progress": [time, run.done]}
    finally:
        frames.close()  # type: ignore[attr-defined]
    yield _only(call, path, f"{_stem(stored)}_overlay.mp4", "video/mp4")


def boxes(call: Call, stored: Stored, run: Run, names: Sequence[str]) -> Events:
    """A table: frame, second, object, name, box (left, top, width, height) and area in pixels."""
    seconds = opened(call.session, stored).file.table.seconds
    named = _named(names)
    path = call.session.new_path(".csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["frame", "second", "object", "name", "left", "top", "width", "height", "area"]
        )
        for time in range(run.first, run.done):
            with run.lock:
                mask = run.masks(time)
            if mask is None:
                continue
            for number in np.flatnonzero(np.bincount(mask.ravel()))[0:].tolist():
                if number == 0:
                    continue
                own = mask == number
                rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
                box = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
                second = round(float(seconds[time]), 4)
                name = _cell(named.get(str(number), str(number)))
                table.writerow([time, second, number, name, *map(int, box), int(own.sum())])
            if time % _TOLD == 0:
                yield {"progress": [time, run.done]}
    yield _only(call, path, f"{_stem(stored)}_boxes.csv", "text/csv")


def points_of(
    call: Call, stored: Stored, run: Run, names: Sequence[str], what: str
) -> dict[str, Any]:
    """The coordinates: `points.json` as the command writes it, or a table."""
    assert isinstance(run.keys, PointKeys)
    count = run.keys.count
    called = [*names, *(str(i) for i in range(len(names), count))][:count]
    path = call.session.new_path(f".{what}")
    if what == "json":
        with PointWriter(path, called) as writer:
            for _, rows in _rows(run, count):
                writer.write(rows)
    else:
        seconds = opened(call.session, stored).file.table.seconds
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["frame", "second", "point", "x", "y"])
            for time, rows in _rows(run, count):
                for name, (x, y) in zip(called, rows, strict=True):
                    place = ["", ""] if x < 0 else [round(float(x), 2), round(float(y), 2)]
                    table.writerow([time, round(float(seconds[time]), 4), _cell(name), *place])
    media_type = "application/json" if what == "json" else "text/csv"
    return _only(call, path, f"{_stem(stored)}_points.{what}", media_type)


def start_of(
    call: Call, stored: Stored, keys: MaskKeys | PointKeys, names: Sequence[str]
) -> dict[str, Any]:
    """What was painted or placed, as a zip of files that `propagate` takes, and the command."""
    if isinstance(keys, PointKeys) and set(keys.places) != {0}:
        raise Refusal(
            "The command takes points of frame 0 alone; from a program, follow_points takes those "
            "of several frames."
        )
    frames, stem = stored.about["frames"], _stem(stored)
    path = call.session.new_path(".zip")
    words: dict[str, object] = {"video": stored.name}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        if isinstance(keys, MaskKeys):
            for time, mask in keys.starts.items():
                packed.writestr(f"{stem}/start/{frame_name(time, frames)}.png", _png(mask))
            for time, mask in keys.corrections.items():
                packed.writestr(f"{stem}/corrections/{frame_name(time, frames)}.png", _png(mask))
            packed.writestr(f"{stem}/objects.json", json.dumps(_named(names), indent=1))
            words["mask"] = f"{stem}/start"
            if keys.corrections:
                words["corrections"] = f"{stem}/corrections"
        else:
            count = keys.count
            called = [*names, *(str(i) for i in range(len(names), count))][:count]
            placed = [
                (name, [float(x), float(y)])
                for name, (x, y) in zip(called, keys.places[0], strict=False)
                if np.isfinite(x)
            ]
            content: Any = dict(placed)
            if len(content) < len(placed):  # two of one name
                content = [place for _, place in placed]
            packed.writestr(f"{stem}/points.json", json.dumps(content))
            words["points"] = f"{stem}/points.json"
    offered = call.studio.models.find(fields.text(call.body, "model"), "follow")
    if offered.name == COLOR_PATCHES:
        words["encoder"] = COLOR_PATCHES
    else:
        words["checkpoint"] = offered.checkpoint
    chosen = fields.text(call.body, "preset", default="auto")
    if chosen != "auto":
        words["propagator"] = chosen
    command = command_line("propagate", words)
    return {**_only(call, path, f"{stem}_start.zip", "application/zip"), "command": command}


def frame_name(time: int, frames: int) -> str:
    """As `propagate` calls the frames of a file."""
    return f"{time:0{max(5, len(str(frames - 1)))}d}"


def _rows(run: Run, count: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for time in range(run.done):
        with run.lock:
            rows = run.points(time)
        yield time, np.full((count, 2), -1.0) if rows is None else rows


def _named(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names, 1)}


def _cell(text: str) -> str:
    """A text for a table, which no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _png(ids: Ids) -> bytes:
    image = Image.fromarray(ids, "L")
    image.putpalette(palette().tobytes())
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _only(call: Call, path: Path, name: str, media_type: str) -> dict[str, Any]:
    """Let the page have a file, instead of the one that was saved before."""
    for old in call.session.files("saved"):
        call.session.remove(old.id)
    return {"file": call.session.add(path, name, "saved", media_type).id}


def _stem(stored: Stored) -> str:
    stem = stored.name.rpartition(".")[0] or stored.name
    return re.sub(r"[^\w-]+", "_", stem).strip("_") or "video"
