"""The authors' own code beside ours, from a checkout of yours.

    python benchmarks/external.py --checkout PATH [--device cuda] [--size 256] [--batch 1]

PATH is a clone of CMP (github.com/XiaohangZhan/conditional-motion-propagation) or of CorrFlow
(github.com/zlai0/CorrFlow); its files tell which. Their networks are imported from there, ours are
given their weights, and both see the same input: forward passes must agree, forward and backward
passes are timed. What cannot be run here is said in a sentence. Nothing is stored.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from measuring import Call, Comparison, Make, measure, scratch
from page import table
from torch import Tensor, nn

from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.weights.checkpoints import load_encoder, load_method

PROJECTS = {  # files that no other project has together
    "CMP": ("models/modules/cmp.py", "models/modules/decoder.py", "losses.py"),
    "CorrFlow": ("models/corrflow.py", "models/colorizer.py", "models/submodule.py"),
}
THEIRS, OURS = "the authors' code", "ours"


class Cannot(Exception):
    """Something that cannot be measured here; the message is a sentence."""


def project(checkout: Path) -> str:
    """The name of the project in a folder.

    Raises:
        Cannot: it is none of those that are known.
    """
    if not checkout.is_dir():
        raise Cannot(f"--checkout {checkout}: there is no such folder.")
    for name, files in PROJECTS.items():
        if all((checkout / file).is_file() for file in files):
            return name
    needed = "; ".join(f"{name} has {', '.join(files)}" for name, files in PROJECTS.items())
    raise Cannot(f"--checkout {checkout}: this is neither CMP nor CorrFlow ({needed}).")


def module_of(name: str) -> ModuleType:
    """A module of the checkout.

    Raises:
        Cannot: it cannot be imported; the message says why.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever their code raises with today's packages
        reason = f"{type(error).__name__}: {error}"
        raise Cannot(f"{name} of the checkout cannot be imported ({reason})") from error


def passes(made: Callable[[], tuple[nn.Module, Callable[[], Tensor]]], train: bool) -> Make:
    """Forward, or in training mode forward and backward from ones."""

    def make() -> Call:
        network, ask = made()
        network.train(train)

        def call() -> float:
            with torch.set_grad_enabled(train):
                found = ask()
            if train:
                network.zero_grad()
                found.backward(torch.ones_like(found))
            return float(found.detach().double().abs().sum())

        return call

    return make


def both(
    name: str,
    theirs: Callable[[], tuple[nn.Module, Callable[[], Tensor]]],
    ours: Callable[[], tuple[nn.Module, Callable[[], Tensor]]],
) -> list[Comparison]:
    """Forward passes, which must agree, and forward and backward, where dropout differs."""
    return [
        Comparison(f"{name}, {what}", {THEIRS: passes(theirs, t), OURS: passes(ours, t)}, agree=a)
        for what, t, a in (("forward", False, 1e-3), ("forward and backward", True, None))
    ]


def checkpoint_of(theirs: nn.Module) -> Path:
    """The weights of theirs as one of their checkpoints, which ours reads."""
    renamed = {
        # as it was called in their first commits
        f"module.{name.replace('sparse_encoder.', 'flow_encoder.')}": value
        for name, value in theirs.state_dict().items()
    }
    path = scratch() / "weights.pth.tar"
    torch.save({"state_dict": renamed}, path)
    return path


# --- CMP -----------------------------------------------------------------------------------------


def cmp(checkout: Path, device: str, size: int | None, batch: int) -> Iterator[Comparison]:
    recipe = cmp_recipe(checkout)
    params = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    module, side = params["model"]["module"], size or params["data"]["crop_size"][0]
    networks = module_of("models").modules
    torch.manual_seed(0)
    built = getattr(networks, module["arch"])({**module, "pretrained_image_encoder": False})
    method: Any = load_method(checkpoint_of(built))
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (batch, 3, side, side), generator=generator).byte()
    flow = 5 * torch.randn(batch, 2, side, side, generator=generator)
    mask = (torch.rand(batch, 1, side, side, generator=generator) < 1e-3).float()
    guidance = torch.cat([flow * mask, mask, mask], 1)

    def theirs() -> tuple[nn.Module, Callable[[], Tensor]]:
        network = built.to(device)
        mean, std = method.get_buffer("mean"), method.get_buffer("std")
        inputs = ((image - mean) / std).to(device), guidance.to(device)
        return network, lambda: network(*inputs)

    def ours() -> tuple[nn.Module, Callable[[], Tensor]]:
        network, inputs = method.to(device), (image.to(device), guidance.to(device))
        return network, lambda: network.spread_image(network.features(inputs[0]), inputs[1])[0]

    name = f"CMP, {recipe.parent.name}, batch {batch}, {side} × {side}"
    yield from both(name, theirs, ours)
    if module["flow_criterion"] != "DiscreteLoss" or not isinstance(method.motion_code, FlowBins):
        print(f"The loss {module['flow_criterion']} is not compared: only DiscreteLoss is.")
        return
    if device == "cpu":
        print("The authors' loss is not measured: it makes tensors of CUDA; use --device cuda.")
        return
    losses = module_of("losses")

    def with_loss(
        made: Callable[[], tuple[nn.Module, Callable[[], Tensor]]], own: bool
    ) -> Callable[[], tuple[nn.Module, Callable[[], Tensor]]]:
        def asked() -> tuple[nn.Module, Callable[[], Tensor]]:
            network, ask = made()
            target, valid = flow.to(device), torch.ones(batch, side, side).bool().to(device)
            if own:
                return network, lambda: method.motion_code.loss(ask(), target, valid)
            loss = losses.DiscreteLoss(nbins=module["nbins"], fmax=module["fmax"])
            return network, lambda: loss(ask(), target)

        return asked

    yield from both(f"{name}, with the loss", with_loss(theirs, False), with_loss(ours, True))


