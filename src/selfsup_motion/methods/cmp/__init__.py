"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019)."""

from selfsup_motion.methods.cmp.export import export_flow
from selfsup_motion.methods.cmp.hints import (
    Hints,
    borrowed_hints,
    join_hints,
    region_hints,
    trajectory_hints,
)
from selfsup_motion.methods.cmp.method import BASELINES, CMP, MOVING
from selfsup_motion.methods.cmp.view import CMPView

__all__ = [
    "BASELINES",
    "CMP",
    "MOVING",
    "CMPView",
    "Hints",
    "borrowed_hints",
    "export_flow",
    "join_hints",
    "region_hints",
    "trajectory_hints",
]
