"""What the tab Inspect asks for about local runs: a list, one or two of them, their figures.

Runs are found by names that this side has told; no name becomes a path.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse

from selfsup_motion.apps.run_list import (
    MOST_SHOWN,
    RunSummary,
    differences,
    figure_files,
    find_runs,
    read_run,
)
from selfsup_motion.web import fields
from selfsup_motion.web.calls import Answer, Call, answer
from selfsup_motion.web.refusals import Refusal

_DETAILS = ("metrics", "untrained", "figures", "settings")
_LONGEST_NAME = 1000


def list_runs(call: Call) -> Answer:
    """The newest runs, a line for each."""
    runs = [read_run(run, name) for name, run in _found(call).items()]
    return {"runs": [_line(run) for run in runs], "folder": call.studio.models.runs.name}


def show_runs(call: Call) -> Answer:
    """One or two runs with their metrics and figures, and the settings that differ."""
    found = _found(call)
    names = fields.items(call.body, "runs", 2)
    if not names:
        raise Refusal("runs: expected the names of one or two runs.")
    runs = [read_run(_one(found, name), name) for name in names]
    return {
        "runs": [_line(run) | _details(run) for run in runs],
        "differences": [[key, _shown(a), _shown(b)] for key, a, b in differences(runs[0], runs[1])]
        if len(runs) == 2
        else [],
    }


def figure(call: Call) -> Answer:
    """A picture of a run: `?run=…&name=…`."""
    run = _one(_found(call), call.query.get("run"))
    file = figure_files(run).get(call.query.get("name", ""))
    if file is None:
        raise Refusal("There is no such figure any more; reload the page.", 404)
    return FileResponse(
        file, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"}
    )


ROUTES = [
    answer("GET", "/runs", list_runs),
    answer("POST", "/runs", show_runs),
    answer("GET", "/figure", figure),
]


def _found(call: Call) -> dict[str, Path]:
    return find_runs(call.studio.models.runs, MOST_SHOWN)


def _one(found: dict[str, Path], name: Any) -> Path:
    if not isinstance(name, str) or name not in found:
        raise Refusal("There is no such run any more; reload the page.", 404)
    return found[name]


def _line(run: RunSummary) -> dict[str, Any]:
    return {key: value for key, value in asdict(run).items() if key not in _DETAILS}


def _details(run: RunSummary) -> dict[str, Any]:
    return {
        "metrics": dict(run.metrics),
        "untrained": dict(run.untrained),
        "figures": list(run.figures),
    }


def _shown(value: Any) -> str | None:
    """A setting as a person reads it; None: there is none, or it is null."""
    return None if value is None else str(value)[:_LONGEST_NAME]
