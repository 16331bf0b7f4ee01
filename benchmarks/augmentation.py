"""Augmentation: per sample in the loader's workers, or batched on the device?

    python benchmarks/augmentation.py [--side 256] [--batch 32] [--device cuda]

The same work in each row: colour jitter (brightness, contrast, saturation, hue, in this order), and
a random crop, resized and flipped. Milliseconds of processor time per image, one thread; the rows
marked with another device are its own time. What is done in a worker also takes the place of
decoding there, what is done batched takes the place of the training step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import cv2
import kornia
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from selfsup_motion.ops.color_jitter import color_jitter, draw_color_jitter

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
Image = np.ndarray


def torchvision_jitter(image: Tensor, factors: list[float]) -> Tensor:
    """(3, H, W) uint8 or float."""
    brightness, contrast, saturation, hue = factors
    image = tv.adjust_contrast(tv.adjust_brightness(image, brightness), contrast)
    image = tv.adjust_saturation(image, saturation)
    return tv.adjust_hue(image, hue) if hue else image


def opencv_jitter(image: Image, factors: list[float]) -> Image:
    """(H, W, 3) uint8; as other libraries do it, with tables of the 256 values."""
    brightness, contrast, saturation, hue = factors
    levels = np.arange(256, dtype=np.float32)
    image = cv2.LUT(image, np.clip(levels * brightness, 0, 255).astype(np.uint8))
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    table = np.clip(levels * contrast + (1 - contrast) * mean, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    if hue:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue in 180 steps
        turned = ((np.arange(256) + round(180 * hue)) % 180).astype(np.uint8)
        hsv[..., 0] = cv2.LUT(hsv[..., 0], turned)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image


def kornia_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """(B, 3, H, W) uint8."""
    out = images.float() / 255
    brightness, contrast, saturation, hue = factors.unbind(1)
    out = (out * brightness[:, None, None, None]).clamp(0, 1)  # its own adds to the values
    out = kornia.enhance.adjust_contrast_with_mean_subtraction(out, contrast)
    out = kornia.enhance.adjust_saturation_with_gray_subtraction(out, saturation)
    return kornia.enhance.adjust_hue(out, 2 * torch.pi * hue) if hue.any() else out


def opencv_crop(image: Image, box: list[int], flip: bool, side: int) -> Image:
    """(H, W, 3) uint8."""
    top, left, size = box
    out = cv2.resize(image[top : top + size, left : left + size], (side, side))
    return cv2.flip(out, 1) if flip else out


def torchvision_crop(image: Tensor, box: list[int], flip: bool, side: int) -> Tensor:
    """(3, H, W) uint8."""
    top, left, size = box
    out = tv.resized_crop(image, top, left, size, size, [side, side], antialias=False)
    return tv.horizontal_flip(out) if flip else out


def batched_crop(images: Tensor, boxes: Tensor, flips: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) uint8; one bilinear look-up."""
    height, width = images.shape[-2:]
    top, left, size = boxes.float().unbind(1)
    scale = torch.stack([size / width, size / height], 1)
    center = torch.stack([(2 * left + size) / width - 1, (2 * top + size) / height - 1], 1)
    scale[:, 0] *= 1 - 2 * flips.float()
    affine = torch.cat([torch.diag_embed(scale), center[..., None]], 2)
    grid = F.affine_grid(affine, [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)


def kornia_crop(images: Tensor, boxes: Tensor, flips: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) uint8."""
    top, left, size = (boxes[:, i].float() for i in range(3))
    right, bottom = left + size - 1, top + size - 1
    corners = torch.stack([left, top, right, top, right, bottom, left, bottom], 1).view(-1, 4, 2)
    out = kornia.geometry.transform.crop_and_resize(images.float(), corners, (side, side))
    return torch.where(flips[:, None, None, None], out.flip(-1), out)


def milliseconds(function: Callable[[], object], images: int, device: str, repeats: int) -> float:
    """Median per image: processor time, or that of another device."""
    times = []
    for _ in range(repeats + 1):
        if device != "cpu":
            torch.cuda.synchronize()
        clock = time.process_time if device == "cpu" else time.perf_counter
        start = clock()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return 1e3 * float(np.median(times[1:])) / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    side, batch, device = arguments.side, arguments.batch, arguments.device
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    # smooth, as pictures are
    small = torch.from_numpy(rng.integers(0, 256, (batch, 3, side // 8, side // 8), np.uint8))
    images = F.interpolate(small.float(), size=(side, side), mode="bicubic").clamp(0, 255).byte()
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]
    with_hue = draw_color_jitter(rng, batch, **JITTER)
    without = with_hue.clone()
    without[:, 3] = 0
    out = side * 7 // 8
    sizes = rng.integers(side // 2, side + 1, batch)
    corners = [rng.integers(0, side - size + 1, 2) for size in sizes]
    boxes = np.array([[*corner, size] for corner, size in zip(corners, sizes, strict=True)])
    flips = rng.random(batch) < 0.5

    def time_of(function: Callable[[], object], on: str = "cpu") -> float:
        return milliseconds(function, batch, on, arguments.repeats)

    def each(function: Callable[..., object], *columns: object) -> Callable[[], object]:
        return lambda: [function(*row) for row in zip(*columns, strict=True)]

    def crop(function: Callable[..., object]) -> Callable[..., object]:
        return lambda image, box, flip: function(image, box, flip, out)

    print(f"{batch} images of {side}x{side}; ms per image\n")
    print(f"{'colour jitter':44}{'without hue':>12}{'with hue':>10}")
    for name, function, inputs in (
        ("worker, torchvision v2 uint8", torchvision_jitter, images),
        ("worker, OpenCV uint8", opencv_jitter, arrays),
    ):
        row = [time_of(each(function, inputs, f.tolist())) for f in (without, with_hue)]
        print(f"{name:44}{row[0]:12.2f}{row[1]:10.2f}")
    devices = ["cpu"] if device == "cpu" else ["cpu", device]
    for on in devices:
        there = images.to(on)
        for name, batched in (("ours", color_jitter), ("kornia", kornia_jitter)):
            row = [time_of(partial(batched, there, f.to(on)), on) for f in (without, with_hue)]
            print(f"{f'batched on {on}, {name} float':44}{row[0]:12.3f}{row[1]:10.3f}")

    print(f"\n{f'crop, resize to {out}, flip':44}{'':12}{'':10}")
    for name, single, inputs in (
        ("worker, torchvision v2 uint8", torchvision_crop, images),
        ("worker, OpenCV uint8", opencv_crop, arrays),
    ):
        value = time_of(each(crop(single), inputs, boxes.tolist(), flips.tolist()))
        print(f"{name:44}{value:12.2f}")
    for on in devices:
        there, where, turned = (
            images.to(on),
            torch.from_numpy(boxes).to(on),
            torch.from_numpy(flips),
        )
        turned = turned.to(on)
        for name, batched in (("grid_sample", batched_crop), ("kornia", kornia_crop)):
            value = time_of(partial(batched, there, where, turned, out), on)
            print(f"{f'batched on {on}, {name} float':44}{value:12.3f}")


if __name__ == "__main__":
    main()
