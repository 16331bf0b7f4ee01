"""The closing table of an evaluation."""

from pathlib import Path
from typing import Any

_SHOWN = {
    "raw_color": "raw colour", "refined": "refined by GrabCut", "nearest": "nearest vector",
    "edge_aware": "edge-aware", "grabcut": "GrabCut",
}  # fmt: skip
_MOST_COLUMNS, _COLUMNS = 7, 5
"""Metrics in a row of the closing table; of a longer list, in each of several rows."""


def print_results(
    metrics: dict[str, float],
    folder: Path,
    encoder: str,
    summary: dict[str, Any],
) -> None:
    """Print the closing table: a row for what was judged and for each baseline.

    Args:
        metrics: of what was judged.
        folder: of the results.
        encoder: name of the row of what was judged.
        summary: as `summary.json` has it: `baselines`, perhaps `standard_errors`.
    """
    from rich.table import Table

    from selfsup_motion.terminal.console import console

    baselines, errors = summary["baselines"], summary.get("standard_errors", {})
    rows = {"": metrics, **baselines}
    names = list(metrics)

    def cell(row: str, name: str) -> str:
        if name not in rows[row]:
            return ""
        error = errors.get(row, {}).get(name)
        return f"{rows[row][name]:.3f}" + ("" if error is None else f" ±{error:.3f}")

    if metrics and not baselines:
        table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
        for name in names:
            table.add_row(name, cell("", name))
        console.print(table)
    elif metrics:
        columns = _COLUMNS if len(names) > _MOST_COLUMNS else _MOST_COLUMNS
        for start in range(0, len(names), columns):
            part = names[start : start + columns]
            table = Table(*["", *part], box=None, header_style="bold", padding=(0, 3, 0, 0))
            for row in rows:
                table.add_row(_SHOWN.get(row, row or encoder), *[cell(row, n) for n in part])
            console.print(table)
    else:
        console.print("Nothing could be scored; the results are written.", markup=False)
    console.print(f"summary  {folder / 'summary.json'}", markup=False)
