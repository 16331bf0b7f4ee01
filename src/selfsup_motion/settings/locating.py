"""Finding the class or function that a `_target_` names."""

import importlib
import inspect
from typing import Any

from selfsup_motion.errors import UserError
from selfsup_motion.settings.nearest import nearest_name


def locate(target: str) -> Any:
    """The object that a `_target_` names, imported.

    Raises:
        UserError: there is no such object, or its module cannot be imported.
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and f"{target}.".startswith(f"{error.name}."):
                continue
            raise UserError(f"{target} cannot be imported: {missing(error)}") from error
        except SyntaxError as error:
            raise UserError(cannot_read(error)) from error
        return _inside(found, name, parts[cut:], target)
    raise UserError(
        f"{target} cannot be imported: there is no module {parts[0]}. If it is your own, start the "
        "command in the folder that it is in, or add that folder to PYTHONPATH."
        if len(parts) > 1
        else f"{target} cannot be imported: write the module before the name, my_module.{target}."
    )


def _inside(found: Any, module: str, names: list[str], target: str) -> Any:
    for name in names:
        if not hasattr(found, name):
            known = [key for key, value in vars(found).items() if callable(value)]
            guess = nearest_name(name, known) if inspect.ismodule(found) else None
            hint = f", did you mean {guess}?" if guess else "."
            raise UserError(f"{target} cannot be imported: {module} has no {name}{hint}")
        found, module = getattr(found, name), f"{module}.{name}"
    return found


def missing(error: ModuleNotFoundError) -> str:
    """What to do about a module that somebody's code imports and that is not there."""
    return f"it needs the module {error.name}, which is not installed."


def cannot_read(error: SyntaxError) -> str:
    """Where a file is not Python, and why."""
    return f"{error.filename}, line {error.lineno}: {error.msg}."
