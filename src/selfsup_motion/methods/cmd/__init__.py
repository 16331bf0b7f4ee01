"""CMD: context and motion decoupled, from compressed videos (Huang et al., CVPR 2021)."""

from selfsup_motion.methods.cmd.method import CMD
from selfsup_motion.methods.cmd.view import CMDView

__all__ = ["CMD", "CMDView"]
