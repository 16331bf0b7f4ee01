"""Changes of colour equal those of the published generator, one by one and all together."""

from __future__ import annotations

import math
import random

import pytest
import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

from selfsup_motion.ops.color_jitter import color_jitter

GREY = 2e-4
"""Published grey has 0.299 where ours, as torchvision's, has 0.2989."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@pytest.fixture
def arrays(golden) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in golden("mosi/colour.npz").items()}


def changed(clip: Tensor, column: int, factor: Tensor | float) -> Tensor:
    """(3, T, H, W) → the same, one of the four changed by one factor or by one per frame."""
    frames = clip.transpose(0, 1)
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(frames), 1)
    factors[:, column] = factor
    return color_jitter(frames, factors).transpose(0, 1)


def test_each_change_is_the_published_one(arrays):
    each, turns = arrays["f_perframe"].view(-1), arrays["hue_f"].view(-1)
    for key, column, factor, tolerance in (
        ("gray", SATURATION, 0.0, GREY),
        ("brightness_perframe", BRIGHTNESS, each, 1e-6),
        ("brightness_0.7", BRIGHTNESS, 0.7, 1e-6),
        ("contrast_perframe", CONTRAST, each, GREY),
        ("contrast_0.7", CONTRAST, 0.7, GREY),
        ("saturation_perframe", SATURATION, each, GREY),
        ("saturation_0.7", SATURATION, 0.7, GREY),
        ("hue_perframe", HUE, turns, 1e-5),
        ("hue_0.2", HUE, 0.2, 1e-5),
    ):
        ours = changed(arrays["x"], column, factor)
        torch.testing.assert_close(ours, arrays[key], atol=tolerance, rtol=0, msg=key)


def test_turning_the_hue_is_adding_to_the_published_hue(arrays):
    """Ours makes no HSV image; the published one, with its hue shifted, is the same colours."""
    hsv = arrays["hsv"].transpose(0, 1).clone()
    torch.testing.assert_close(arrays["rgb_back"], arrays["x"], atol=1e-6, rtol=0)
    own = rgb_to_hsv(arrays["x"].transpose(0, 1))
    torch.testing.assert_close(own[:, 1:], hsv[:, 1:], atol=1e-5, rtol=0)
    hsv[:, 0] = (hsv[:, 0] + 0.2) % 1 * 2 * math.pi
    turned = changed(arrays["x"], HUE, 0.2).transpose(0, 1)
    torch.testing.assert_close(turned, hsv_to_rgb(hsv), atol=1e-5, rtol=0)
    unturned = changed(arrays["x"], HUE, 0.0)
    torch.testing.assert_close(unturned, arrays["rgb_back"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_at_head_nothing_but_the_grey_gate_is_left(arrays, seed):
    random.seed(seed)
    random.uniform(0, 1)  # whether to change colours: with the shipped probability, never
    grey = random.uniform(0, 1) < 0.3
    expected = changed(arrays["x"], SATURATION, 0.0) if grey else arrays["x"]
    torch.testing.assert_close(arrays[f"jitter_head_s{seed}"], expected, atol=GREY, rtol=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["perframe", "consistent"])
def test_the_released_jitter_is_our_four_changes_in_the_order_drawn(arrays, kind, seed):
    """Pre-training draws a factor per frame from torch, fine-tuning one per clip from Python.

    The order is drawn, too; ours is fixed (brightness, contrast, saturation, hue), so the changes
    are made one after the other here.
    """
    random.seed(seed)
    torch.manual_seed(seed)
    random.uniform(0, 1)
    factors: list[Tensor | float] = []
    for low, high in ((0.5, 1.5), (0.5, 1.5), (0.5, 1.5), (-0.25, 0.25)):
        frames = torch.empty(arrays["x"].shape[1])
        one_for_all = random.uniform(low, high) if kind == "consistent" else 0.0
        factors.append(one_for_all if kind == "consistent" else frames.uniform_(low, high))
    order = [BRIGHTNESS, CONTRAST, SATURATION, HUE]
    random.shuffle(order)
    clip = arrays["x"]
    for column in order:
        clip = changed(clip, column, factors[column])
    torch.testing.assert_close(clip, arrays[f"jitter_release_{kind}_s{seed}"], atol=GREY, rtol=0)
