"""What the tab Inspect asks for: what an encoder sees in photos, and what moves between two."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.responses import Response
from torch import Tensor

from selfsup_motion.apps.photo import read_photo
from selfsup_motion.data.flow.estimation import DISFlow
from selfsup_motion.errors import UserError
from selfsup_motion.ops.feature_maps import Measure, pca_colors, similarity_map
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.web import fields, motion_evidence, photo_folder, runs
from selfsup_motion.web.calls import Answer, Call, Events, answer, stream
from selfsup_motion.web.models import Loaded, computing
from selfsup_motion.web.pictures import data_url, flow_view
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Stored

_SIDES = (128, 1024, 512)
"""Longer side at which photos are encoded: least, most, usual."""
_KEPT_BYTES = 300e6
"""Of features that a session keeps."""
_FLOW_SIDE = 1024
_LEAST_FLOW_SIDE = 12
_MOST_GALLERY = 60
_MOST_MEANS = 2 * photo_folder.MOST_PHOTOS


@dataclass(frozen=True)
class _Seen:
    """A photo as an encoder sees it.

    Attributes:
        features: (C, h, w) float32 on the CPU.
        size: (height, width) at which it was encoded.
        photo: (height, width) as it was uploaded.
        stride: pixels of `size` for a cell.
        measure: by which cells are compared.
    """

    features: Tensor
    size: tuple[int, int]
    photo: tuple[int, int]
    stride: int
    measure: Measure

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the cell at a place of the photo as it was uploaded."""
        row, column = (
            int((place + 0.5) * size / photo / self.stride)
            for place, size, photo in zip((y, x), self.size, self.photo, strict=True)
        )
        _, h, w = self.features.shape
        return min(max(row, 0), h - 1), min(max(column, 0), w - 1)

    def place(self, row: int, column: int) -> tuple[float, float]:
        """(x, y) of the middle of a cell, in pixels of the photo as it was uploaded."""
        y, x = (
            min((cell + 0.5) * self.stride * photo / size - 0.5, photo - 1.0)
            for cell, size, photo in zip((row, column), self.size, self.photo, strict=True)
        )
        return x, y


def features(call: Call) -> Answer:
    """Colours of the features of one or two photos, by principal components of both together."""
    seen = [_look(call, photo) for photo in _photos(call)]
    colours = pca_colors([one.features for one in seen])
    first = seen[0]
    return {
        "photos": [
            {
                "colours": data_url(picture.numpy()),
                "grid": list(one.features.shape[1:]),
                "size": list(one.size),
            }
            for one, picture in zip(seen, colours, strict=True)
        ],
        "stride": first.stride,
        "channels": first.features.shape[0],
        "measure": first.measure,
    }


def similar(call: Call) -> Answer:
    """How much each cell of a photo is like a place of this or another one.

    Returns:
        Little-endian float32: lowest and highest similarity, x and y of the place most alike; then
        a byte for each cell, row by row: 0 for the lowest, 255 for the highest.
    """
    source = _look(call, call.session.file(call.body.get("photo"), "photo"))
    target = _look(call, call.session.file(call.body.get("target"), "photo"))
    height, width = source.photo
    x, y = fields.number(call.body, "x", -1, width), fields.number(call.body, "y", -1, height)
    row, column = source.cell(x, y)
    alike = similarity_map(source.features[:, row, column], target.features, target.measure)
    low, high = float(alike.min()), float(alike.max())
    best = target.place(*divmod(int(alike.argmax()), alike.shape[1]))
    levels = ((alike - low) / max(high - low, 1e-12) * 255).round().byte()
    return Response(
        struct.pack("<4f", low, high, *best) + levels.numpy().tobytes(),
        media_type="application/octet-stream",
    )


def neighbours(call: Call) -> Events:
    """Other photos, the most alike first; told when all have been looked at.

    `among` says which: those of the session, or those of the folder that the studio was started
    with. With x and y: by their cell that is most like this place, and, in photos of the session,
    where it is. Without: by their mean features.
    """
    stored = call.session.file(call.body.get("photo"), "photo")
    among = fields.choice(call.body, "among", ("session", "folder"), "session")
    source = _look(call, stored)
    local = "x" in call.body
    height, width = source.photo
    if local:
        row, column = source.cell(
            fields.number(call.body, "x", -1, width), fields.number(call.body, "y", -1, height)
        )
        query = source.features[:, row, column]
    else:
        query = source.features.mean((1, 2))
    others = [one for one in call.session.files("photo") if one.id != stored.id][-_MOST_GALLERY:]
    gallery: Sequence[Stored | tuple[str, Path]] = others
    if among == "folder":
        gallery = list(photo_folder.photos_in(call).items())
    found, left_out = [], 0
    for number, entry in enumerate(gallery):
        yield {"progress": [number, len(gallery)]}
        told: dict[str, Any]
        if isinstance(entry, tuple):
            name, path = entry
            try:
                photo = photo_folder.photo_at(path, call.studio.limits)
                cells = _cells(call, photo, local, keep=False)
            except UserError:  # one of many, which may be anything
                left_out += 1
                continue
            told = {"name": name, "at": None}
        else:
            cells = _cells(call, entry, local, keep=True)
            told = {"photo": entry.as_json(), "at": None}
        alike = similarity_map(query, cells, source.measure)
        if local and isinstance(entry, Stored):
            place = divmod(int(alike.argmax()), alike.shape[1])
            told["at"] = _look(call, entry).place(*place)
        found.append(told | {"similarity": float(alike.max())})
    found.sort(key=lambda one: one["similarity"], reverse=True)
    yield {
        "found": found[:_MOST_GALLERY],
        "measure": source.measure,
        "compared": len(found),
        "left_out": left_out,
    }


