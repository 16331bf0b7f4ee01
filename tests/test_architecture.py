"""The table of packages in docs/architecture.md against the imports of the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = "selfsup_motion"
ROOT = Path(__file__).parents[1]
BOTTOM = {"text", "lazy", "errors", "files"}
"""What everything else may import."""
ROW = re.compile(r"^\| (?P<names>`[^|]*) \|[^|]*\| (?P<may>[^|]*)\|$", re.M)


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for file in (ROOT / "src").rglob("*.py"):
        parts = file.relative_to(ROOT / "src").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of ours that a module imports anywhere, also within functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in whole}
    return frozenset(name for name in found if name in modules() and name != module)


def names(module: str) -> set[str]:
    """What a module defines or imports at its top level, or offers lazily."""
    text = modules()[module].read_text(encoding="utf-8")
    found = {match.group(1) for match in re.finditer(r'"(\w+)"', text)}  # of lazy packages
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@cache
def table() -> dict[str, set[str]]:
    """What each package may import, as the documentation says."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [(match["names"], match["may"]) for match in ROW.finditer(text)]
    named = {name: may for names, may in rows for name in re.findall(r"`([\w.]+)`", names)}
    may = {name: {*re.findall(r"`(\w+)`", text)} for name, text in named.items()}
    return {name: others if name in BOTTOM else others | BOTTOM for name, others in may.items()}


def package(module: str) -> str:
    """The first level below the root."""
    return module.split(".")[1]


def between_packages() -> Iterator[tuple[str, str]]:
    for module in modules():
        for other in imports(module):
            if PACKAGE not in (module, other) and package(module) != package(other):
                yield module, other


def test_every_package_is_in_the_table() -> None:
    folders = {file.parent.name for file in (ROOT / "src" / PACKAGE).glob("*/__init__.py")}
    assert folders <= set(table())
    assert folders == {name for name in table() if (ROOT / "src" / PACKAGE / name).is_dir()}


def test_packages_import_what_the_table_allows() -> None:
    wrong = [
        f"{module} -> {other}"
        for module, other in between_packages()
        if package(module) in table()
        and (ROOT / "src" / PACKAGE / package(module)).is_dir()
        and package(other) not in table()[package(module)]
    ]
    assert not wrong


def test_the_table_itself_has_no_circle() -> None:
    order = {name: may - {name} for name, may in table().items()}
    assert "errors" in TopologicalSorter(order).static_order()  # raises CycleError and names them


def test_no_circle_of_modules() -> None:
    graph = {module: imports(module) - {PACKAGE} for module in modules() if module != PACKAGE}
    assert set(TopologicalSorter(graph).static_order()) == set(graph)  # or it names the circle


def test_the_root_holds_commands_and_errors_only() -> None:
    files = {file.stem for file in (ROOT / "src" / PACKAGE).glob("*.py")}
    others = files - {"__init__", "__main__", "errors"}
    for name in others:
        text = (ROOT / "src" / PACKAGE / f"{name}.py").read_text(encoding="utf-8")
        assert 'if __name__ == "__main__":' in text, f"{name}.py is no command"


def test_the_imports_are_seen_at_all() -> None:
    assert f"{PACKAGE}.ops.attention.window" in imports(f"{PACKAGE}.ops.attention")
    assert len(list(between_packages())) > 100


def test_programs_outside_the_package_import_what_there_is() -> None:
    wrong, seen = [], 0
    for folder in ("benchmarks", "scripts", "examples"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ImportFrom) or not node.module:
                    continue
                if node.module.split(".")[0] != PACKAGE:
                    continue
                for alias in node.names:
                    seen += 1
                    whole = f"{node.module}.{alias.name}"
                    known = node.module in modules() and alias.name in names(node.module)
                    if not known and whole not in modules():
                        wrong.append(f"{file.relative_to(ROOT)}: {whole}")
    assert not wrong
    assert seen > 50
