"""Pseudo-motion: ours against the published recipe, class by class.

    python benchmarks/mosi_generator.py [--device cuda]

Both make the nine clips of 16 frames of 112² of an image of 320x240 that is already decoded, as
normalised floats, from the resizing on. The published recipe works class by class: resizing, crop,
windows, colour frame by frame, flip, mask. Ours resizes an image once and renders all clips of a
batch together, into the memory of the last batch. On a GPU only ours renders there.
"""

from __future__ import annotations

import random

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from measuring import Call, Comparison, Make, run
from torch import Tensor

from selfsup_motion.data.clip import Clip
from selfsup_motion.settings.compose import compose

FIELD, SIZE, LENGTH, LEVELS = 320, 112, 16, 2
IMAGES = 4
WEIGHTS = (0.299, 0.587, 0.114)


def grey(clip: Tensor) -> Tensor:
    """(3, T, H, W) → the same shape."""
    return sum(w * c for w, c in zip(WEIGHTS, clip, strict=True)).expand_as(clip)


def turn_hue(clip: Tensor, shift: Tensor) -> Tensor:
    """(3, T, H, W) through HSV and back."""
    red, green, _ = clip
    value, low = clip.amax(0), clip.amin(0)
    chroma = value - low
    flat = chroma == 0
    one = torch.ones_like(value)
    saturation = chroma / torch.where(flat, one, value)
    scale = torch.where(flat, one, chroma)
    to_red, to_green, to_blue = ((value - c) / scale for c in clip)
    hue = (value == red) * (to_blue - to_green)
    hue = hue + ((value == green) & (value != red)) * (2 + to_red - to_blue)
    hue = hue + ((value != green) & (value != red)) * (4 + to_green - to_red)
    hue = (torch.fmod(hue / 6 + 1, 1) + shift) % 1
    sector = torch.floor(hue * 6)
    part = hue * 6 - sector
    sector = sector.to(torch.int32) % 6
    p = (value * (1 - saturation)).clamp(0, 1)
    q = (value * (1 - saturation * part)).clamp(0, 1)
    t = (value * (1 - saturation * (1 - part))).clamp(0, 1)
    member = (sector[None] == torch.arange(6).view(6, 1, 1, 1)).to(clip.dtype)
    choices = torch.stack(
        [torch.stack(c) for c in ((value, q, p, p, t, value), (t, value, value, q, p, p),
                                  (p, p, t, value, value, q))]
    )  # fmt: skip
    return torch.einsum("ithw,xithw->xthw", member, choices)


def jitter(clip: Tensor) -> Tensor:
    """All four changes, an independent factor for every frame, in random order."""
    if random.random() < 0.3:
        clip = grey(clip)
    for change in random.sample(range(4), 4):
        factor = torch.empty(1, LENGTH, 1, 1).uniform_(0.5, 1.5)
        if change == 0:
            clip = (clip * factor).clamp(0, 1)
        elif change == 1:
            mean = grey(clip).mean((0, 2, 3), keepdim=True)
            clip = (clip * factor + (1 - factor) * mean).clamp(0, 1)
        elif change == 2:
            clip = (clip * factor + (1 - factor) * grey(clip)).clamp(0, 1)
        else:
            clip = turn_hue(clip, torch.empty(LENGTH, 1, 1).uniform_(-0.25, 0.25))
    return clip


def published(image: Tensor, speeds: list[tuple[int, int]], color: bool) -> Tensor:
    """(H, W, 3) uint8 → (C, 3, T, size, size)."""
    clips = []
    for speed in speeds:
        height, width = image.shape[:2]
        short = min(height, width)
        size = [FIELD if s == short else int(FIELD / short * s) for s in (height, width)]
        planes = image.permute(2, 0, 1)[None].float()
        resized = F.interpolate(planes, size, mode="bilinear", align_corners=False)[0]
        resized = resized.permute(1, 2, 0).to(torch.uint8)
        top, left = (random.randint(0, s - FIELD) for s in size)
        area = resized[top : top + FIELD, left : left + FIELD]
        paths, room = [], FIELD - SIZE
        for step in speed:
            way = room * step / LEVELS
            start = random.randint(int(max(0, -way)), int(min(room, room - way)))
            paths.append(np.linspace(start, start + way, LENGTH).astype(int).clip(0, room))
        clip = torch.stack([area[y : y + SIZE, x : x + SIZE] for x, y in zip(*paths, strict=True)])
        clip = clip.float().div(255).permute(3, 0, 1, 2)
        if color:
            clip = jitter(clip)
        clip = (clip - 0.45) / 0.225
        if random.random() < 0.5:
            clip = clip.flip(-1)
        frozen, side = random.randrange(LENGTH), int(SIZE * random.uniform(0.3, 0.5))
        x, y = random.randint(0, SIZE - side), random.randint(0, SIZE - side)
        masked = clip[:, frozen : frozen + 1].repeat(1, LENGTH, 1, 1)
        masked[:, :, y : y + side, x : x + side] = clip[:, :, y : y + side, x : x + side]
        clips.append(masked)
    return torch.stack(clips)


def images() -> list[np.ndarray]:
    coarse = np.random.default_rng(0).integers(0, 256, (IMAGES, 30, 40, 3), np.uint8)
    return [cv2.resize(c, (320, 240), interpolation=cv2.INTER_CUBIC) for c in coarse]


def old(color: bool) -> Make:
    def make() -> Call:
        speeds = list(instantiate(compose(["method=mosi"]).motion).classes.table)
        given = [torch.from_numpy(image) for image in images()]

        def call() -> None:
            for image in given:
                published(image, speeds, color)

        return call

    return make


def ours(color: str, device: str) -> Make:
    """The view of each image, then one call for all clips."""

    def make() -> Call:
        cfg = compose(["experiment=paper/mosi_r2d3d_hmdb", "data.root=.", f"view.color={color}"])
        view = instantiate(cfg.view, _convert_="all", published_resize=False)
        clips = [Clip(frames=i.transpose(2, 0, 1)[None], key="") for i in images()]
        rng = np.random.default_rng(0)
        mean, std = (torch.full((3,), v, device=device) for v in (0.45, 0.225))
        memory: list[Tensor | None] = [None]

        def call() -> None:
            samples = [view(clip, rng) for clip in clips]
            batch = {k: torch.stack([s[k] for s in samples]).to(device) for k in samples[0]}
            batch.pop("motion")
            out = view.motion.render(batch.pop("image"), mean=mean, std=std, out=memory[0], **batch)
            memory[0] = out if device == "cpu" else None

        return call

    return make


def comparisons(device: str) -> list[Comparison]:
    forms = {
        "with colour": {
            "published, colour per frame": old(True),
            "ours, colour per frame": ours("frame", device),
            "ours, colour per clip": ours("clip", device),
        },
        "without colour": {"published": old(False), "ours": ours("none", device)},
    }
    return [
        Comparison(f"clips {name}", makes, repeats=8, unit="clip", count=9 * IMAGES)
        for name, makes in forms.items()
    ]


if __name__ == "__main__":
    run(comparisons)
