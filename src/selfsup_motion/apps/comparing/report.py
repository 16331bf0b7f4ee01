"""The report of a study: Markdown, CSV, charts, and one HTML file that has all of it."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsup_motion.apps.comparing.results import FEWEST, Result, Row, Table, tables, validation
from selfsup_motion.apps.comparing.study import Study
from selfsup_motion.files.atomic import new_file, write_text

_HEADS = ("", "mean ± s.d.", "seeds", "difference", "95 %", "samples", "CPU s", "MB")
_ROW, _LEFT, _WIDTH, _TOP = 26, 230, 760, 34
_BAR, _REFERENCE, _INK = (200, 120, 60), (150, 150, 150), (40, 40, 40)
_STYLE = (
    "body{font:15px system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;"
    "border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".weak{color:#999}img{max-width:100%}"
)


def write_report(
    study: Study, results: Sequence[Result], failed: Mapping[str, str], folder: Path
) -> list[Path]:
    """Write `report.md`, `report.html`, `cells.csv`, `table.csv` and a chart for each task.

    Args:
        study: what was compared.
        results: of its finished cells.
        failed: cells that failed, each with a sentence.
        folder: to write to; files of an earlier report are replaced one by one, each whole.

    Returns:
        The files.
    """
    found = tables(study, results)
    charts = {table.title: _chart(table) for table in found}
    files = []
    for title, picture in charts.items():
        with new_file(folder / f"{title}.png") as draft:
            draft.write_bytes(picture)
        files.append(folder / f"{title}.png")
    for name, text in (
        ("report.md", _markdown(study, found, results, failed)),
        ("report.html", _html(study, found, results, failed, charts)),
        ("cells.csv", _cells(results)),
        ("table.csv", _table(found)),
    ):
        write_text(folder / name, text)
        files.append(folder / name)
    return files


def cells_of_row(row: Row) -> list[str]:
    """The columns of a row, as text."""
    spread = "" if row.spread is None else f" ± {row.spread:.3f}"
    difference = "" if row.difference is None else f"{row.difference:+.3f}"
    interval = "" if row.interval is None else f"{row.interval[0]:+.3f} to {row.interval[1]:+.3f}"
    return [
        row.name, f"{row.mean:.3f}{spread}", str(len(row.values)), difference, interval,
        "" if row.samples is None else str(row.samples),
        "" if row.cpu_seconds is None else f"{row.cpu_seconds:.0f}",
        "" if row.memory_mb is None else f"{row.memory_mb:.0f}",
    ]  # fmt: skip


def is_weak(row: Row) -> bool:
    """Whether an interval is of too few seeds to mean anything."""
    return row.interval is not None and row.pairs < FEWEST


def _about(study: Study, results: Sequence[Result], failed: Mapping[str, str]) -> list[str]:
    seeds = ", ".join(map(str, study.seeds))
    budget = f" Budget: {study.budget}." if study.budget else ""
    lines = [f"{study.about}{budget} Seeds: {seeds}. {len(results)} cells are finished.".strip()]
    lines += [f"Failed: {name}: {reason}" for name, reason in failed.items()]
    return lines


def _note(table: Table) -> str:
    note = f"{table.metric}; mean and standard deviation over seeds."
    if table.against:
        note += (
            f" Differences are to {table.against}, paired by seed, with a bootstrap interval over "
            f"seeds; of fewer than {FEWEST} seeds it is grey (in brackets): it says nothing."
        )
    return note


def _markdown(
    study: Study, found: Sequence[Table], results: Sequence[Result], failed: Mapping[str, str]
) -> str:
    lines = [f"# {study.name}", ""]
    lines += [part for line in _about(study, results, failed) for part in (line, "")]
    for table in found:
        lines += [f"## {table.title}", "", _note(table), "", f"![{table.title}]({table.title}.png)"]
        lines += ["", f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
        for row in table.rows:
            cells = cells_of_row(row)
            if is_weak(row):
                cells[4] = f"({cells[4]})"
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if own := validation(results):
        lines += ["## What each recipe measures itself", ""]
        lines += ["| | metric | after | before training | seeds |", "|---|---|---|---|---|"]
        for name, metric, after, before, seeds in own:
            told = "" if before is None else f"{before:.3f}"
            lines.append(f"| {name} | {metric} | {after:.3f} | {told} | {seeds} |")
        lines.append("")
    return "\n".join(lines)


def _html(
    study: Study,
    found: Sequence[Table],
    results: Sequence[Result],
    failed: Mapping[str, str],
    charts: Mapping[str, bytes],
) -> str:
    parts = [f"<h1>{html.escape(study.name)}</h1>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in _about(study, results, failed)]
    for table in found:
        data = base64.b64encode(charts[table.title]).decode()
        parts += [
            f"<h2>{html.escape(table.title)}</h2><p>{html.escape(_note(table))}</p>",
            f'<img alt="" src="data:image/png;base64,{data}">',
            _rows_html(_HEADS, [(cells_of_row(row), is_weak(row)) for row in table.rows]),
        ]
    if own := validation(results):
        rows = [
            ([name, metric, f"{after:.3f}", "" if before is None else f"{before:.3f}", str(seeds)],
             False)
            for name, metric, after, before, seeds in own
        ]  # fmt: skip
        heads = ("", "metric", "after", "before training", "seeds")
        parts += ["<h2>What each recipe measures itself</h2>", _rows_html(heads, rows)]
    title = html.escape(study.name)
    head = f"<meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _rows_html(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = ""
    for cells, weak in rows:
        body += "<tr>" + "".join(
            f"<td{' class=weak' if weak and index in (3, 4) else ''}>{html.escape(cell)}</td>"
            for index, cell in enumerate(cells)
        )
        body += "</tr>"
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cells(results: Sequence[Result]) -> str:
    """A line for each metric of each cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["row", "seed", "task", "metric", "value", "before training", "samples",
                     "cpu_seconds", "memory_mb", "folder"])  # fmt: skip
    for result in results:
        cell = result.cell
        for name, value in result.metrics.items():
            writer.writerow([
                cell.row, cell.seed, cell.task or "training", name, value,
                result.before.get(name, ""), result.samples or "", result.cpu_seconds or "",
                result.memory_mb or "", cell.folder.name,
            ])  # fmt: skip
    return stream.getvalue()


