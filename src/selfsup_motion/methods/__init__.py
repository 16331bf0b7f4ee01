"""The methods, a folder for each paper; `selfsup_motion.methods.CMP`."""

from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.methods.cmd import CMD, CMDView
    from selfsup_motion.methods.cmp import CMP, CMPView
    from selfsup_motion.methods.corrflow import CorrFlow, CorrFlowView
    from selfsup_motion.methods.crw import CRW, CRWView
    from selfsup_motion.methods.cycletime import CycleTime, CycleTimeView
    from selfsup_motion.methods.dense_ulearn import DenseUlearn, DenseUlearnView
    from selfsup_motion.methods.dsm import DSM, DSMView
    from selfsup_motion.methods.mast import MAST, MASTView
    from selfsup_motion.methods.mosi import MoSI, MoSIView
    from selfsup_motion.methods.rho import RhoBYOL, RhoMoCo, RhoSimCLR, RhoSwAV, RhoView
    from selfsup_motion.methods.wmse import WMSE, WMSEView

__all__ = [
    "CMD",
    "CMP",
    "CRW",
    "DSM",
    "MAST",
    "WMSE",
    "CMDView",
    "CMPView",
    "CRWView",
    "CorrFlow",
    "CorrFlowView",
    "CycleTime",
    "CycleTimeView",
    "DSMView",
    "DenseUlearn",
    "DenseUlearnView",
    "MASTView",
    "MoSI",
    "MoSIView",
    "RhoBYOL",
    "RhoMoCo",
    "RhoSimCLR",
    "RhoSwAV",
    "RhoView",
    "WMSEView",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "cmd": ["CMD", "CMDView"],
        "cmp": ["CMP", "CMPView"],
        "corrflow": ["CorrFlow", "CorrFlowView"],
        "crw": ["CRW", "CRWView"],
        "cycletime": ["CycleTime", "CycleTimeView"],
        "dense_ulearn": ["DenseUlearn", "DenseUlearnView"],
        "dsm": ["DSM", "DSMView"],
        "mast": ["MAST", "MASTView"],
        "mosi": ["MoSI", "MoSIView"],
        "rho": ["RhoBYOL", "RhoMoCo", "RhoSimCLR", "RhoSwAV", "RhoView"],
        "wmse": ["WMSE", "WMSEView"],
    },
    [
        "cmd",
        "cmp",
        "corrflow",
        "crw",
        "cycletime",
        "dense_ulearn",
        "dsm",
        "mast",
        "mosi",
        "parts",
        "rho",
        "wmse",
    ],
)