def flow(call: Call) -> Answer:
    """The flow from the first to the second photo, in pixels of the first."""
    first, second = _pair(call)
    sizes = [(one.about["height"], one.about["width"]) for one in (first, second)]
    if sizes[0] != sizes[1]:
        told = " and ".join(f"{width}x{height}" for height, width in sizes)
        raise Refusal(f"The frames have {told} pixels; for flow both need the same size.")
    frames = [
        read_photo(one.path, _FLOW_SIDE, name=one.name).permute(1, 2, 0).numpy()
        for one in (first, second)
    ]
    if min(frames[0].shape[:2]) < _LEAST_FLOW_SIDE:
        raise Refusal(
            f"The frames are too small for flow, which needs {_LEAST_FLOW_SIDE} pixels a side."
        )
    flows, valid = DISFlow("medium")(np.stack(frames))
    assert valid is not None
    height, width = sizes[0]
    scale = np.array([width / frames[0].shape[1], height / frames[0].shape[0]], np.float32)
    field = flows[0] * scale[:, None, None]
    view = flow_view(field)
    view["grid"] = [
        [round(x * float(scale[0])), round(y * float(scale[1])), dx, dy]
        for x, y, dx, dy in view["grid"]
    ]
    return {"flow": view, "agree": round(float(valid[0].mean()), 4)}


ROUTES = [
    answer("POST", "/features", features),
    answer("POST", "/similar", similar),
    stream("/neighbours", neighbours),
    answer("POST", "/flow", flow),
    *photo_folder.ROUTES,
    *motion_evidence.ROUTES,
    *runs.ROUTES,
]


def _photos(call: Call) -> list[Stored]:
    """The photo, and the reference if there is one."""
    photos = [call.session.file(call.body.get("photo"), "photo")]
    if call.body.get("reference") is not None:
        photos.append(call.session.file(call.body["reference"], "photo"))
    return photos


def _pair(call: Call) -> tuple[Stored, Stored]:
    photos = _photos(call)
    if len(photos) != 2:
        raise Refusal("Flow is between two frames; choose a second one.")
    return photos[0], photos[1]


def _cells(call: Call, photo: Stored, local: bool, keep: bool) -> Tensor:
    """(C, h, w) features of a photo, or (C, 1, 1), their mean, which is kept in any case."""
    if local:
        return _look(call, photo, keep).features
    model = call.studio.models.encoder(fields.text(call.body, "model"), "inspect")
    key = photo.id, model.serial, fields.whole(call.body, "side", *_SIDES)
    with call.session.lock:
        means: OrderedDict[Any, Tensor] = call.session.memory.setdefault(
            "inspect.means", OrderedDict()
        )
        if key in means:
            means.move_to_end(key)
            return means[key]
    mean = _look(call, photo, keep).features.mean((1, 2), keepdim=True)
    with call.session.lock:
        means[key] = mean
        while len(means) > _MOST_MEANS:
            means.popitem(last=False)
    return mean


def _look(call: Call, stored: Stored, keep: bool = True) -> _Seen:
    """A photo, encoded once for a session, a model and a size; without `keep` as often as it is
    asked for."""
    model = call.studio.models.encoder(fields.text(call.body, "model"), "inspect")
    side = fields.whole(call.body, "side", *_SIDES)
    key = stored.id, model.serial, side
    with call.session.lock:
        kept: OrderedDict[Any, _Seen] = call.session.memory.setdefault(
            "inspect.seen", OrderedDict()
        )
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
    seen = _encoded(model, stored, side)
    if not keep:
        return seen
    with call.session.lock:
        kept[key] = seen
        while len(kept) > 1 and sum(one.features.nbytes for one in kept.values()) > _KEPT_BYTES:
            kept.popitem(last=False)
    return seen


def _encoded(model: Loaded[Any], stored: Stored, side: int) -> _Seen:
    photo = read_photo(stored.path, side, name="The photo")
    with computing(model):
        try:
            encoder = FrameEncoder(model.value)
        except ValueError as error:
            raise UserError(f"This encoder's features cannot be shown: {error}.") from error
        found = encoder(photo[None])[0].cpu().contiguous()
    learned = any(True for _ in model.value.parameters())
    return _Seen(
        found,
        (photo.shape[-2], photo.shape[-1]),
        (stored.about["height"], stored.about["width"]),
        encoder.stride,
        "cosine" if learned else "euclidean",
    )
