"""MAST: a memory-augmented self-supervised tracker (Lai, Lu & Xie, CVPR 2020)."""

from selfsup_motion.methods.mast.method import MAST
from selfsup_motion.methods.mast.view import MASTView

__all__ = ["MAST", "MASTView"]
