"""What is asked of the measurements, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from page import median, memory, speed

Results = dict[str, dict[str, Any]]
"""Of one device, by part."""


@dataclass(frozen=True)
class Target:
    """A number and its limit.

    Attributes:
        what: is measured.
        limit: of the number.
        least: whether the number must not be lower, or must not be higher.
        number: of the results; a KeyError where they are not there.
        form: how the number is written.
        device: whose results.
    """

    what: str
    limit: float
    least: bool
    number: Callable[[Results], float]
    form: str = "{:.2f}"
    device: str = "cpu"


def found(results: Results, part: str, name: str) -> dict[str, Any]:
    """The comparison of a part whose name contains a text."""
    for comparison in results[part]["comparisons"]:
        if name in comparison["name"]:
            return dict(comparison)
    raise KeyError(name)


def cost(part: str, name: str) -> Callable[[Results], float]:
    """How many times as long as the baseline the second form takes."""
    return lambda results: 1 / speed(found(results, part, name))


def startup(row: str) -> Callable[[Results], float]:
    """CPU seconds of the slowest of some commands."""

    def number(results: Results) -> float:
        comparison = found(results, "startup", "")
        return max(median(comparison, name) for name in comparison["forms"] if row in name)

    return number


def times_bound(results: Results) -> float:
    comparison = found(results, "attention", "backward")
    bound = next(name for name in comparison["forms"] if name.startswith("bound"))
    return median(comparison, "tiles") / median(comparison, bound)


def patches_a_second(results: Results) -> float:
    comparison = found(results, "propagation", "first + 5 frames, radius 8")
    return 1 / median(comparison, "encoding and following")


def against_natten(results: Results) -> float:
    comparison = found(results, "attention", "backward")
    return median(comparison, "triton") / median(comparison, "natten, other borders")


ATTENTION = "restricted attention, forward and backward"
TARGETS = (
    Target(
        f"{ATTENTION}: times the speed of unfolding",
        45,
        True,
        lambda r: speed(found(r, "attention", "backward"), form="tiles"),
        "{:.0f}",
    ),
    Target(f"{ATTENTION}: times the needed products", 4, False, times_bound, "{:.1f}"),
    Target(
        f"{ATTENTION}: MiB",
        80,
        False,
        lambda r: float(found(r, "attention", "backward")["forms"]["tiles"]["mib"]),
        "{:.0f}",
    ),
    Target(
        "CMP's loss at stride 2, batch 1: times less memory than the direct form",
        4,
        True,
        lambda r: memory(found(r, "flow_loss", "batch 1")),
        "{:.1f}",
    ),
    *(
        Target(f"a step of `{name}` over its networks", limit, False, cost("steps", f"={name}`"))
        for name, limit in (
            ("cmp", 1.2),
            ("paper/cmp_alexnet", 1.2),
            ("corrflow", 1.5),
            ("mosi", 1.2),
            ("paper/mosi_r2d3d_hmdb", 1.2),
        )
    ),
    Target("`import selfsup_motion`, CPU seconds", 0.1, False, startup("import selfsup_motion")),
    Target("a wrong argument, CPU seconds", 1.5, False, startup("a wrong")),
    Target("`debug=fast_dev_run`, CPU seconds", 9, False, startup("fast_dev_run"), "{:.1f}"),
    Target("patches of colours at 480p, frames a CPU second", 2.2, True, patches_a_second),
    *(
        Target(
            f"on a GPU: a step of `{name}` over its networks, bf16",
            1.15,
            False,
            cost("steps", f"={name}`"),
            device="cuda",
        )
        for name in ("cmp", "corrflow", "mosi")
    ),
    Target(f"on a GPU: {ATTENTION} over natten", 1.0, False, against_natten, device="cuda"),
)


def target_table(on_cpu: Results, on_gpu: Results) -> str:
    """As Markdown."""
    lines = ["| | target | measured | |", "|---|---|---|---|"]
    for target in TARGETS:
        sign = "≥" if target.least else "≤"
        row = f"| {target.what} | {sign} {target.limit:g} "
        try:
            value = target.number(on_cpu if target.device == "cpu" else on_gpu)
        except KeyError:
            lines.append(row + "| | not measured |")
            continue
        met = value >= target.limit if target.least else value <= target.limit
        measured = target.form.format(value)
        lines.append(row + f"| {measured} | {'met' if met else 'not met'} |")
    return "\n".join(lines) + "\n"
