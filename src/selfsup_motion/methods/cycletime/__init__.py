"""CycleTime: correspondence from the cycle-consistency of time (Wang, Jabri & Efros, CVPR 2019)."""

from selfsup_motion.methods.cycletime.method import CycleTime
from selfsup_motion.methods.cycletime.view import CycleTimeView

__all__ = ["CycleTime", "CycleTimeView"]
