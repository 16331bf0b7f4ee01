"""The methods, a folder for each paper; `selfsup_motion.methods.CMP`."""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.methods.cmp import CMP, CMPView
    from selfsup_motion.methods.corrflow import CorrFlow, CorrFlowView
    from selfsup_motion.methods.crw import CRW, CRWView
    from selfsup_motion.methods.cycletime import CycleTime, CycleTimeView
    from selfsup_motion.methods.dense_ulearn import DenseUlearn, DenseUlearnView
    from selfsup_motion.methods.mast import MAST, MASTView
    from selfsup_motion.methods.mosi import MoSI, MoSIView

__all__ = [
    "CMP",
    "CRW",
    "MAST",
    "CMPView",
    "CRWView",
    "CorrFlow",
    "CorrFlowView",
    "CycleTime",
    "CycleTimeView",
    "DenseUlearn",
    "DenseUlearnView",
    "MASTView",
    "MoSI",
    "MoSIView",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "cmp": ["CMP", "CMPView"],
        "corrflow": ["CorrFlow", "CorrFlowView"],
        "crw": ["CRW", "CRWView"],
        "cycletime": ["CycleTime", "CycleTimeView"],
        "dense_ulearn": ["DenseUlearn", "DenseUlearnView"],
        "mast": ["MAST", "MASTView"],
        "mosi": ["MoSI", "MoSIView"],
    },
    ["cmp", "corrflow", "crw", "cycletime", "dense_ulearn", "mast", "mosi", "parts"],
)
