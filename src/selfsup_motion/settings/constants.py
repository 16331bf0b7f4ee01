"""Constants of the classes that a config names, read from the source: imports take seconds."""

from __future__ import annotations

import ast
from typing import Any

from selfsup_motion.settings import signatures
from selfsup_motion.settings.locating import locate

_DEPTH = 20
"""Base classes that are followed."""


def constant(target: str, name: str) -> Any:
    """The value of a class attribute that is written as a literal, the class's own or inherited.

    What cannot be found in the source is imported.

    Args:
        target: `_target_` of a class.
        name: of the attribute.

    Returns:
        None if there is no such attribute.

    Raises:
        UserError: there is no such class.
    """
    found = signatures.definition(target)
    if found is not None:
        try:
            return _value(*found, name)
        except LookupError:
            pass
    return getattr(locate(target), name, None)


def _value(module: signatures.Module, node: ast.stmt, name: str, depth: int = _DEPTH) -> Any:
    """Raises LookupError if the source does not tell."""
    if not isinstance(node, ast.ClassDef) or depth == 0:
        raise LookupError
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            try:
                return ast.literal_eval(value)
            except ValueError as error:
                raise LookupError from error
    for base in node.bases:
        owner = signatures.named(module, base)
        if owner is None:
            continue  # object, ABC, or a class without source, which is asked last
        try:
            return _value(*owner, name, depth - 1)
        except LookupError:
            continue
    raise LookupError
