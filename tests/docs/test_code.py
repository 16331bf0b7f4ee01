"""The Python in README and docs runs as it is written, and gives what it says."""

import pytest
import torch
from code_blocks import run_block, run_page
from command_lines import TESTED_APART
from documents import PAGES, blocks

LONG = {"README.md": pytest.mark.slow, "applications.md": pytest.mark.slow}
"""Pages whose code trains, or compiles programs, for half a minute."""
WITH_CODE = [
    pytest.param(page, marks=LONG.get(page.name, ()), id=page.name)
    for page in PAGES
    if page.name not in TESTED_APART and any(block.language == "python" for block in blocks(page))
]


@pytest.mark.usefixtures("authors_weights")
@pytest.mark.parametrize("page", WITH_CODE)
def test_code_of_a_page_runs(world, monkeypatch, page):
    monkeypatch.chdir(world)
    torch.manual_seed(0)
    run_page(page)


def test_a_wrong_value_is_told():
    with pytest.raises(AssertionError, match=r"page:8: it is 3"):
        run_block("x = 1\nx + 2  # → 4\n", "page", 7, {})
    run_block("x = 1\nx + 2  # → 3\n", "page", 7, {})
