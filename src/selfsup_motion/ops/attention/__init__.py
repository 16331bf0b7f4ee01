"""Restricted attention: every pixel of one frame copies from a window of other frames."""

from selfsup_motion.ops.attention.layout import Window
from selfsup_motion.ops.attention.phases import Border
from selfsup_motion.ops.attention.window import Backend, local_correlation, restricted_attention

__all__ = ["Backend", "Border", "Window", "local_correlation", "restricted_attention"]
