"""What the values of our configs may compute. None of it looks at data: a config can be composed,
printed and checked on a machine that has none."""

from pathlib import Path

from omegaconf import OmegaConf

from selfsup_motion.errors import UserError


def register_resolvers() -> None:
    """Let configs use `${steps:<passes>,<items>,<batch size>}` and `${stem:<path>}`."""
    OmegaConf.register_new_resolver("steps", _steps, replace=True)
    OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).stem, replace=True)


def _steps(passes: float, items: int | None, batch_size: int) -> int | None:
    """Optimiser steps that show `items` so often; None if nobody has counted these yet."""
    if items is None:
        return None
    if not all(isinstance(n, int | float) and n > 0 for n in (passes, items, batch_size)):
        raise UserError(
            "A length in passes needs three numbers above 0, and these are "
            f"passes={passes}, {items} items, data.batch_size={batch_size}."
        )
    return max(1, round(passes * items / batch_size))
