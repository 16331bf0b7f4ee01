"""Weights that the papers' authors and others published: what to build for them, and our names.

A kind of file is recognised by the names and shapes of its weights. To add one, append a `Format`
to `FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import Tensor

from selfsup_motion.settings.completion import completing
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.resolvers import register_resolvers

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Format:
    """One kind of published file.

    Attributes:
        name: for messages.
        matches: whether weights are of this kind, by names (without `module.`) and shapes.
        overrides: the command line of `train` whose config fits these weights.
        rename: our name in the method for one of theirs, `encoder.…` for what transfers; None if
            it is not used.
        whole: the file holds a whole method, not only its encoder.
    """

    name: str
    matches: Callable[[Weights], bool]
    overrides: Callable[[Weights], list[str]]
    rename: Callable[[str], str | None]
    whole: bool


def recognise(weights: Weights) -> Format | None:
    """The kind of these weights; None if it is not known."""
    return next((known for known in FORMATS if known.matches(weights)), None)


def by_prefix(ours: Mapping[str, str]) -> Callable[[str], str | None]:
    """`Format.rename` that replaces the beginning of a name; names with another are not used."""

    def rename(name: str) -> str | None:
        for theirs, own in ours.items():
            if name.startswith(theirs):
                return own + name.removeprefix(theirs)
        return None

    return rename


def compose_parts(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved `method` and `encoder` of a config; an application of Hydra may be running.

    Raises:
        hydra.errors.HydraException: an override that cannot be applied.
    """
    register_resolvers()
    application = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with completing(), hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = hydra.compose("train", overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = application
    parts = {key: cfg.get(key) for key in ("method", "encoder")}
    return {key: OmegaConf.to_container(node, resolve=True) for key, node in parts.items() if node}


# --- CMP -----------------------------------------------------------------------------------------


def _is_cmp(weights: Weights) -> bool:
    needed = {"flow_encoder.features.0.weight", "flow_decoder.head.weight"}
    return needed <= weights.keys() and _is_cmp_encoder(_below("image_encoder.", weights))


def _cmp_overrides(weights: Weights) -> list[str]:
    encoder = _encoder_overrides(_below("image_encoder.", weights))
    if "flow_decoder.fusion8.0.weight" in weights:
        recipe = ["experiment=paper/cmp_resnet50_annotation"]
    else:
        name = "alexnet" if encoder[0] == "encoder=alexnet" else "resnet50"
        scales = [s for s in (1, 2, 4, 8) if any(f"decoder{s}." in key for key in weights)]
        recipe = [f"experiment=paper/cmp_{name}", f"method.propagation.scales={scales}"]
    classes = weights["flow_decoder.head.weight"].shape[0]
    return [*recipe, *encoder, f"method.motion_code.num_bins={classes // 2}"]


def _is_cmp_encoder(weights: Weights) -> bool:
    return "conv8.weight" in weights or ("conv5.weight" in weights and _is_resnet(weights))


def _is_resnet(weights: Weights) -> bool:
    return {"conv1.weight", "layer4.0.conv1.weight"} <= weights.keys()


def _encoder_overrides(weights: Weights) -> list[str]:
    """What builds an AlexNet or a ResNet with these weights; no weight tells the output stride."""
    if "conv8.weight" in weights:
        return ["encoder=alexnet", f"encoder.out_channels={len(weights['conv8.weight'])}"]
    blocks = len({name.split(".")[1] for name in weights if name.startswith("layer3.")})
    bottleneck = "layer3.0.conv3.weight" in weights
    depth = {1: 10, 2: 18, 6: 50 if bottleneck else 34, 23: 101}.get(blocks, 50)
    channels = len(weights["conv5.weight"]) if "conv5.weight" in weights else "null"
    return [
        f"encoder=resnet{depth}",
        f"encoder.width={len(weights['conv1.weight'])}",
        f"encoder.out_channels={channels}",
    ]


# --- CorrFlow ------------------------------------------------------------------------------------


def _is_corrflow(weights: Weights) -> bool:
    return {"feature_extraction.layer1.0.left.0.weight", "post_convolution.weight"} <= set(weights)


def _corrflow_overrides(weights: Weights) -> list[str]:
    layers = {name.split(".")[1] for name in weights if name.startswith("feature_extraction.layer")}
    first = [f"feature_extraction.{layer}.0.left.0.weight" for layer in sorted(layers)]
    blocks = {
        name.split(".")[2] for name in weights if name.startswith("feature_extraction.layer1")
    }
    return [
        "encoder=corrflow_resnet18",
        f"encoder.widths={[len(weights[name]) for name in first]}",
        f"encoder.blocks={len(blocks)}",
        f"encoder.out_channels={len(weights['post_convolution.weight'])}",
    ]


def _below(prefix: str, weights: Weights) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _rename_encoder(name: str) -> str | None:
    return None if name.startswith("fc.") else f"encoder.{name}"


# --- CRW -----------------------------------------------------------------------------------------

_PADDED_CONVOLUTION = re.compile(r"(conv\d)\.1\.")
"""Older files have a convolution below a module that pads."""


def _is_crw(weights: Weights) -> bool:
    first = {"encoder.model.conv1.weight", "encoder.model.conv1.1.weight"} & weights.keys()
    return bool(first) and "selfsim_fc.0.weight" in weights


def _crw_overrides(weights: Weights) -> list[str]:
    stem = next(w for name, w in weights.items() if name.startswith("encoder.model.conv1."))
    head = [w for name, w in weights.items() if name.startswith("selfsim_fc.") and w.ndim == 2]
    return [
        "experiment=paper/crw_kinetics",
        f"encoder.width={len(stem)}",
        f"method.head_depth={len(head) - 1}",
        f"method.dim={len(head[-1])}",
    ]


def _rename_crw(name: str) -> str | None:
    ours = by_prefix({"encoder.model.": "encoder.", "selfsim_fc.": "head."})(name)
    return None if ours is None else _PADDED_CONVOLUTION.sub(r"\1.", ours)


# --- MoSI and other networks of clips ------------------------------------------------------------

_MOSI_RENAME = {"backbone.": "encoder.", "head.out_joint.": "head.out_joint."}


def _is_mosi_encoder(weights: Weights) -> bool:
    return {
        "backbone.conv5.res_1.short_cut.weight",
        "backbone.conv2.res_1.conv_branch.b_bn.weight"
        if "backbone.conv1.a.weight" in weights
        else "backbone.conv1.a2.weight",
    } <= weights.keys()


def _is_mosi(weights: Weights) -> bool:
    return "head.out_joint.weight" in weights and _is_mosi_encoder(weights)


def _mosi_overrides(weights: Weights) -> list[str]:
    name = "r2d3d" if "backbone.conv1.a.weight" in weights else "r2p1d"
    # decoupled motions along both axes, with stillness: two classes for each speed but zero
    speeds = (len(weights["head.out_joint.weight"]) + 1) // 2
    return [f"experiment=paper/mosi_{name}_ucf", f"motion.speeds={speeds}"]


def _mosi_encoder_overrides(weights: Weights) -> list[str]:
    return [f"encoder={'r2d3d18' if 'backbone.conv1.a.weight' in weights else 'r2p1d10'}"]


def _video_overrides(weights: Weights) -> list[str]:
    """torchvision's networks of clips differ in where their kernels span time."""
    if "features.0.0.0.weight" in weights:
        return ["encoder=s3d"]
    if "stem.3.weight" in weights:
        return ["encoder=r2plus1d_18"]
    flat = weights["layer2.0.conv1.0.weight"].shape[2] == 1
    return ["encoder=mc3_18" if flat else "encoder=r3d_18"]


def _is_video_network(weights: Weights) -> bool:
    residual = {"stem.0.weight", "layer2.0.conv1.1.weight"} <= weights.keys()
    return residual or "features.0.0.0.weight" in weights


def _rename_video_network(name: str) -> str | None:
    return None if name.startswith(("fc.", "classifier.")) else f"encoder.{name}"


FORMATS: list[Format] = [
    Format(
        name="CMP",
        matches=_is_cmp,
        overrides=_cmp_overrides,
        rename=by_prefix(
            {
                "image_encoder.": "encoder.",
                "flow_encoder.": "propagation.flow_encoder.",
                "flow_decoder.": "propagation.flow_decoder.",
            }
        ),
        whole=True,
    ),
    Format(
        name="CMP encoder",
        matches=_is_cmp_encoder,
        overrides=_encoder_overrides,
        rename=_rename_encoder,
        whole=False,
    ),
    Format(
        name="CorrFlow",
        matches=_is_corrflow,
        overrides=_corrflow_overrides,
        rename=by_prefix(
            {
                "feature_extraction.": "encoder.feature_extraction.",
                "post_convolution.": "encoder.post_convolution.",
            }
        ),
        whole=False,
    ),
    Format(
        name="CRW",
        matches=_is_crw,
        overrides=_crw_overrides,
        rename=_rename_crw,
        whole=True,
    ),
    Format(
        name="torchvision ResNet",
        matches=_is_resnet,
        overrides=_encoder_overrides,
        rename=_rename_encoder,
        whole=False,
    ),
    Format(
        name="MoSI",
        matches=_is_mosi,
        overrides=_mosi_overrides,
        rename=by_prefix(_MOSI_RENAME),
        whole=True,
    ),
    Format(
        name="MoSI encoder",
        matches=_is_mosi_encoder,
        overrides=_mosi_encoder_overrides,
        rename=by_prefix({"backbone.": "encoder."}),
        whole=False,
    ),
    Format(
        name="torchvision network of clips",
        matches=_is_video_network,
        overrides=_video_overrides,
        rename=_rename_video_network,
        whole=False,
    ),
]
