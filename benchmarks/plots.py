"""Cost curves on logarithmic axes, as one picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from page import median, seconds

WIDTH, HEIGHT, COLUMNS = 300, 210, 4
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 30
GREY, INK, BLUE = (215, 215, 215), (40, 40, 40), (200, 90, 31)


def draw(comparisons: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """(H, W, 3) BGR: a panel for each comparison, whose forms are called by their number."""
    panels = [panel(comparison) for comparison in comparisons]
    blank = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    panels += [blank] * (-len(panels) % COLUMNS)
    rows = [np.hstack(panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    return np.vstack(rows)


def panel(comparison: dict[str, Any]) -> NDArray[np.uint8]:
    """Measured points, and in grey the line of a cost in proportion through the last of them."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    sizes = np.array([float(name) for name in comparison["forms"]])
    costs = np.array([median(comparison, name) for name in comparison["forms"]])
    low, high = np.floor(np.log10(costs.min())), np.ceil(np.log10(costs.max()))
    high = max(high, low + 1)
    x_range = np.log10(sizes[[0, -1]])

    def place(size: float, cost: float) -> tuple[int, int]:
        x = (np.log10(size) - x_range[0]) / (x_range[1] - x_range[0])
        y = (np.log10(cost) - low) / (high - low)
        return (
            round(LEFT + 8 + x * (WIDTH - LEFT - RIGHT - 16)),
            round(HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)),
        )

    for power in np.arange(low, high + 1):
        y = place(sizes[0], 10**power)[1]
        cv2.line(canvas, (LEFT, y), (WIDTH - RIGHT, y), GREY, 1)
        text(canvas, seconds(10**power).replace("µ", "u"), (4, y + 4))
    for size in sizes:
        x = place(size, 10**low)[0]
        text(canvas, f"{size:g}", (x - 4 * len(f"{size:g}"), HEIGHT - 12))
    # from the lower edge on, where it begins below it
    first = max(sizes[0], sizes[-1] * 10**low / costs[-1])
    line = place(first, costs[-1] * first / sizes[-1]), place(sizes[-1], costs[-1])
    cv2.line(canvas, *line, (150, 150, 150), 1, cv2.LINE_AA)
    places = [place(*point) for point in zip(sizes, costs, strict=True)]
    cv2.polylines(canvas, [np.array(places, np.int32)], False, BLUE, 2, cv2.LINE_AA)
    for at in places:
        cv2.circle(canvas, at, 3, BLUE, -1, cv2.LINE_AA)
    text(canvas, comparison["name"], (8, 18))
    return canvas


def text(canvas: NDArray[np.uint8], words: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
