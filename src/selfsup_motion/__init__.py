"""Self-supervised learning from motion in video."""

from typing import TYPE_CHECKING, Any

from selfsup_motion.settings.moved import keep_old_imports

if TYPE_CHECKING:
    from selfsup_motion.weights.checkpoints import load_encoder, load_method

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "load_method"]


keep_old_imports()


def __getattr__(name: str) -> Any:
    # these need torch, whose import takes seconds that `--help` does not have
    if name in ("load_encoder", "load_method"):
        from selfsup_motion.weights import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