def _table(found: Sequence[Table]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["task", "metric", "row", "mean", "sd", "seeds", "against", "difference", "low",
                     "high", "samples", "cpu_seconds", "memory_mb"])  # fmt: skip
    for table in found:
        for row in table.rows:
            low, high = row.interval or ("", "")
            values = (row.spread, row.difference, row.samples, row.cpu_seconds, row.memory_mb)
            spread, difference, *costs = ("" if value is None else value for value in values)
            writer.writerow([table.title, table.metric, row.name, row.mean, spread, len(row.values),
                             table.against or "", difference, low, high, *costs])  # fmt: skip
    return stream.getvalue()


def _chart(table: Table) -> bytes:
    """Bars from zero, with a line of one standard deviation to both sides, as PNG."""
    height = _TOP + _ROW * len(table.rows) + 12
    canvas: NDArray[np.uint8] = np.full((height, _WIDTH, 3), 255, np.uint8)
    low = min(0.0, *(row.mean - (row.spread or 0) for row in table.rows))
    high = max(0.0, *(row.mean + (row.spread or 0) for row in table.rows)) or 1.0
    scale = (_WIDTH - _LEFT - 90) / (high - low)

    def place(value: float) -> int:
        return round(_LEFT + (value - low) * scale)

    _text(canvas, f"{table.title}: {table.metric}", (10, 20))
    for index, row in enumerate(table.rows):
        y = _TOP + _ROW * index
        colour = _REFERENCE if row.samples is None else _BAR
        cv2.rectangle(canvas, (place(0.0), y + 4), (place(row.mean), y + 20), colour, -1)
        if row.spread is not None:
            ends = (place(row.mean - row.spread), place(row.mean + row.spread))
            cv2.line(canvas, (ends[0], y + 12), (ends[1], y + 12), _INK, 1, cv2.LINE_AA)
        _text(canvas, row.name[:32], (10, y + 17))
        _text(canvas, f"{row.mean:.3f}", (place(row.mean + (row.spread or 0)) + 8, y + 17))
    return cv2.imencode(".png", canvas)[1].tobytes()


def _text(canvas: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
