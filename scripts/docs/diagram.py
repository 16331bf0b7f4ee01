"""The drawing of how data flow through the package."""

from __future__ import annotations

from html import escape

_BOXES = (
    ("source", "where clips come from", ("toy · videos · frames", "images · shards", "(+ flow)")),
    ("view", "what one method sees", ("clip → sample", "crop, guidance, …", "in worker processes")),
    ("method", "what is learned", ("CMP · CorrFlow · MoSI", "encoder + head + loss", "Lightning")),
    ("task", "what it is good for", ("DAVIS · JHMDB · UCF101", "VOC · LIP · COCO", "any encoder")),
)
_COLOURS = ("#e8eaf6", "#e0f2f1", "#fff3e0", "#fce4ec")
_INK, _EDGE = "#1f2933", "#5c6bc0"
_WIDTH, _HEIGHT, _GAP, _TOP, _MARGIN = 190, 120, 46, 44, 16


def draw_diagram() -> str:
    """An SVG with nothing from elsewhere, on a white ground, so that it is legible in the dark."""
    width = 2 * _MARGIN + 4 * _WIDTH + 3 * _GAP
    height = _TOP + _HEIGHT + 96
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}" role="img">',
        "<title>source, view, method, task: data flow from left to right</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{_EDGE}"/></marker></defs>',
    ]
    for index, (name, above, lines) in enumerate(_BOXES):
        left = _MARGIN + index * (_WIDTH + _GAP)
        middle = left + _WIDTH / 2
        parts.append(_text(middle, _TOP - 14, above, "font-style='italic'"))
        parts.append(
            f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" rx="10" '
            f'fill="{_COLOURS[index]}" stroke="{_EDGE}"/>'
        )
        parts.append(_text(middle, _TOP + 28, name, "font-weight='700' font-size='17'"))
        parts += [_text(middle, _TOP + 56 + 20 * i, line) for i, line in enumerate(lines)]
        if index < len(_BOXES) - 1:
            y = _TOP + _HEIGHT / 2
            parts.append(_arrow(left + _WIDTH + 4, y, left + _WIDTH + _GAP - 4, y))
    method = _MARGIN + 2 * (_WIDTH + _GAP) + _WIDTH / 2
    low = _TOP + _HEIGHT
    parts.append(_arrow(method, low + 4, method, low + 42))
    parts.append(_text(method, low + 64, "animate · annotate · propagate · activation"))
    parts.append(_text(method, low + 82, "applications of the trained network", "font-size='11'"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" {style}>{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{_EDGE}" stroke-width="2" fill="none" '
        'marker-end="url(#tip)"/>'
    )
