"""`load_encoder` gives the encoder that was trained: its geometry, and what it sees of an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from selfsup_motion import load_encoder, load_method
from selfsup_motion.models.encoder import input_statistics, sees_clips
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir, options
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder
from selfsup_motion.weights.checkpoints import encoder_config

SIDE = 64
IMAGES = torch.randint(
    0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)
).byte()
CLIPS = torch.stack([IMAGES.roll(time, -1) for time in range(16)], 1)

RESNET = ["encoder=resnet10", "encoder.width=8"]


def of_views(module: Any) -> object:
    """Features of clips in [0, 1]; of single frames for encoders of images."""
    clips = CLIPS if sees_clips(module.encoder) else IMAGES[:, None]
    return module.features(clips.float() / 255)


# how each module that trains looks at images or clips, and commands that make one
MODULES: dict[str, tuple[Callable[[Any], object], list[list[str]]]] = {
    "Segmentation": (
        lambda module: module(IMAGES),
        [["task=toy_seg", *RESNET], ["task=toy_seg_linear", *RESNET]],
    ),
    "InstanceSegmentation": (
        lambda module: module(IMAGES, torch.full((2, 2), SIDE)),
        [
            ["task=toy_instances", *RESNET],
            ["task=toy_instances", *RESNET, "encoder.output_stride=16", "method.frozen_stages=2"],
            ["task=toy_instances", *RESNET, "method.freeze_norm=true"],
        ],
    ),
    "ActionFinetuning": (
        lambda module: module(CLIPS),
        [["task=toy_actions_finetune", "encoder=r3d8"], ["task=toy_actions_finetune", *RESNET]],
    ),
    "CMD": (lambda module: module(CLIPS.float() / 255), [["experiment=cmd"]]),
    "CMP": (lambda module: module.features(IMAGES), [["experiment=cmp", *RESNET]]),
    "CorrFlow": (
        lambda module: module(IMAGES.float() / 255),
        [["experiment=corrflow"], ["experiment=corrflow", *RESNET]],
    ),
    "CRW": (lambda module: module(IMAGES.float() / 255), [["experiment=crw"]]),
    "CycleTime": (lambda module: module(IMAGES.float() / 255), [["experiment=cycletime"]]),
    "DenseUlearn": (lambda module: module(IMAGES.float() / 255), [["experiment=dense_ulearn"]]),
    "DSM": (of_views, [["experiment=dsm"]]),
    "MAST": (lambda module: module(IMAGES.float() / 255), [["experiment=mast"]]),
    "MoSI": (
        lambda module: module(module.normalised(CLIPS)),
        [["experiment=mosi", "encoder=r3d8"]],
    ),
    "RhoBYOL": (of_views, [["experiment=rho_byol"]]),
    "RhoMoCo": (of_views, [["experiment=rho_moco"], ["experiment=rho_moco", *RESNET]]),
    "RhoSimCLR": (of_views, [["experiment=rho_simclr"]]),
    "RhoSwAV": (of_views, [["experiment=rho_swav"]]),
    "WMSE": (of_views, [["experiment=wmse"]]),
}
COMMANDS = [(kind, command) for kind, (_, commands) in MODULES.items() for command in commands]


def make(command: list[str]) -> tuple[pl.LightningModule, dict[str, Any]]:
    """The module of a command line, and what its checkpoints say of it."""
    torch.manual_seed(0)
    trains = command[0].startswith("task=")
    cfg = compose(command, config_name="evaluate" if trains else "train")
    if trains and cfg.method.get("classes", ()) is None:  # which the videos tell
        cfg.method.classes = ["left", "right", "up"]
    parts = {"encoder": build(cfg.encoder, "encoder")} if trains else {}
    module = build(cfg.method, "method", **parts)
    for layer in module.encoder.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):  # as after a training
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)
    config = {
        name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("method", "encoder")
    }
    return module, config


def save(module: nn.Module, config: dict[str, Any], path: Path) -> Path:
    ours = {"version": "0", "experiment": "x", "config": config}
    content = {"state_dict": module.state_dict(), "global_step": 1, "selfsup_motion": ours}
    torch.save(content, path)
    return path


def first_input(network: nn.Module, encoder: nn.Module, look: Callable[[], object]) -> Tensor:
    """What the encoder's first convolution sees while `network` looks at something."""
    first = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    seen: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        look()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(("kind", "command"), COMMANDS)
def test_the_loaded_encoder_is_the_trained_one(kind, command, tmp_path) -> None:
    module, config = make(command)
    assert type(module).__name__ == kind
    path = save(module, config, tmp_path / "x.ckpt")
    trained = module.train().eval().encoder.double()
    mean, deviation = input_statistics(trained)
    images = (IMAGES - mean).double() / deviation
    x = images[:, :, None].expand(2, 3, 8, SIDE, SIDE) if sees_clips(trained) else images
    rebuilt = build(OmegaConf.create(encoder_config(path)), "encoder")
    rebuilt.load_state_dict(trained.state_dict())
    for loaded in (load_encoder(path), load_method(path).encoder, rebuilt):
        with torch.no_grad():
            torch.testing.assert_close(loaded.double().eval()(x), trained(x))
        assert loaded.stride == trained.stride


@pytest.mark.parametrize(("kind", "command"), COMMANDS)
def test_it_sees_images_as_it_was_trained_to(kind, command, tmp_path) -> None:
    module, config = make(command)
    loaded = load_encoder(save(module, config, tmp_path / "x.ckpt"))
    seen = first_input(module, module.encoder, lambda: MODULES[kind][0](module.eval()))
    clips = sees_clips(loaded) or kind == "ActionFinetuning"
    user: nn.Module = ClipFeatures(loaded) if clips else FrameEncoder(loaded)
    wanted = first_input(user, loaded, lambda: user(CLIPS if clips else IMAGES))
    torch.testing.assert_close(seen, wanted)


def test_everything_that_trains_is_tried_here() -> None:
    files = (
        [
            config_dir() / group / f"{name}.yaml"
            for group in ("method", "task")
            for name in options(group)
        ]
        + sorted((config_dir() / "task").glob("_*.yaml"))
        + sorted((config_dir() / "method").glob("_*.yaml"))
    )
    named = {
        str(target).rpartition(".")[2]
        for file in files
        if (target := OmegaConf.select(OmegaConf.load(file), "method._target_"))
    }
    assert named == set(MODULES)
