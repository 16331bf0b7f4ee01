"""CorrFlow: self-supervised video correspondence flow (Lai & Xie, BMVC 2019)."""

from selfsup_motion.methods.corrflow.method import CorrFlow
from selfsup_motion.methods.corrflow.view import CorrFlowView

__all__ = ["CorrFlow", "CorrFlowView"]
