"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019)."""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.methods.cmp.certainty import uncertainty
    from selfsup_motion.methods.cmp.exploration import Exploration, explore, moves_with
    from selfsup_motion.methods.cmp.export import export_flow
    from selfsup_motion.methods.cmp.hints import (
        Hints,
        borrowed_hints,
        join_hints,
        region_hints,
        trajectory_hints,
    )
    from selfsup_motion.methods.cmp.method import BASELINES, CMP, MOVING
    from selfsup_motion.methods.cmp.network import CMPNetwork
    from selfsup_motion.methods.cmp.view import CMPView

__all__ = [
    "BASELINES",
    "CMP",
    "MOVING",
    "CMPNetwork",
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

__getattr__, __dir__ = lazy(
    __name__,
    {
        "certainty": ["uncertainty"],
        "exploration": ["Exploration", "explore", "moves_with"],
        "export": ["export_flow"],
        "hints": ["Hints", "borrowed_hints", "join_hints", "region_hints", "trajectory_hints"],
        "method": ["BASELINES", "CMP", "MOVING"],
        "network": ["CMPNetwork"],
        "view": ["CMPView"],
    },
)
