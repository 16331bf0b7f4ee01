"""MoSI: Motion from Static Images (Huang et al., CVPR 2021)."""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.methods.mosi.method import MoSI
    from selfsup_motion.methods.mosi.network import MoSINetwork, MotionHead
    from selfsup_motion.methods.mosi.view import MoSIView

__all__ = ["MoSI", "MoSINetwork", "MoSIView", "MotionHead"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "method": ["MoSI"],
        "network": ["MoSINetwork", "MotionHead"],
        "view": ["MoSIView"],
    },
)
