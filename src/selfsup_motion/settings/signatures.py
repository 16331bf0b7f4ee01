"""Signatures of what a config names, read from the source.

To import a class costs the import of PyTorch and Lightning, ten seconds in which a misspelt value
could have been answered.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Union

from selfsup_motion.errors import UserError
from selfsup_motion.settings.locating import cannot_read, locate

_OPAQUE = {"torch", "numpy"}
"""Large packages, of which little but classes stands in annotations."""
_NO_FIELDS = {"object", "ABC", "Protocol", "Generic"}
_DEPTH = 20
"""Imports and base classes that are followed."""


@dataclass(frozen=True)
class Signature:
    """What a class or function takes.

    Attributes:
        names: of the arguments.
        required: names of those without a default.
        takes_all: whether it takes any further name.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_all: bool
    _annotations: Mapping[str, Callable[[], Any]]
    _defaults: Mapping[str, Callable[[], Any]]

    def defaults(self) -> dict[str, Any]:
        """Those arguments that have one, as far as they are plain values: numbers, texts, None,
        lists and the like."""
        found = {}
        for name, value in self._defaults.items():
            with contextlib.suppress(ValueError):
                found[name] = value()
        return found

    def annotation(self, name: str) -> Any:
        """Type of an argument; `Any` where it cannot be told."""
        return self._annotations[name]()


@cache
def signature(target: str) -> Signature:
    """The signature of what a `_target_` names.

    It is read from the source. What cannot be found there is imported.

    Raises:
        UserError: there is no such class or function.
    """
    found = definition(target)
    read = _read(*found) if found is not None else None
    return _imported(target) if read is None else read


def _imported(target: str) -> Signature:
    found = locate(target)
    parameters = inspect.signature(found).parameters.values()
    function = inspect.unwrap(found.__init__ if inspect.isclass(found) else found)
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):  # names that are imported for type checkers only
        hints = {}
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return Signature(
        tuple(p.name for p in named),
        tuple(p.name for p in named if p.default is p.empty),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
        {p.name: partial(hints.get, p.name, Any) for p in named},
        {p.name: partial(_checked_plain, p.default) for p in named if p.default is not p.empty},
    )


def _checked_plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_checked_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value} is no plain value")


@dataclass(frozen=True)
class Module:
    """The names at the top of a module, with the statements that define them."""

    name: str
    is_package: bool
    statements: Mapping[str, ast.stmt]

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The module that a `from … import` names."""
        if not statement.level:
            return statement.module or ""
        parts = self.name.split(".")
        up = statement.level - self.is_package
        kept = parts[: len(parts) - up] if up else parts
        return ".".join([*kept, *filter(None, [statement.module])])


@cache
def _module(name: str) -> Module | None:
    """None if it has no source."""
    file = _file(name)
    if file is None or file.suffix != ".py":
        return None
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UserError(cannot_read(error)) from error
    statements = {}
    for statement in _flat(tree.body):
        for defined in _names(statement):
            statements[defined] = statement
    return Module(name, file.name == "__init__.py", statements)


def _file(name: str) -> Path | None:
    top, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that was not imported from a file
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = Path(spec.origin) if spec.origin else None
    for part in parts:
        places = [folder / part for folder in folders]
        found = [p for place in places for p in (place / "__init__.py", place.with_suffix(".py"))]
        file = next((path for path in found if path.is_file()), None)
        folders = [place for place in places if place.is_dir()]
        if file is None and not folders:
            return None
    return file


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, also those that stand under a condition (`if TYPE_CHECKING:`)."""
    for statement in body:
        if isinstance(statement, (ast.If, ast.Try)):
            yield from _flat([*statement.orelse, *statement.body])
        else:
            yield statement


def _names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, ast.Assign):
        yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id


