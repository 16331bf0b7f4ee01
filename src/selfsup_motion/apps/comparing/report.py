"""The report of a study: Markdown, CSV, charts, and one HTML file that has all of it."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfsup_motion.apps.comparing.charts import bars, curves
from selfsup_motion.apps.comparing.curves import of_training, over_budgets
from selfsup_motion.apps.comparing.results import FEWEST, Result, Row, Table, tables, validation
from selfsup_motion.apps.comparing.side_by_side import side_by_side
from selfsup_motion.apps.comparing.study import Study
from selfsup_motion.files.atomic import new_file, write_text

_HEADS = ("", "mean ± s.d.", "seeds", "difference", "95 %", "samples", "CPU s", "GPU s", "MB")
_OWN = "What each recipe measures itself"
_MEAN, _DIFFERENCE, _INTERVAL, _GPU = 1, 3, 4, 7
_STYLE = (
    "body{font:15px system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;"
    "border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".weak{color:#999}img{max-width:100%}"
)


def write_report(
    study: Study, results: Sequence[Result], failed: Mapping[str, str], folder: Path
) -> list[Path]:
    """Write `report.md`, `report.html`, `cells.csv`, `table.csv` and the pictures in them.

    Args:
        study: what was compared.
        results: of its finished cells.
        failed: cells that failed, each with a sentence.
        folder: to write to; files of an earlier report are replaced one by one, each whole.

    Returns:
        The files.
    """
    found = tables(study, results)
    pictures = _pictures(found, results)
    files = []
    for name, (_, picture) in pictures.items():
        with new_file(folder / f"{name}.png") as draft:
            draft.write_bytes(picture)
        files.append(folder / f"{name}.png")
    for name, text in (
        ("report.md", _markdown(study, found, results, failed, pictures)),
        ("report.html", _html(study, found, results, failed, pictures)),
        ("cells.csv", _cells(results)),
        ("table.csv", _table(found)),
    ):
        write_text(folder / name, text)
        files.append(folder / name)
    return files


def _pictures(found: Sequence[Table], results: Sequence[Result]) -> dict[str, tuple[str, bytes]]:
    """By the name of their file: below which table they stand (empty: at the end), and PNG."""
    pictures = {table.title: (table.title, bars(table)) for table in found}
    for chart in over_budgets(found):
        pictures[chart.name] = (chart.task, curves(chart))
    for table in found:
        if (together := side_by_side(table, results)) is not None:
            pictures[f"{table.title}_pictures"] = (table.title, together)
    for chart in of_training(results):
        pictures[chart.name] = ("", curves(chart))
    return pictures


def cells_of_row(row: Row) -> list[str]:
    """The columns of a row, as text."""
    spread = "" if row.spread is None else f" ± {row.spread:.3f}"
    difference = "" if row.difference is None else f"{row.difference:+.3f}"
    interval = "" if row.interval is None else f"{row.interval[0]:+.3f} to {row.interval[1]:+.3f}"
    return [
        row.name, f"{row.mean:.3f}{spread}", str(len(row.values)), difference, interval,
        "" if row.samples is None else str(row.samples),
        "" if row.cpu_seconds is None else f"{row.cpu_seconds:.0f}",
        "" if row.gpu_seconds is None else f"{row.gpu_seconds:.0f}",
        "" if row.memory_mb is None else f"{row.memory_mb:.0f}",
    ]  # fmt: skip


def weak_columns(row: Row) -> set[int]:
    """Columns of a row whose numbers the budget cannot support."""
    weak = set()
    if row.has_learned is False:
        weak.add(_MEAN)
    if row.difference is not None and not row.has_support:
        weak.add(_DIFFERENCE)
        if row.pairs < FEWEST:
            weak.add(_INTERVAL)
    return weak


def _about(study: Study, results: Sequence[Result], failed: Mapping[str, str]) -> list[str]:
    seeds = ", ".join(map(str, study.seeds))
    budget = f" Budget: {', '.join(study.budgets)}." if study.budgets else ""
    lines = [f"{study.about}{budget} Seeds: {seeds}. {len(results)} cells are finished.".strip()]
    lines += study.notes
    lines += [f"Failed: {name}: {reason}" for name, reason in failed.items()]
    return lines


def _note(table: Table) -> str:
    order = ", lower is better" if table.lower_is_better else ""
    note = f"{table.metric}{order}; mean and standard deviation over seeds."
    if table.against:
        note += (
            f" Differences are to {table.against}, paired by seed, with a bootstrap interval over "
            "seeds."
        )
    weak = [weak_columns(row) for row in table.rows]
    if any(weak):
        note += (
            " Grey (in brackets) is what this budget cannot support: the mean of a row that "
            "measures nothing better than before its training, a difference whose interval holds "
            f"zero, and what is of fewer than {FEWEST} seeds."
        )
    return note


def _markdown(
    study: Study,
    found: Sequence[Table],
    results: Sequence[Result],
    failed: Mapping[str, str],
    pictures: Mapping[str, tuple[str, bytes]],
) -> str:
    lines = [f"# {study.name}", ""]
    lines += [part for line in _about(study, results, failed) for part in (line, "")]
    for table in found:
        lines += [f"## {table.title}", "", _note(table), ""]
        lines += _linked(pictures, table.title)
        columns = _columns(table)
        lines += [
            f"| {' | '.join(_HEADS[i] for i in columns)} |",
            f"|{'---|' * len(columns)}",
        ]
        for row in table.rows:
            cells, weak = cells_of_row(row), weak_columns(row)
            told = [f"({cells[i]})" if i in weak and cells[i] else cells[i] for i in columns]
            lines.append(f"| {' | '.join(told)} |")
        lines.append("")
    if own := validation(results):
        lines += [f"## {_OWN}", "", *_linked(pictures, "")]
        lines += ["| | metric | after | before training | seeds |", "|---|---|---|---|---|"]
        for name, metric, after, before, seeds in own:
            told_before = "" if before is None else f"{before:.3f}"
            lines.append(f"| {name} | {metric} | {after:.3f} | {told_before} | {seeds} |")
        lines.append("")
    return "\n".join(lines)


def _linked(pictures: Mapping[str, tuple[str, bytes]], below: str) -> list[str]:
    names = [name for name, (place, _) in pictures.items() if place == below]
    return [part for name in names for part in (f"![{name}]({name}.png)", "")]


def _html(
    study: Study,
    found: Sequence[Table],
    results: Sequence[Result],
    failed: Mapping[str, str],
    pictures: Mapping[str, tuple[str, bytes]],
) -> str:
    def shown(below: str) -> list[str]:
        return [
            f'<p><img alt="{html.escape(name)}" '
            f'src="data:image/png;base64,{base64.b64encode(picture).decode()}"></p>'
            for name, (place, picture) in pictures.items()
            if place == below
        ]

    parts = [f"<h1>{html.escape(study.name)}</h1>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in _about(study, results, failed)]
    for table in found:
        parts += [
            f"<h2>{html.escape(table.title)}</h2><p>{html.escape(_note(table))}</p>",
            _table_html(table),
            *shown(table.title),
        ]
    if own := validation(results):
        rows: list[tuple[list[str], set[int]]] = [
            ([name, metric, f"{after:.3f}", "" if before is None else f"{before:.3f}", str(seeds)],
             set())
            for name, metric, after, before, seeds in own
        ]  # fmt: skip
        heads = ("", "metric", "after", "before training", "seeds")
        parts += [f"<h2>{_OWN}</h2>", _rows_html(heads, rows), *shown("")]
    title = html.escape(study.name)
    head = f"<meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _columns(table: Table) -> list[int]:
    """The columns that a table shows: that of GPUs only where one was used."""
    used = any(row.gpu_seconds is not None for row in table.rows)
    return [index for index in range(len(_HEADS)) if used or index != _GPU]


def _table_html(table: Table) -> str:
    columns = _columns(table)
    rows = []
    for row in table.rows:
        cells, weak = cells_of_row(row), weak_columns(row)
        shown = {place for place, index in enumerate(columns) if index in weak}
        rows.append(([cells[index] for index in columns], shown))
    return _rows_html([_HEADS[index] for index in columns], rows)


def _rows_html(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], set[int]]]) -> str:
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = ""
    for cells, weak in rows:
        body += "<tr>" + "".join(
            f"<td{' class=weak' if index in weak else ''}>{html.escape(cell)}</td>"
            for index, cell in enumerate(cells)
        )
        body += "</tr>"
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cells(results: Sequence[Result]) -> str:
    """A line for each metric of each cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["row", "seed", "task", "metric", "value", "before training", "samples",
                     "cpu_seconds", "gpu_seconds", "memory_mb", "folder"])  # fmt: skip
    for result in results:
        cell = result.cell
        for name, value in result.metrics.items():
            writer.writerow([
                cell.row, cell.seed, cell.task or "training", name, value,
                result.before.get(name, ""), result.samples or "", result.cpu_seconds or "",
                result.gpu_seconds or "", result.memory_mb or "", cell.folder.name,
            ])  # fmt: skip
    return stream.getvalue()


def _table(found: Sequence[Table]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["task", "metric", "row", "mean", "sd", "seeds", "against", "difference", "low",
                     "high", "samples", "cpu_seconds", "gpu_seconds", "memory_mb"])  # fmt: skip
    for table in found:
        for row in table.rows:
            low, high = row.interval or ("", "")
            values = (row.spread, row.difference, row.samples, row.cpu_seconds, row.gpu_seconds,
                      row.memory_mb)  # fmt: skip
            spread, difference, *costs = ("" if value is None else value for value in values)
            writer.writerow([table.title, table.metric, row.name, row.mean, spread, len(row.values),
                             table.against or "", difference, low, high, *costs])  # fmt: skip
    return stream.getvalue()
