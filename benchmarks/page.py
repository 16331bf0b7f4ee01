"""The page of the benchmarks, from what has been measured: tables, targets and remarks."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
REMARKS = HERE / "remarks.md"
DEVICES = {"cpu": "CPU", "cuda": "GPU"}

INTRODUCTION = """\
# Benchmarks

<!-- Written by benchmarks/bench.py: change benchmarks/remarks.md instead, or measure again. -->

`make bench` measures on the CPU and `make bench-gpu` on a CUDA device; both write this page.
`make bench PARTS="attention steps"` measures some parts and keeps what is known of the others, and
`python benchmarks/attention.py` prints the tables of one part without writing anything.
`python benchmarks/external.py --checkout PATH` times a clone of the authors' CMP or CorrFlow beside
ours.

Each table compares forms of the same work. The first row is the baseline, and the other rows say
how much faster they are and what share of its memory they take. Forms take turns, call by call,
each in a process of its own with one thread. A part has some seconds (`python benchmarks/bench.py
--plan`), and slow forms are called less often, but at least three times: "calls". Times are
medians; "spread" is half of the distance from the quickest to the slowest call, as a share of the
median. Processor time is that of the
process and its children. Memory is the growth from the finished preparation to the peak of the
first call. Absolute times depend on what else the machine does. Only ratios within a table mean
something.
"""


def seconds(value: float) -> str:
    """With a unit, three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value / size < 1000 else f"{value:.0f} s"
    return f"{value / 1e-9:.3g} ns"


_LEAST_MIB = 4
"""The growth of a process is not known more exactly."""


def median(comparison: dict[str, Any], form: str) -> float:
    """Seconds of a unit, by the clock that the comparison is of."""
    return statistics.median(comparison["forms"][form][comparison["clock"]])


def speed(comparison: dict[str, Any], form: str = "") -> float:
    """How many times faster than the baseline a form is: the second one if it is not named."""
    names = list(comparison["forms"])
    return median(comparison, names[0]) / max(median(comparison, form or names[1]), 1e-12)


def memory(comparison: dict[str, Any], form: str = "") -> float:
    """The baseline's memory over that of a form."""
    names = list(comparison["forms"])
    base, other = (comparison["forms"][name]["mib"] for name in (names[0], form or names[1]))
    return float(base) / max(float(other), 0.1)


def table(comparison: dict[str, Any]) -> str:
    """A comparison as Markdown."""
    names, clock = list(comparison["forms"]), comparison["clock"]
    clocks = {"cpu": "CPU", "wall": "wall"} if clock == "cpu" else {"wall": "wall"}
    head = [
        *clocks.values(),
        "calls",
        "spread",
        "MiB",
        "times the baseline's speed",
        "of its memory",
    ]
    lines = [
        f"**{comparison['name']}** (a {comparison['unit']})\n",
        "| | " + " | ".join(head) + " |",
        "|---" * (len(head) + 1) + "|",
    ]
    for name in names:
        form = comparison["forms"][name]
        taken, middle = form[clock], median(comparison, name)
        row = [seconds(statistics.median(form[which])) for which in clocks]
        row.append(f"{len(taken)}")
        row += [f"± {(max(taken) - min(taken)) / 2 / middle:.0%}", f"{form['mib']:.0f}"]
        if name == names[0]:
            row += ["1", "1"]
        else:
            row += [f"{speed(comparison, name):.2g}", _share(comparison, name)]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    note = f"\n{comparison['note']}\n" if comparison.get("note") else ""
    return "\n".join(lines) + "\n" + note


def _share(comparison: dict[str, Any], name: str) -> str:
    """Of the baseline's memory, where it takes so much that a share of it means something."""
    least = comparison["forms"][next(iter(comparison["forms"]))]["mib"]
    return f"{1 / memory(comparison, name):.2g}" if least >= _LEAST_MIB else "–"


def stored(device: str) -> dict[str, dict[str, Any]]:
    """What has been measured, by part."""
    folder = RESULTS / device
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def remarks() -> dict[str, str]:
    """The hand-written text, by the heading that it stands below."""
    parts = re.split(r"^## (.+)\n", REMARKS.read_text(), flags=re.M)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def write(titles: dict[str, str]) -> None:
    """The page, with the parts in the order of `titles`."""
    from targets import target_table

    known = remarks()
    text = [INTRODUCTION]
    on_cpu = stored("cpu")
    text += ["## Targets\n", target_table(on_cpu, stored("cuda")), known.pop("targets", ""), ""]
    for device, name in DEVICES.items():
        results = stored(device)
        text.append(f"## {name}\n")
        if not results:
            text.append(f"Not measured yet: `make bench{'-gpu' if device == 'cuda' else ''}`.\n")
        machines = {json.dumps(part["machine"]) for part in results.values()}
        if len(machines) == 1:
            text.append(_machine(next(iter(results.values()))["machine"]) + "\n")
        for part, title in titles.items():
            if part not in results:
                continue
            result = results[part]
            text.append(f"### {title}\n")
            if len(machines) > 1:
                text.append(_machine(result["machine"]) + "\n")
            text += [table(comparison) for comparison in result["comparisons"]]
            load = f"load of the machine {result['load']:.1f}"
            if part == "curves":
                text.append(_drawn(result["comparisons"]))
            text.append(f"`benchmarks/{part}.py`, {result['date']}, {load}.\n")
            note = known.pop(part if device == "cpu" else f"{part}, GPU", "")
            text += [note, ""] if note else []
    PAGE.write_text("\n".join(text).rstrip() + "\n")


def _drawn(comparisons: list[dict[str, Any]]) -> str:
    """Draw the curves; what shows them."""
    import cv2
    from plots import draw

    cv2.imwrite(str(PAGE.parent / "pictures" / "costs.png"), draw(comparisons))
    return (
        "Logarithmic axes; grey: a cost in proportion.\n\n"
        "![Cost curves on logarithmic axes](pictures/costs.png)\n"
    )


def _machine(machine: dict[str, str]) -> str:
    return "; ".join(f"{name} {value}" if name != "" else value for name, value in machine.items())
