"""Pure functions on tensors, one topic a module. The most useful ones can be taken from here:
`selfsup_motion.ops.backward_warp`.
"""

from pkgutil import iter_modules
from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.ops.attention import local_correlation, restricted_attention
    from selfsup_motion.ops.color import LabQuantizer, lab_to_rgb, rgb_to_lab
    from selfsup_motion.ops.flow import FlowBins, end_point_error
    from selfsup_motion.ops.flow_color import flow_to_color
    from selfsup_motion.ops.flow_io import read_flow, write_flow
    from selfsup_motion.ops.guidance import rasterize_guidance, sample_guidance
    from selfsup_motion.ops.interpolate import edge_aware_interpolation, nearest_interpolation
    from selfsup_motion.ops.mask_metrics import contour_accuracy, region_similarity
    from selfsup_motion.ops.motion_code import FlowRegression, JointBins, MotionCode, PolarBins
    from selfsup_motion.ops.pseudo_motion import PseudoMotion
    from selfsup_motion.ops.splat import softmax_splat
    from selfsup_motion.ops.warp import backward_warp, forward_warp

__all__ = [
    "FlowBins",
    "FlowRegression",
    "JointBins",
    "LabQuantizer",
    "MotionCode",
    "PolarBins",
    "PseudoMotion",
    "backward_warp",
    "contour_accuracy",
    "edge_aware_interpolation",
    "end_point_error",
    "flow_to_color",
    "forward_warp",
    "lab_to_rgb",
    "local_correlation",
    "nearest_interpolation",
    "rasterize_guidance",
    "read_flow",
    "region_similarity",
    "restricted_attention",
    "rgb_to_lab",
    "sample_guidance",
    "softmax_splat",
    "write_flow",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "attention": ["local_correlation", "restricted_attention"],
        "color": ["LabQuantizer", "lab_to_rgb", "rgb_to_lab"],
        "flow": ["FlowBins", "end_point_error"],
        "flow_color": ["flow_to_color"],
        "flow_io": ["read_flow", "write_flow"],
        "guidance": ["rasterize_guidance", "sample_guidance"],
        "interpolate": ["edge_aware_interpolation", "nearest_interpolation"],
        "mask_metrics": ["contour_accuracy", "region_similarity"],
        "motion_code": ["FlowRegression", "JointBins", "MotionCode", "PolarBins"],
        "pseudo_motion": ["PseudoMotion"],
        "splat": ["softmax_splat"],
        "warp": ["backward_warp", "forward_warp"],
    },
    [module.name for module in iter_modules(__path__)],
)
