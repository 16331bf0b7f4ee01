"""`import selfsup_motion as ssm`: what is there, and that it costs nothing until it is used."""

import ast
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import selfsup_motion as ssm

PACKAGES = ["selfsup_motion", *(f"selfsup_motion.{name}" for name in ("methods", "models", "ops"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_offers_is_listed_and_known_to_editors(package):
    module = import_module(package)
    names = set(module.__all__) - {"__version__"}
    assert names <= set(dir(module))
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    checked = next(s for s in tree.body if isinstance(s, ast.If))  # if TYPE_CHECKING
    imported = {a.name for s in checked.body if isinstance(s, ast.ImportFrom) for a in s.names}
    assert imported == names
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_has_the_name_of_a_module(package):
    # whichever was imported first would be found
    module = import_module(package)
    modules = {found.name for found in iter_modules(module.__path__)}
    assert not {name for name in module.__all__ if callable(getattr(module, name))} & modules


def test_data_sets_are_those_that_are_listed():
    assert all(hasattr(ssm.datasets, name) for name in ssm.datasets.__all__)
