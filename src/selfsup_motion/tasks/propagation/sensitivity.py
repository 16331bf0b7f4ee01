"""How much a score depends on the propagation: one encoder under several of them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsup_motion.ops.draw import Image
from selfsup_motion.tasks.propagation.followers import Follower

log = logging.getLogger(__name__)

_SHOWN = ("recent", "radius", "window", "similarity", "temperature", "top_k", "hard")
_ROW, _LABEL, _BAR = 22, 130, 360


def write_sensitivity(
    folder: Path, followers: Sequence[Follower], metrics: Mapping[str, Mapping[str, float]]
) -> None:
    """Write `sensitivity.csv`, `.txt` and `.png`, the best propagation first, and log the table.

    Args:
        folder: exists.
        followers: of one encoder.
        metrics: of each by its name, with `J&F`, `J_mean` and `F_mean`.
    """
    rows: list[dict[str, Any]] = []
    for follower in followers:
        found = follower.propagation.propagator
        if found is None or follower.name not in metrics:
            continue
        own = metrics[follower.name]
        row = {"propagator": found.name, **{k: own[k] for k in ("J&F", "J_mean", "F_mean")}}
        settings = {key: found.settings[key] for key in _SHOWN}
        rows.append({**row, **settings, "frames": str(found.size) or "own size"})
    rows.sort(key=lambda row: -row["J&F"])
    if not rows:
        return
    with (folder / "sensitivity.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = _text(rows)
    (folder / "sensitivity.txt").write_text(table, encoding="utf-8")
    cv2.imwrite(str(folder / "sensitivity.png"), _bars(rows)[..., ::-1])
    spread = rows[0]["J&F"] - rows[-1]["J&F"]
    log.info("One encoder, %d propagations, J&F differs by %.3f:\n%s", len(rows), spread, table)


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of aligned columns."""
    cells = [list(rows[0])]
    cells += [[f"{v:.3f}" if "J" in k or "F_" in k else str(v) for k, v in r.items()] for r in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def _bars(rows: Sequence[Mapping[str, Any]]) -> Image:
    """A bar for each propagation, from 0 to 1: (H, W, 3) uint8 RGB."""
    canvas = np.full((_ROW * len(rows) + 34, _LABEL + _BAR + 60, 3), 255, np.uint8)
    _write(canvas, "J&F of one encoder under several propagations", (8, 18))
    for index, row in enumerate(rows):
        top = 30 + index * _ROW
        end = _LABEL + round(row["J&F"] * _BAR)
        cv2.rectangle(canvas, (_LABEL, top), (end, top + _ROW - 8), (31, 90, 200), -1)
        _write(canvas, str(row["propagator"]), (8, top + 12))
        _write(canvas, f"{row['J&F']:.3f}", (end + 6, top + 12))
    return canvas


def _write(canvas: Image, text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
