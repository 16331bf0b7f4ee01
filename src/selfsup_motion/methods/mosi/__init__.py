"""MoSI: Motion from Static Images (Huang et al., CVPR 2021)."""

from selfsup_motion.methods.mosi.method import MoSI, MotionHead
from selfsup_motion.methods.mosi.view import MoSIView

__all__ = ["MoSI", "MoSIView", "MotionHead"]
