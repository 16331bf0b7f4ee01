"""Runs the Python of a page as a notebook would: its blocks one after another, with one namespace.

A line that ends in `# → value` states what its expression gives.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from documents import blocks

_STATED = re.compile(r"# → (?P<value>.+)$")


def run_page(page: Path) -> dict[str, Any]:
    """Run a page.

    Returns:
        The names that it leaves.

    Raises:
        AssertionError: a line gives something else than it states.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python" and block.reason is None:
            run_block(block.code, str(page), block.line, names)
    return names


def run_block(code: str, name: str, line: int, names: dict[str, Any]) -> None:
    """Run a block that begins at a line of a file; tracebacks show the file's lines."""
    rows = code.split("\n")
    for node in ast.parse(code).body:
        stated = _STATED.search(rows[node.end_lineno - 1])
        ast.increment_lineno(node, line - 1)
        if stated is None:
            exec(compile(ast.Module([node], []), name, "exec"), names)
            continue
        assert isinstance(node, ast.Expr), f"{name}:{node.lineno}: only expressions have a value"
        value = eval(compile(ast.Expression(node.value), name, "eval"), names)
        shown = " ".join(repr(value).split())
        assert shown == stated["value"].strip(), f"{name}:{node.lineno}: it is {shown}"
