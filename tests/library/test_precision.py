"""Methods and encoders of 16-bit weights: `.half()`, `.to(torch.bfloat16)`, `.cuda()`."""

import numpy as np
import pytest
import torch

import selfsup_motion as ssm
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder

HALF = [torch.float16, torch.bfloat16]
FORMS = {
    "cmp_points": "cmp",
    "cmp_rest": "cmp_photos",
    "cmp_dense": "cmp_dense",
    "cmp": "paper/cmp_resnet50_coco",
}
"""Experiments with each form of CMP."""
# of 16-bit features against 32-bit ones, by their largest value
CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}


def close(low: torch.Tensor, full: torch.Tensor, dtype: torch.dtype) -> bool:
    return bool((low.float() - full).abs().max() <= CLOSE[dtype] * full.abs().max())


def photo() -> torch.Tensor:
    smooth = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(smooth[None], (64, 96), mode="bicubic")[0]
    return (large.clamp(0, 1) * 255).byte()


def flow_network(form: str) -> ssm.methods.CMP:
    cfg = compose([f"experiment={FORMS[form]}", "encoder.width=8"])
    torch.manual_seed(0)
    method: ssm.methods.CMP = build(cfg.method, "method")
    return method.eval()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("form", FORMS)
def test_cmp_answers_nearly_alike_with_weights_of_16_bits(form, dtype):
    method = flow_network(form)
    guidance = [[20.0, 30.0], [70.0, 10.0]], [[3.0, -2.0], [0.0, 4.0]]
    full = method.propagate(photo(), *guidance)
    low = method.to(dtype).propagate(photo(), *guidance)
    assert low.dtype == torch.float32
    assert next(method.parameters()).dtype == dtype
    assert (low - full).norm(dim=0).mean() < 0.1 * full.norm(dim=0).mean() + 0.05
    scores = method(photo()[None], *map(torch.tensor, ([guidance[0]], [guidance[1]])),
                    torch.ones(1, 2, dtype=torch.bool))  # fmt: skip
    assert scores.isfinite().all()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["resnet10", "corrflow_small", "alexnet"])
def test_frames_are_encoded_nearly_alike_with_weights_of_16_bits(name, dtype):
    torch.manual_seed(0)
    encoder = ssm.encoder(name).eval()
    frames = photo()[None]
    full = FrameEncoder(encoder)(frames)
    low = FrameEncoder(encoder.to(dtype))(frames)
    assert low.dtype == torch.float32
    assert close(low, full, dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["r3d8", "r2p1d10"])
def test_clips_are_encoded_nearly_alike_with_weights_of_16_bits(name, dtype):
    torch.manual_seed(0)
    encoder = ssm.encoder(name).eval()
    clips = photo()[None, None, :, :32, :32].repeat(1, 4, 1, 1, 1)
    full = ClipFeatures(encoder)(clips)
    low = ClipFeatures(encoder.to(dtype))(clips)
    assert close(low, full, dtype)


@pytest.mark.parametrize("dtype", HALF)
def test_corrflow_and_mosi_work_with_weights_of_16_bits(dtype):
    corrflow = ssm.methods.CorrFlow(encoder=ssm.encoder("corrflow_small")).to(dtype).eval()
    features = corrflow(photo()[None].float() / 255)
    assert features.isfinite().all()
    mosi = ssm.methods.MoSI(encoder=ssm.encoder("r3d8")).to(dtype).eval()
    frames = photo()[None, None, :, :32, :32].repeat(1, 4, 1, 1, 1)
    scores = mosi.answer_scores(mosi(mosi.normalised(frames)))
    assert scores.shape == (1, 9)
    assert scores.isfinite().all()


def test_masks_are_followed_in_any_kind_of_picture():
    encoder, mask = ssm.encoder("lab_color"), np.zeros((64, 96), np.uint8)
    mask[20:40, 30:60] = 1
    frames = [photo(), photo().numpy(), photo().permute(1, 2, 0).numpy(), photo().float() / 255]
    followed = list(ssm.follow_masks(encoder, ssm.propagator("color"), frames, mask))
    alike = list(ssm.follow_masks(encoder, ssm.propagator("color"), [photo().numpy()] * 4, mask))
    assert len(followed) == 4
    assert np.array_equal(followed, alike)
    points = list(ssm.follow_points(encoder, ssm.propagator("color"), frames,
                                    np.array([[40.0, 30.0]]), sigma=0.5))  # fmt: skip
    assert points[3].shape == (1, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("form", FORMS)
def test_cmp_answers_alike_on_a_gpu(form, dtype):
    method = flow_network(form)
    image = photo().permute(1, 2, 0).numpy()  # of the CPU: the method takes it to its device
    guidance = [[20.0, 30.0], [70.0, 10.0]], [[3.0, -2.0], [0.0, 4.0]]
    full = method.propagate(image, *guidance)
    low = method.cuda().to(dtype).propagate(image, *guidance)
    assert low.device.type == "cuda"
    assert (low.cpu() - full).norm(dim=0).mean() < 0.1 * full.norm(dim=0).mean() + 0.05
    torch.manual_seed(0)
    encoder = ssm.encoder("corrflow_small").eval()
    full = FrameEncoder(encoder)(photo()[None])
    low = FrameEncoder(encoder.to(dtype).cuda()).cuda()(photo()[None])
    assert (low.cpu() - full).abs().max() <= 0.1 * full.abs().max()
