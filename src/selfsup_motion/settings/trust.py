"""Packages of a user's own that a checkpoint's config may call: `trust=my_pkg`."""

import sys
from collections.abc import Sequence

from selfsup_motion.errors import UserError

Trust = str | Sequence[str]
"""The name of a package, or several names."""

_NO_ADVICE = {*sys.stdlib_module_names, "selfsup_motion", "torch"}


def packages(trust: Trust) -> tuple[str, ...]:
    """The names in `trust`, one by one.

    Raises:
        UserError: one of them cannot be the name of a package.
    """
    names = (trust,) if isinstance(trust, str) else tuple(trust)
    for name in names:
        module = str(name).removesuffix(".py")
        if module != name or not all(part.isidentifier() for part in module.split(".")):
            guess = module.rstrip("/").replace("/", ".").lstrip(".")
            hint = f", did you mean {guess}?" if guess.isidentifier() else ", such as my_package."
            raise UserError(f"trust={name}: expected the name of a Python package{hint}")
    return names


def is_below(name: str, names: Sequence[str]) -> bool:
    """Whether a dotted name is one of `names` or in one of these packages."""
    return any(f"{name}.".startswith(f"{package}.") for package in names)


def advice(name: str, trusted: Sequence[str]) -> str:
    """How to allow what a dotted name stands for, as a sentence with a space before it.

    Empty for the standard library and for PyTorch, parts of which do whatever a file asks them to,
    and for this package, whose other parts no checkpoint needs.

    Args:
        name: of a class or function.
        trusted: packages that are trusted already.
    """
    package = name.partition(".")[0]
    if package in _NO_ADVICE or not package.isidentifier():
        return ""
    together = [*trusted, package]
    typed = package if len(together) == 1 else f"[{','.join(together)}]"
    python = f'"{package}"' if len(together) == 1 else str(tuple(together)).replace("'", '"')
    return f" If {package} is code that you know, add trust={typed} (in Python, trust={python})."