def cmp_recipe(checkout: Path) -> Path:
    """The config of one of their experiments: AlexNet on YFCC, or the first one."""
    found = sorted(checkout.glob("experiments/*/*/config.yaml"))
    if not found:
        raise Cannot(f"{checkout} has no experiments/*/*/config.yaml, which say how CMP is built.")
    return next((path for path in found if path.parent.name == "alexnet_yfcc"), found[0])


# --- CorrFlow ------------------------------------------------------------------------------------


def corrflow(checkout: Path, device: str, size: int | None, batch: int) -> Iterator[Comparison]:
    side = size or 256
    submodule = module_of("models.submodule")
    torch.manual_seed(0)
    encoder = nn.Module()
    encoder.feature_extraction = submodule.ResNet18(3)
    encoder.post_convolution = nn.Conv2d(256, 64, 3, 1, 1)
    encoder.post_convolution.weight.data *= 0.1  # scores that a softmax can tell apart
    method = load_encoder(checkpoint_of(encoder))
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, batch, 3, side, side, generator=generator)
    classes = torch.randint(0, 16, (batch, side // 4, side // 4), generator=generator)
    labels = F.one_hot(classes, 16).movedim(-1, 1).float()
    pixels = F.interpolate(labels, scale_factor=4.0)  # cells of one colour: no label is blended

    def theirs() -> tuple[nn.Module, Callable[[], Tensor]]:
        network, image = encoder.to(device), frames[0].to(device)
        return network, lambda: network.post_convolution(network.feature_extraction(image))

    def ours() -> tuple[nn.Module, Callable[[], Tensor]]:
        network, image = method.to(device), frames[0].to(device)
        return network, lambda: network(image)

    where = f"batch {batch}, {side} × {side}"
    yield from both(f"CorrFlow's encoder, {where}", theirs, ours)
    try:
        colorizer = module_of("models.colorizer")
    except Cannot as reason:
        print(
            f"The authors' correlation is not measured: {reason}; it needs the extension of "
            "pip install spatial-correlation-sampler, which is compiled (for --device cuda with "
            "CUDA's compiler)."
        )
        return

    def pointer() -> tuple[nn.Module, Callable[[], Tensor]]:
        copy, feats = colorizer.Colorizer().to(device), Features(side, batch, device)
        values = pixels.to(device)
        return feats, lambda: copy(feats.reference, feats.target, values)

    def attention() -> tuple[nn.Module, Callable[[], Tensor]]:
        feats, values = Features(side, batch, device), labels.to(device)
        return feats, lambda: restricted_attention(feats.target, feats.reference, values, 6)

    yield from both(f"CorrFlow's copy of colours, {where}", pointer, attention)

    def their_pair() -> tuple[nn.Module, Callable[[], Tensor]]:
        network, _ = theirs()
        copy, values, pair = colorizer.Colorizer().to(device), pixels.to(device), frames.to(device)

        def encoded(frame: Tensor) -> Tensor:
            return network.post_convolution(network.feature_extraction(frame))  # type: ignore[operator]

        return network, lambda: copy(encoded(pair[0]), encoded(pair[1]), values)

    def our_pair() -> tuple[nn.Module, Callable[[], Tensor]]:
        network, values, pair = method.to(device), labels.to(device), frames.to(device)
        return network, lambda: restricted_attention(network(pair[1]), network(pair[0]), values, 6)

    yield from both(f"CorrFlow, a pair of frames, {where}", their_pair, our_pair)


class Features(nn.Module):
    """Of two frames, as parameters, so that both forms have gradients with respect to them."""

    def __init__(self, side: int, batch: int, device: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        made = torch.randn(2, batch, 64, side // 4, side // 4, generator=generator).to(device)
        self.reference, self.target = (nn.Parameter(0.3 * x) for x in made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, required=True, help="folder of the authors' code")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", type=int, help="side of the images; default: as published")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="for each table")
    parser.add_argument("--repeats", type=int, default=9, help="most calls of each form")
    args = parser.parse_args()
    failed = False
    try:
        # without starting CUDA, which forbids to fork the processes of the forms
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        if args.device == "cuda" and not torch.cuda.is_available():
            raise Cannot("--device cuda: PyTorch finds no CUDA device here.")
        measured = {"CMP": cmp, "CorrFlow": corrflow}[project(args.checkout)]
        # only now: names such as `models` are those of the checkout
        sys.path.insert(0, str(args.checkout.resolve()))
        for comparison in measured(args.checkout, args.device, args.size, args.batch):
            try:
                chosen = replace(comparison, repeats=args.repeats)
                found = measure(chosen, args.device, args.seconds)
            except RuntimeError as error:
                failed = True
                print(f"{comparison.name} was not measured: {str(error).splitlines()[-1]}")
            else:
                print(table(found), flush=True)
    except Cannot as reason:
        sys.exit(f"{reason}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