def definition(target: str) -> tuple[Module, ast.stmt] | None:
    """The statement that defines a dotted name, and the module that it is in."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = _module(".".join(parts[:cut]))
        if module is not None:
            found = _definition(module, parts[cut])
            for name in parts[cut + 1 :]:
                owner = found[1] if found is not None else None
                if found is None or not isinstance(owner, ast.ClassDef):
                    return None
                found = _member(found[0], owner, name)
            return found
    return None


def _definition(module: Module, name: str, depth: int = _DEPTH) -> tuple[Module, ast.stmt] | None:
    """What defines a name of a module, through imports."""
    statement = module.statements.get(name)
    if depth == 0 or statement is None:
        return None
    if isinstance(statement, ast.ImportFrom):
        original = next(a.name for a in statement.names if (a.asname or a.name) == name)
        source = _module(module.absolute(statement))
        return _definition(source, original, depth - 1) if source is not None else None
    return module, statement


def _member(module: Module, node: ast.ClassDef, name: str) -> tuple[Module, ast.stmt] | None:
    found = [s for s in _flat(node.body) if isinstance(s, ast.FunctionDef) and s.name == name]
    return (module, found[0]) if found else None


def _read(module: Module, node: ast.stmt, depth: int = _DEPTH) -> Signature | None:
    """The signature of a function or class; None if the source does not tell."""
    if isinstance(node, ast.FunctionDef):
        bound = any(isinstance(d, ast.Name) and d.id == "classmethod" for d in node.decorator_list)
        return _of_function(module, node, skip=1 if bound else 0)
    if not isinstance(node, ast.ClassDef) or depth == 0:
        return None
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _of_dataclass(module, node, depth)
    if (init := _member(module, node, "__init__")) is not None:
        return _of_function(module, init[1], skip=1)
    if _member(module, node, "__new__") is not None or node.keywords:
        return None
    for base in node.bases:
        if isinstance(base, ast.Subscript):
            base = base.value
        name = ast.unparse(base)
        if name.rpartition(".")[2] in _NO_FIELDS:
            continue
        found = named(module, base)
        return None if found is None else _read(*found, depth - 1)
    return Signature((), (), False, {}, {})


def named(module: Module, node: ast.expr) -> tuple[Module, ast.stmt] | None:
    """What `Name` or `package.Name` stands for in a module."""
    if isinstance(node, ast.Name):
        return _definition(module, node.id)
    if isinstance(node, ast.Attribute) and (package := _package(module, node.value)):
        source = _module(package)
        return _definition(source, node.attr) if source is not None else None
    return None


def _package(module: Module, node: ast.expr) -> str:
    """The module that an expression in a module names; empty if it names none."""
    if isinstance(node, ast.Attribute):
        parent = _package(module, node.value)
        return f"{parent}.{node.attr}" if parent else ""
    if not isinstance(node, ast.Name):
        return ""
    statement = module.statements.get(node.id)
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.asname == node.id:
                return alias.name
        return node.id
    if isinstance(statement, ast.ImportFrom):
        original = next(a.name for a in statement.names if (a.asname or a.name) == node.id)
        return f"{module.absolute(statement)}.{original}"
    return ""


def _of_function(module: Module, node: ast.stmt, skip: int) -> Signature | None:
    if not isinstance(node, ast.FunctionDef):
        return None
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True)][skip:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return Signature(
        tuple(a.arg for a, _ in pairs),
        tuple(a.arg for a, default in pairs if default is None),
        arguments.kwarg is not None,
        {a.arg: partial(_annotation, module, a.annotation) for a, _ in pairs},
        {a.arg: partial(_value, module, default) for a, default in pairs if default is not None},
    )


def _of_dataclass(module: Module, node: ast.ClassDef, depth: int) -> Signature | None:
    annotations: dict[str, Callable[[], Any]] = {}
    defaults: dict[str, Callable[[], Any]] = {}
    required: list[str] = []
    for base in node.bases:
        found = named(module, base)
        inherited = _read(*found, depth - 1) if found is not None else None
        if inherited is not None:
            annotations.update(inherited._annotations)
            defaults.update(inherited._defaults)
            required += inherited.required
    for field in node.body:
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        text, value = ast.unparse(field.annotation), field.value
        if "ClassVar" in text or (value is not None and "init=False" in ast.unparse(value)):
            continue
        annotations[field.target.id] = partial(_annotation, module, field.annotation)
        calls_field = isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field")
        if value is None or (calls_field and "default" not in ast.unparse(value)):
            required.append(field.target.id)
        elif value is not None:
            defaults[field.target.id] = partial(_value, module, value)
    needed = tuple(dict.fromkeys(required))
    return Signature(tuple(annotations), needed, False, annotations, defaults)


def _value(module: Module, node: ast.expr) -> Any:
    """The plain value that an expression stands for.

    Raises:
        ValueError: it is none, or the source does not tell.
    """
    if isinstance(node, ast.Name) and (found := _definition(module, node.id)) is not None:
        owner, statement = found
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            return _value(owner, statement.value)
    return _checked_plain(ast.literal_eval(node))


class _Unknown(Exception):
    """The source does not tell what an annotation is."""


def _annotation(module: Module, node: ast.expr | None) -> Any:
    if node is None:
        return Any
    try:
        return _type(module, node, _DEPTH)
    except _Unknown:
        return Any


def _type(module: Module, node: ast.expr, depth: int) -> Any:
    """The type that an expression in an annotation stands for."""
    if depth == 0:
        raise _Unknown
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _type(module, ast.parse(node.value, mode="eval").body, depth - 1)
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [_or_any(module, side, depth - 1) for side in (node.left, node.right)]
        return Union[tuple(sides)]  # noqa: UP007 - of values
    if isinstance(node, ast.Subscript):
        return _subscript(module, node, depth)
    if isinstance(node, ast.Name):
        return _type_of_name(module, node.id, depth)
    if isinstance(node, ast.Attribute) and (package := _package(module, node.value)):
        return _from(package, node.attr, depth)
    raise _Unknown


def _or_any(module: Module, node: ast.expr, depth: int) -> Any:
    try:
        return _type(module, node, depth)
    except _Unknown:
        return Any


def _subscript(module: Module, node: ast.Subscript, depth: int) -> Any:
    kind = _type(module, node.value, depth - 1)
    inner = node.slice
    parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if kind is typing.Literal:
        return kind[tuple(ast.literal_eval(part) for part in parts)]
    if kind is typing.Annotated:
        return kind[(_or_any(module, parts[0], depth - 1), *map(ast.literal_eval, parts[1:]))]
    arguments = tuple(
        [_or_any(module, item, depth - 1) for item in part.elts]
        if isinstance(part, ast.List)
        else _or_any(module, part, depth - 1)
        for part in parts
    )
    try:
        return kind[arguments if len(arguments) > 1 else arguments[0]]
    except TypeError as error:
        if inspect.isclass(kind):  # a generic class, whatever of
            return kind
        raise _Unknown from error


def _type_of_name(module: Module, name: str, depth: int) -> Any:
    statement = module.statements.get(name)
    if statement is None:
        found = getattr(builtins, name, None)
        if inspect.isclass(found):
            return found
        raise _Unknown
    if isinstance(statement, ast.ImportFrom):
        original = next(a.name for a in statement.names if (a.asname or a.name) == name)
        return _from(module.absolute(statement), original, depth)
    if isinstance(statement, ast.ClassDef):
        return _placeholder(name)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        return _type(module, statement.value, depth - 1)
    raise _Unknown


def _from(package: str, name: str, depth: int) -> Any:
    """The type that is called `name` in a module."""
    top = package.partition(".")[0]
    if top in sys.stdlib_module_names:
        return getattr(importlib.import_module(package), name)
    source = None if package in _OPAQUE else _module(package)
    if source is None or name not in source.statements:
        if top in _OPAQUE and name[:1].isupper():
            return _placeholder(name)
        raise _Unknown
    return _type_of_name(source, name, depth - 1)


@cache
def _placeholder(name: str) -> type:
    """Stands for a class of which nothing needs to be known but its name."""
    return type(name, (), {})
