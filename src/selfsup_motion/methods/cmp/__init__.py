"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019)."""

from selfsup_motion.methods.cmp.explore import Exploration, explore, moves_with
from selfsup_motion.methods.cmp.export import export_flow
from selfsup_motion.methods.cmp.hints import (
    Hints,
    borrowed_hints,
    join_hints,
    region_hints,
    trajectory_hints,
)
from selfsup_motion.methods.cmp.method import BASELINES, CMP, MOVING
from selfsup_motion.methods.cmp.uncertainty import uncertainty
from selfsup_motion.methods.cmp.view import CMPView

__all__ = [
    "BASELINES",
    "CMP",
    "MOVING",
    "CMPView",
    "Exploration",
    "Hints",
    "borrowed_hints",
    "explore",
    "export_flow",
    "join_hints",
    "moves_with",
    "region_hints",
    "trajectory_hints",
    "uncertainty",
]
