"""Pages of the site that are made from other files; MkDocs calls this as a hook.

- the start page: README.md
- Recipes: the comments at the top of conf/experiment/*.yaml
- API: the docstrings of the packages that are used from Python
- Contributing and Changelog: the files of these names
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "selfsup_motion"
RECIPES = ROOT / "conf" / "experiment"
FILES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
API = ("ops", "models", "data", "methods", "weights", "tasks", "callbacks")
"""Packages with a page of their own; the rest serves the commands, see docs/architecture.md."""
GROUPS = {
    "": "Small budgets",
    "paper": "As published",
    "ablation": "Ablations",
    "baseline": "Baselines",
}
_PAGES = {source: page for page, source in FILES.items()}


def on_config(config: Any) -> Any:
    """Put the API's pages into the navigation."""
    (api,) = (entry for entry in config.nav if "API" in entry)
    api["API"] = [{"Front door": "api/index.md"}, *({name: f"api/{name}.md"} for name in API)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def pages() -> dict[str, str]:
    """The text of every generated page, by its path below docs/."""
    made = {page: from_root((ROOT / source).read_text("utf-8")) for page, source in FILES.items()}
    made["recipes.md"] = recipes()
    made["api/index.md"] = _front_door()
    return made | {f"api/{name}.md": _package(name) for name in API}


def from_root(text: str) -> str:
    """A file of the repository's root as a page: its links are relative to docs/."""
    for source, page in _PAGES.items():
        text = text.replace(f"]({source}", f"]({page}")
    text = re.sub(r"\[([^]]*)\]\((?!docs/|https?:|#)[^)]*(?<!\.md)\)", r"`\1`", text)
    return text.replace("](docs/", "](").replace('src="docs/', 'src="')


def recipes() -> str:
    """All experiments, each with the comment that its file begins with."""
    lines = [
        "# Recipes",
        "",
        "A recipe is a file of `conf/experiment`: `python -m selfsup_motion.train "
        "experiment=<name>` trains it. This is what each of them says about itself.",
    ]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}"]
        for path in sorted((RECIPES / group).glob("[!_]*.yaml")):
            name = path.relative_to(RECIPES).with_suffix("").as_posix()
            lines += ["", f"### `{name}`", "", *_described(path.read_text("utf-8"))]
    return "\n".join(lines) + "\n"


def _described(text: str) -> list[str]:
    """The leading comment of a recipe: its first line as text, the rest as it stands."""
    comment = [
        line.removeprefix("#").removeprefix(" ")
        for line in text.splitlines()
        if line.startswith("#") and "@package" not in line
    ]
    first, rest = comment[0], "\n".join(comment[1:]).strip("\n")
    return [first, *(["", "```text", rest, "```"] if rest else [])]


def _front_door() -> str:
    """What the package itself exports: functions here, packages by links."""
    init = SOURCE / "__init__.py"
    names = [name for name in _exports(init) if not name.startswith("_")]
    packages = [name for name in names if (SOURCE / name).is_dir()]
    links = ", ".join(f"[`ssm.{name}`]({name}.md)" for name in packages)
    text = f"# Front door\n\n{_docstring(init)}\n\nPackages: {links}.\n"
    for name in names:
        if name == "datasets":
            listed = ", ".join(f"`{part}`" for part in _exports(SOURCE / "library/datasets.py"))
            text += "\n::: selfsup_motion.library.datasets\n    options:\n      members: false\n"
            text += f"\nIt has {listed}; the page [data](data.md) describes them.\n"
        elif name not in packages:
            text += f"\n::: selfsup_motion.{name}\n"
    return text + "\n::: selfsup_motion.errors\n"


def _package(name: str) -> str:
    """A page of API: what the package is for, then its modules."""
    folder = SOURCE / name
    text = f"# {name}\n\n{_docstring(folder / '__init__.py')}\n"
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        if path.parent != folder and _exports(path.parent / "__init__.py"):
            if path.name == "__init__.py":
                text += _exported(path, module.removesuffix(".__init__"))
        elif not path.name.startswith("_") and _speaks(path):
            text += f"\n::: {module}\n"
    return text


def _exported(path: Path, package: str) -> str:
    """A package that names what is public: these names, instead of its modules."""
    text = f"\n## `{package}`\n\n{_docstring(path)}\n"
    for name in _exports(path):
        text += f"\n::: {package}.{name}\n    options:\n      heading_level: 3\n"
    return text


def _exports(path: Path) -> list[str]:
    """`__all__` of a module."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def _speaks(path: Path) -> bool:
    """Whether there is something public in a module."""
    body = ast.parse(path.read_text("utf-8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)
