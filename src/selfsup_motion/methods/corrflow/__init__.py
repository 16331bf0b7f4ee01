"""CorrFlow: self-supervised video correspondence flow (Lai & Xie, BMVC 2019)."""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.methods.corrflow.method import CorrFlow
    from selfsup_motion.methods.corrflow.view import CorrFlowView

__all__ = ["CorrFlow", "CorrFlowView"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "method": ["CorrFlow"],
        "view": ["CorrFlowView"],
    },
)
