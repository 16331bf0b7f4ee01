"""Photos of the folder that the studio was started with (`photos=`): shown and compared.

They are found by names that this side has told; no name becomes a path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from starlette.responses import Response

from selfsup_motion.apps.photo import read_photo
from selfsup_motion.web.calls import Answer, Call, answer
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Stored
from selfsup_motion.web.uploads import Limits, add_photo, check_picture, too_large

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
MOST_PHOTOS = 2000
_SHOWN_SIDE = 256
_GONE = "There is no such photo in the folder any more."


def folder(call: Call) -> Answer:
    """What the folder is called and how many photos it has; null if there is none."""
    given = call.studio.photos
    if given is None:
        return {"folder": None, "photos": 0}
    return {"folder": given.resolve().name, "photos": len(photos_in(call))}


def show(call: Call) -> Answer:
    """A photo of the folder, small: `?name=…`."""
    photo = _one(call, call.query.get("name"))
    pixels = read_photo(photo.path, _SHOWN_SIDE, name="The photo").permute(1, 2, 0).numpy()
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))
    return Response(
        data.tobytes(),
        media_type="image/jpeg",
        headers={"Cache-Control": "private, max-age=3600"},
    )


def take(call: Call) -> Answer:
    """Let the session have a photo of the folder."""
    photo = _one(call, call.body.get("name"))
    draft = call.session.new_path()
    shutil.copyfile(photo.path, draft)
    return add_photo(call.session, draft, photo.name, call.studio.limits).as_json()


ROUTES = [
    answer("GET", "/folder", folder),
    answer("GET", "/folder-photo", show),
    answer("POST", "/folder-photo", take),
]


def photos_in(call: Call) -> dict[str, Path]:
    """Of the folder and its subfolders, by their paths from it, in order.

    Hidden ones and links that lead out of it are left out.

    Raises:
        Refusal: there is no folder.
    """
    given = call.studio.photos
    if given is None:
        raise Refusal("There is no folder of photos: start the studio with photos=/path/of/one.")
    try:
        inside, _ = given.resolve(strict=True), next(given.iterdir(), None)
    except OSError as error:
        raise Refusal("The folder of photos cannot be read any more.", 404) from error
    names = (path.relative_to(given).as_posix() for path in _pictures(given))
    photos = (
        name
        for name in names
        if name.isprintable()
        and (path := given / name).is_file()
        and path.resolve().is_relative_to(inside)
    )
    return {name: given / name for name in islice(photos, MOST_PHOTOS)}


def _pictures(folder: Path) -> Iterator[Path]:
    """What is called a picture below a folder, in order; links to folders are not followed."""
    for place, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES:
                yield Path(place, name)


def photo_at(path: Path, limits: Limits) -> Stored:
    """A photo of the folder, as if it were the session's.

    Args:
        path: of `photos_in`.
        limits: of a photo.

    Raises:
        Refusal: it is not there any more, is no photo, or is too large.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise Refusal(_GONE, 404) from error
    if status.st_size > limits.megabytes * 1e6:
        raise Refusal(too_large(limits.megabytes), 413)
    height, width = check_picture(path, limits.megapixels)
    id = f"folder:{status.st_mtime_ns}:{status.st_ino}:{path.name}"
    return Stored(id, path, path.name, "photo", "", {"width": width, "height": height})


def _one(call: Call, name: Any) -> Stored:
    path = photos_in(call).get(name) if isinstance(name, str) else None
    if path is None:
        raise Refusal(_GONE, 404)
    return photo_at(path, call.studio.limits)
