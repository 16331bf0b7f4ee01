"""The cheap forms of convolutions against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from selfsup_motion.models import convolution
from selfsup_motion.models.convolution import Conv3x3, FoldedSequential
from selfsup_motion.models.corrflow_resnet import CorrFlowResNet

needs_nnpack = pytest.mark.skipif(
    not convolution._has_nnpack(), reason="this PyTorch or CPU has no NNPACK"
)


@pytest.fixture
def taken(monkeypatch) -> list[Tensor]:
    """The images that took the fast form."""
    images: list[Tensor] = []
    inner = convolution._nnpack

    def counted(image: Tensor, *rest: Tensor) -> Tensor:
        images.append(image)
        return inner(image, *rest)

    monkeypatch.setattr(convolution, "_nnpack", counted)
    return images


def direct(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)


@needs_nnpack
@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.tuples(st.sampled_from([64, 72]), st.sampled_from([64, 80])),
    size=st.tuples(st.integers(20, 45), st.integers(45, 60)),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_fast_form_equals_the_direct_one(batch, channels, size, bias, channels_last):
    conv = Conv3x3(*channels, bias=bias)
    x = torch.randn(batch, channels[0], *size)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = direct(conv.double(), x.double())
        error = (conv.float()(x) - expected).norm() / expected.norm()
    assert error < 1e-5


@needs_nnpack
def test_fast_form_is_taken_image_by_image_and_only_without_gradients(taken):
    conv = Conv3x3(64, 64)
    x = torch.randn(2, 64, 32, 32)
    assert torch.equal(conv(x), direct(conv, x))
    assert not taken
    with torch.no_grad():
        conv(x)
    assert [image.shape for image in taken] == [(1, 64, 32, 32)] * 2


@pytest.mark.parametrize(
    ("channels", "shape", "dtype"),
    [
        (32, (1, 32, 40, 40), torch.float32),
        (64, (1, 64, 20, 20), torch.float32),
        (64, (1, 64, 32, 32), torch.float64),
        (64, (0, 64, 32, 32), torch.float32),
        (64, (64, 32, 32), torch.float32),
    ],
)
def test_other_inputs_take_the_direct_form(channels, shape, dtype, taken):
    conv = Conv3x3(channels, channels).to(dtype)
    x = torch.randn(shape, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(conv(x), direct(conv, x))
    assert not taken


def test_under_autocast_the_direct_form_is_taken(taken):
    conv = Conv3x3(64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.randn(1, 64, 32, 32)).dtype == torch.bfloat16
    assert not taken


def statistics_(model: nn.Module) -> nn.Module:
    """Make normalisations do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def plain(model: nn.Module) -> nn.Module:
    """The same model of PyTorch's own parts."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, FoldedSequential):
            module.__class__ = nn.Sequential
        elif isinstance(module, Conv3x3):
            module.__class__ = nn.Conv2d
    return model


def test_encoder_equals_that_of_plain_parts_in_evaluation():
    torch.manual_seed(0)
    net = statistics_(CorrFlowResNet(widths=(64, 64, 64))).eval()
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        expected = plain(net)(x)
        assert (net(x) - expected).norm() < 1e-5 * expected.norm()


def test_a_compiler_sees_plain_parts(taken):
    torch.manual_seed(0)
    net = statistics_(CorrFlowResNet(widths=(64, 64))).eval()
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        out = torch.compile(net, backend="eager", fullgraph=True)(x)
        assert not taken
        expected = plain(net)(x)
    assert_close(out, expected)


def test_encoder_trains_as_one_of_plain_parts():
    torch.manual_seed(0)
    net = statistics_(CorrFlowResNet(widths=(8, 8), blocks=1))
    other = plain(net)
    x = torch.rand(2, 3, 32, 32)
    for model in (net, other):
        model(x).square().mean().backward()
    for (name, a), (_, b) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        assert_close(a.grad, b.grad, msg=name)
    for (name, a), (_, b) in zip(net.named_buffers(), other.named_buffers(), strict=True):
        assert_close(a, b, msg=name)


def test_hooks_see_the_layers_they_were_put_on():
    torch.manual_seed(0)
    net = statistics_(FoldedSequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())).eval()
    x, seen = torch.rand(1, 3, 5, 5), []
    with torch.no_grad():
        net[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
        out = net(x)
        assert len(seen) == 1
        assert_close(seen[0], plain(net)[0](x))
    assert_close(out, plain(net)(x))


def test_statistics_of_the_batch_are_not_folded():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    net = FoldedSequential(nn.Conv2d(3, 4, 1), norm).eval()
    with torch.no_grad():
        assert_close(net(torch.rand(2, 3, 8, 8)).mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
