"""CMP: Conditional Motion Propagation (Zhan et al., CVPR 2019)."""

from selfsup_motion.methods.cmp.method import BASELINES, CMP, MOVING
from selfsup_motion.methods.cmp.view import CMPView

__all__ = ["BASELINES", "CMP", "MOVING", "CMPView"]
