"""Encoders of images and of clips, and what some methods put behind them;
`selfsup_motion.models.ResNetEncoder`.
"""

from pkgutil import iter_modules
from typing import TYPE_CHECKING

from selfsup_motion.lazy import lazy

if TYPE_CHECKING:
    from selfsup_motion.models.alexnet import AlexNetEncoder
    from selfsup_motion.models.c3d import C3D
    from selfsup_motion.models.color_encoder import ColorPatches, LabColor
    from selfsup_motion.models.corrflow_resnet import CorrFlowResNet
    from selfsup_motion.models.libraries.timm_encoder import TimmEncoder
    from selfsup_motion.models.libraries.torchvision_encoder import TorchvisionEncoder
    from selfsup_motion.models.libraries.transformers_encoder import TransformersEncoder
    from selfsup_motion.models.pyramid_encoder import PyramidEncoder
    from selfsup_motion.models.resnet import ResNetEncoder
    from selfsup_motion.models.resnet3d import ResNet3d
    from selfsup_motion.models.slow_resnet import SlowResNet
    from selfsup_motion.models.small_resnet3d import SmallResNet3d
    from selfsup_motion.models.undilated_resnet import UndilatedResNet
    from selfsup_motion.models.video_networks import TorchvisionVideoEncoder

__all__ = [
    "C3D",
    "AlexNetEncoder",
    "ColorPatches",
    "CorrFlowResNet",
    "LabColor",
    "PyramidEncoder",
    "ResNet3d",
    "ResNetEncoder",
    "SlowResNet",
    "SmallResNet3d",
    "TimmEncoder",
    "TorchvisionEncoder",
    "TorchvisionVideoEncoder",
    "TransformersEncoder",
    "UndilatedResNet",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "alexnet": ["AlexNetEncoder"],
        "c3d": ["C3D"],
        "color_encoder": ["ColorPatches", "LabColor"],
        "corrflow_resnet": ["CorrFlowResNet"],
        "pyramid_encoder": ["PyramidEncoder"],
        "libraries.timm_encoder": ["TimmEncoder"],
        "libraries.torchvision_encoder": ["TorchvisionEncoder"],
        "libraries.transformers_encoder": ["TransformersEncoder"],
        "resnet": ["ResNetEncoder"],
        "resnet3d": ["ResNet3d"],
        "slow_resnet": ["SlowResNet"],
        "small_resnet3d": ["SmallResNet3d"],
        "undilated_resnet": ["UndilatedResNet"],
        "video_networks": ["TorchvisionVideoEncoder"],
    },
    [module.name for module in iter_modules(__path__)],
)
