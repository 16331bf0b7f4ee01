"""Writes docs/results.md: the published tables, and which of their rows ran here.

    python scripts/docs/results.py

The numbers are in scripts/docs/published; commands and hardware are those that the recipes' own
files begin with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "scripts" / "docs" / "published"
PAGE = ROOT / "docs" / "results.md"
RECIPES = ROOT / "conf" / "experiment"
ORDER = ("cmp", "corrflow", "mosi", "matching", "clips")
_FACTS = ("Command", "Hardware", "Data")


def page() -> str:
    """The whole page."""
    lines = [
        "# Published results",
        "",
        "The tables of the papers whose methods are in the package. A row that is *quoted* has no "
        "recipe here. *Not run* says what running it takes: first what trains it, then what "
        "evaluates it. No number stands in a column of ours without a run behind it; what ran "
        "with smaller budgets is below each paper's tables, with the file that tells of the run.",
        "",
        "`python -m selfsup_motion.compare study=cmp_tables` (`corrflow_tables`, `mosi_tables`) "
        "runs the rows of a paper for which you have the data ([One table](compare.md)). This page "
        "is made by `python scripts/docs/results.py`.",
    ]
    for name in ORDER:
        lines += _paper(yaml.safe_load((PUBLISHED / f"{name}.yaml").read_text("utf-8")))
    return "\n".join(lines) + "\n"


def _paper(paper: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {paper['name']}", "")
    yield f"{paper['paper']}. Published numbers: {paper['source']}. More: [here]({paper['page']})."
    for table in paper["tables"]:
        yield from _table(table)
    if paper.get("small"):
        yield from ("", f"### {paper['name']}: what ran here with small budgets", "")
        yield from ("| what | here | told in |", "|---|---|---|")
        for one in paper["small"]:
            yield f"| {one['what']} | {one['value']} | {_link(one['of'])} |"
    used = dict.fromkeys(
        row["recipe"] for table in paper["tables"] for row in table["rows"] if "recipe" in row
    )
    yield from ("", f"### {paper['name']}: recipes", "")
    yield from ("| `experiment=` | command | hardware | data |", "|---|---|---|---|")
    for recipe in used:
        facts = head(RECIPES / f"{recipe}.yaml")
        command, hardware = facts["Command"], facts.get("Hardware", "not told")
        yield f"| `{recipe}` | `{command}` | {hardware} | {facts.get('Data', '')} |"


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    columns = table["columns"]
    yield from ("", f"### {table['title']}", "")
    evaluated = ", ".join(f"`{one}`" for one in table["evaluate"])
    yield from (f"Evaluated by {evaluated}; this needs {table['needs']}.", "")
    yield f"| | {' | '.join(columns)} | here | how |"
    yield "|---" * (len(columns) + 3) + "|"
    for row in table["rows"]:
        numbers = " | ".join("–" if value is None else str(value) for value in row["published"])
        yield f"| {row['name']} | {numbers} | {_here(row)} | {_how(row)} |"


def _here(row: Mapping[str, Any]) -> str:
    if row.get("quoted"):
        return "quoted"
    if "here" in row:
        values = " / ".join("–" if value is None else str(value) for value in row["here"])
        return f"{values} ({_link(row['of'])})"
    return f"not run: needs {row['needs']}"


def _how(row: Mapping[str, Any]) -> str:
    if row.get("quoted"):
        return ""
    if "recipe" in row:
        return f"`{row['recipe']}`"
    command, apart, changes = row["run"].partition(" with ")
    root = "" if "data.root=" in command or "…" in command else " data.root=/path/to/data"
    return f"`{command}{root}`{apart}{changes}"


def head(file: Path) -> dict[str, str]:
    """What the comment at the top of a recipe says, by its first words, each on one line."""
    found: dict[str, str] = {}
    last = None
    for line in file.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(r"# (\w+) {1,9}(?=\S)(.*)", line):
            last = match[1] if match[1] in _FACTS else None
            if last:
                found[last] = match[2].strip()
        elif last and (text := line.removeprefix("#").strip()):
            found[last] = f"{found[last].removesuffix(chr(92)).rstrip()} {text}"
        elif line.strip() == "#":
            last = None
    return found


def rows(papers: Sequence[str] = ORDER) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every table with each of its rows."""
    for name in papers:
        for table in yaml.safe_load((PUBLISHED / f"{name}.yaml").read_text("utf-8"))["tables"]:
            for row in table["rows"]:
                yield table, row


def small() -> Iterator[Mapping[str, Any]]:
    """What ran with smaller budgets."""
    for name in ORDER:
        yield from yaml.safe_load((PUBLISHED / f"{name}.yaml").read_text("utf-8")).get("small", [])


def _link(file: str) -> str:
    if not file.startswith("docs/"):
        return f"`{file}`"
    return f"[{Path(file).stem}]({file.removeprefix('docs/')})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
