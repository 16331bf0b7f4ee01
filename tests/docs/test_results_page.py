"""docs/results.md: made from its data, and nothing in it without a source."""

import importlib.util
import re
from pathlib import Path

import pytest

from selfsup_motion.settings.groups import options

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "docs" / "results.py"


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_what_the_generator_makes(results):
    assert results.PAGE.read_text("utf-8") == results.page(), "run scripts/docs/results.py"


def test_every_row_is_quoted_or_has_a_recipe_and_what_it_needs(results):
    for table, row in results.rows():
        where = f"{table['title']}: {row['name']}"
        assert len(row["published"]) == len(table["columns"]), where
        kinds = [bool(row.get("quoted")), "recipe" in row, "run" in row]
        assert sum(kinds) == 1, where
        if "recipe" in row:
            assert row["recipe"] in options("experiment"), where
        if not row.get("quoted"):
            assert row.get("needs") or {"here", "of"} <= set(row), where
        named = re.findall(r"(?:experiment=|changes of )(\S+)", row.get("run", ""))
        assert set(named) <= set(options("experiment")), where
    for table, _ in results.rows():
        tasks = [command.removeprefix("task=") for command in table["evaluate"]]
        assert set(tasks) <= set(options("task")), table["title"]


def test_every_number_of_ours_stands_in_the_file_that_is_named(results):
    told = [(one["value"], one["of"]) for one in results.small()]
    told += [(value, row["of"]) for _, row in results.rows() if "here" in row
             for value in row["here"] if value is not None]  # fmt: skip
    assert told
    for value, file in told:
        text = (results.ROOT / file).read_text("utf-8")
        assert str(value) in text, f"{value} is not in {file}"


def test_published_numbers_of_recipes_are_those_of_their_heads(results):
    """The best of a row stands in what its recipe expects."""
    for table, row in results.rows():
        if "recipe" not in row or re.match("JHMDB|VIP|Ablations|More", table["title"]):
            continue
        text = (results.RECIPES / f"{row['recipe']}.yaml").read_text("utf-8")
        expected = text[text.index("# Expected") :]
        numbers = [str(value) for value in row["published"] if isinstance(value, float)]
        assert any(number in expected for number in numbers), f"{row['recipe']}: {numbers}"
