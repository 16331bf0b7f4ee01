"""What several rows of a table answer to the same inputs, as one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsup_motion.apps.comparing.results import Result, Table
from selfsup_motion.text.names import ffmpeg_name

OVERLAYS = "overlays"
"""Folder of an evaluation with `overlay=true`: a film for each sequence."""

_SEQUENCES, _ROWS = 2, 24
_SHARES = (0.25, 0.6, 1.0)
"""Of a film, the moments that are shown; its first frame is what was given."""
_WIDTH, _GAP, _NAME, _HEAD = 96, 4, 210, 22
_COLOURS = 128
"""Of the PNG, which is kept with results and in reports."""
_INK = (40, 40, 40)

Picture = NDArray[np.uint8]


def side_by_side(table: Table, results: Sequence[Result]) -> bytes | None:
    """A row of pictures for each row of the table, of the same moments of the same sequences, PNG.

    Of each row the lowest seed is shown, of a long table the best rows.

    Returns:
        None: no cell has written films (`overlay=true`), or no film is everybody's.
    """
    folders: dict[str, Path] = {}
    for result in sorted(results, key=lambda result: result.cell.seed):
        if result.cell.task == table.title and (result.cell.folder / OVERLAYS).is_dir():
            folders.setdefault(result.cell.row, result.cell.folder / OVERLAYS)
    shown = {row.name: folders[row.name] for row in table.rows if row.name in folders}
    shown = dict(list(shown.items())[:_ROWS])
    if not shown:
        return None
    films = [{file.name for file in folder.glob("*.mp4")} for folder in shown.values()]
    shared = sorted(set.intersection(*films))[:_SEQUENCES]
    if not shared:
        return None
    strips = {name: [_moments(folder / film) for film in shared] for name, folder in shown.items()}
    return _tiled(strips, [Path(film).stem for film in shared])


def _moments(file: Path) -> list[Picture]:
    """Some frames of a film, (h, 96, 3) RGB."""
    with av.open(ffmpeg_name(file)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pictures = []
    for share in _SHARES:
        frame = frames[round(share * (len(frames) - 1))]
        height = max(1, round(frame.shape[0] * _WIDTH / frame.shape[1]))
        size = (_WIDTH, height)
        pictures.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8))
    return pictures


def _tiled(strips: Mapping[str, Sequence[Sequence[Picture]]], names: Sequence[str]) -> bytes:
    height = max(p.shape[0] for strip in strips.values() for film in strip for p in film)
    step = _WIDTH + _GAP
    width = _NAME + len(names) * (len(_SHARES) * step + _GAP)
    canvas: Picture = np.full((_HEAD + len(strips) * (height + _GAP), width, 3), 255, np.uint8)
    for row, (name, strip) in enumerate(strips.items()):
        top = _HEAD + row * (height + _GAP)
        _text(canvas, name[:28], (6, top + height // 2))
        for film, pictures in enumerate(strip):
            left = _NAME + film * (len(_SHARES) * step + _GAP)
            if not row:
                _text(canvas, names[film], (left, 15))
            for index, picture in enumerate(pictures):
                place = left + index * step
                canvas[top : top + picture.shape[0], place : place + _WIDTH] = picture
    stream = io.BytesIO()
    Image.fromarray(canvas).quantize(_COLOURS, dither=Image.Dither.NONE).save(
        stream, "PNG", optimize=True
    )
    return stream.getvalue()


def _text(canvas: Picture, text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
