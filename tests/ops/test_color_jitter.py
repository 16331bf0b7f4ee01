from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from selfsup_motion.ops.color_jitter import color_jitter, draw_color_jitter

ALL = {"brightness": 0.4, "contrast": 0.6, "saturation": 1.5, "hue": 0.5}
NONE = dict.fromkeys(ALL, 0.0)


def torchvisions(image: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    brightness, contrast, saturation, hue = factors.tolist()
    image = F.adjust_contrast(F.adjust_brightness(image, brightness), contrast)
    return F.adjust_hue(F.adjust_saturation(image, saturation), hue)


def pictures(seed: int) -> torch.Tensor:
    """Noise, noise of few colours (with ties, greys, black and white), and a dark one; uint8."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (3, 3, 17, 19), generator=generator, dtype=torch.uint8)
    noise[1] = noise[1] // 86 * 127
    noise[2] //= 20
    return noise


@pytest.mark.parametrize("seed", range(20))
def test_jitter_is_torchvisions_one_adjustment_after_the_other(seed):
    images = pictures(seed)
    factors = draw_color_jitter(np.random.default_rng(seed), len(images), **ALL)
    expected = [torchvisions(i / 255, f) for i, f in zip(images, factors, strict=True)]
    for given in (images, images / 255):
        torch.testing.assert_close(
            color_jitter(given, factors), torch.stack(expected), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("part", ALL)
def test_each_part_alone_is_torchvisions(part):
    factors = draw_color_jitter(np.random.default_rng(3), 3, **(NONE | {part: ALL[part]}))
    images = pictures(0) / 255
    expected = [torchvisions(i, f) for i, f in zip(images, factors, strict=True)]
    torch.testing.assert_close(
        color_jitter(images, factors), torch.stack(expected), atol=1e-5, rtol=0
    )


def test_a_batch_is_jittered_as_its_images_are():
    """On other devices the whole batch is computed at once."""
    from selfsup_motion.ops.color_jitter import _adjusted

    images = pictures(1)
    factors = draw_color_jitter(np.random.default_rng(1), 3, **ALL)
    torch.testing.assert_close(
        _adjusted(images, factors, turn=True), color_jitter(images, factors), atol=1e-6, rtol=0
    )


def test_no_jitter_changes_nothing():
    factors = draw_color_jitter(np.random.default_rng(0), 1, **NONE)
    assert factors.tolist() == [[1, 1, 1, 0]]
    images = pictures(0)
    torch.testing.assert_close(color_jitter(images, factors), images / 255, atol=1e-6, rtol=0)


def test_saturation_zero_makes_grey():
    out = color_jitter(pictures(0), torch.tensor([1.2, 0.8, 0.0, 0.3]))
    torch.testing.assert_close(out, out[:, :1].expand_as(out), atol=1e-6, rtol=0)


def test_the_input_stays_as_it_is():
    images = pictures(0) / 255
    before = images.clone()
    color_jitter(images, draw_color_jitter(np.random.default_rng(0), 3, **ALL))
    assert torch.equal(images, before)


def test_a_clip_changes_as_one_or_frame_by_frame():
    clips = pictures(0)[:, None].expand(-1, 4, -1, -1, -1)  # (B, T, 3, H, W)
    rng = np.random.default_rng(0)
    together = torch.stack([draw_color_jitter(rng, 1, **ALL) for _ in range(3)])
    out = color_jitter(clips, together)
    assert out.shape == clips.shape
    assert all(torch.equal(out[:, 0], out[:, t]) for t in range(4))

    apart = torch.stack([draw_color_jitter(rng, 4, **ALL) for _ in range(3)])
    out = color_jitter(clips, apart)
    assert not torch.equal(out[:, 0], out[:, 1])
    torch.testing.assert_close(out[2, 3], color_jitter(clips[2, 3], apart[2, 3]))


def test_factors_fill_torchvisions_ranges():
    factors = draw_color_jitter(np.random.default_rng(0), 5000, **ALL)
    assert factors.dtype == torch.float32
    low, high = torch.tensor([0.6, 0.4, 0.0, -0.5]), torch.tensor([1.4, 1.6, 2.5, 0.5])
    torch.testing.assert_close(factors.amin(0), low, atol=0.01, rtol=0)
    torch.testing.assert_close(factors.amax(0), high, atol=0.01, rtol=0)
    torch.testing.assert_close(factors.mean(0), (low + high) / 2, atol=0.03, rtol=0)


def test_a_part_that_is_off_leaves_the_draws_of_the_others():
    one, other = (np.random.default_rng(5) for _ in range(2))
    full = draw_color_jitter(one, 2, **ALL)
    partly = draw_color_jitter(other, 2, **(ALL | {"contrast": 0.0}))
    assert torch.equal(partly[:, [0, 2, 3]], full[:, [0, 2, 3]])
    assert one.random() == other.random()


@pytest.mark.parametrize(
    ("images", "factors", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.ones(4), r"\(…, 3, H, W\), got \(2, 1, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int32), torch.ones(4), "got torch.int32"),
        (torch.zeros(2, 3, 4, 4), torch.ones(3), r"broadcast to \(2,\), got \(3,\)"),
        (torch.zeros(2, 5, 3, 4, 4), torch.ones(2, 4), r"broadcast to \(2, 5\), got \(2, 4\)"),
        (torch.zeros(3, 4, 4), torch.ones(1, 4), r"broadcast to \(\), got \(1, 4\)"),
    ],
)
def test_what_does_not_go_together_is_refused(images, factors, message):
    with pytest.raises(ValueError, match=message):
        color_jitter(images, factors)


@pytest.mark.parametrize(("part", "value"), [("hue", 0.6), ("hue", -0.1), ("contrast", -1.0)])
def test_impossible_ranges_are_refused(part, value):
    with pytest.raises(ValueError, match=f"{part} of a colour jitter must be .*, got {value}"):
        draw_color_jitter(np.random.default_rng(0), 1, **(NONE | {part: value}))


@pytest.mark.gpu
def test_jitter_on_the_gpu_equals_the_cpus():
    images = pictures(2)
    factors = draw_color_jitter(np.random.default_rng(2), 3, **ALL)
    on_gpu = color_jitter(images.cuda(), factors.cuda()).cpu()
    torch.testing.assert_close(on_gpu, color_jitter(images, factors), atol=1e-5, rtol=0)
