"""Self-supervised learning from motion in video."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup_motion.checkpoints import load_encoder, load_method

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "load_method"]


def __getattr__(name: str) -> Any:
    # these need torch, whose import takes seconds that `--help` does not have
    if name in ("load_encoder", "load_method"):
        from selfsup_motion import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
