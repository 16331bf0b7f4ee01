"""The kernels of restricted attention for GPUs compute what the tiles do.

Without a GPU, Triton's interpreter runs them; `make test-gpu` runs the same cases on one.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from attention_cases import MANY, QUICK, Case, difference, elsewhere, inputs, normaliser_difference
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.attention.fused import fused_attention, key_gradients, window_attention
from selfsup_motion.ops.attention.launch import Launch
from selfsup_motion.ops.attention.parts import attention_part

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs triton, which is for Linux"
)


def compared(cases, device="cpu"):
    return [difference(c, device) | {"norm": normaliser_difference(c, device)} for c in cases]


def check(cases, found):
    for case, differences in zip(cases, found, strict=True):
        normaliser = differences.pop("norm")
        assert max(differences.values()) < 1, (case, differences)
        assert normaliser < (1e-3 if "f" in case.dtypes and case.channels > 64 else 1e-6), case


@needs_triton
def test_interpreted_kernels_and_their_gradients_equal_the_tiles():
    check(QUICK, elsewhere(compared, QUICK))


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_equal_the_tiles_in_many_cases():
    check(MANY, elsewhere(compared, MANY))


@pytest.mark.gpu
@pytest.mark.parametrize("case", QUICK + MANY, ids=str)
def test_kernels_on_a_gpu_equal_the_tiles(case):
    check([case], compared([case], "cuda"))


@pytest.mark.gpu
def test_kernels_on_a_gpu_give_the_same_bits_again():
    tensors = inputs(Case((40, 50), 64, 16, 6, batch=2, dtypes="bbb"), "cuda")
    runs = []
    for _ in range(2):
        out = restricted_attention(*tensors, 6, backend="triton")
        runs.append([out, *torch.autograd.grad(out.square().sum(), tensors)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_on_a_cpu_the_operator_computes_with_tiles():
    for case in QUICK:
        tensors = [tensor.detach() for tensor in inputs(case, "cpu")]
        options = {"dilation": 1, "scale": 1.0, "border": "exclude", "window": "square"}
        options |= case.options
        found = fused_attention(*tensors, case.radius, **options)
        for a, b in zip(found, attention_part(*tensors, case.radius, **options), strict=True):
            torch.testing.assert_close(a, b)


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@needs_triton
@pytest.mark.parametrize(
    ("options", "dtype", "channels", "kernel"),
    [
        ({}, torch.bfloat16, 256, True),
        ({"dilation": 2, "border": "zero", "window": "disc"}, torch.float32, 64, True),
        ({"backend": "tiles"}, torch.bfloat16, 64, False),
        ({"top_k": 3}, torch.bfloat16, 64, False),
        ({}, torch.float64, 16, False),
        ({}, torch.float32, 65, False),
        ({}, torch.bfloat16, 257, False),
    ],
)
def test_a_gpu_gets_kernels_where_they_can_compute_the_case(options, dtype, channels, kernel):
    with FakeTensorMode(), Recorder() as seen:
        query = torch.empty(2, channels, 9, 7, device="cuda", dtype=dtype)
        value = torch.empty(2, 3, 9, 7, device="cuda", dtype=torch.float32)
        out = restricted_attention(query, query, value.to(dtype), 2, **options)
    assert (out.shape, out.dtype, out.device.type) == (value.shape, dtype, "cuda")
    assert kernel == ("selfsup_motion.window_attention.default" in seen.names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "needs a CUDA device"),
        ({"top_k": 3}, "it has no top_k"),
        ({"value": torch.zeros(1, 2, 5, 6).double()}, "it computes in float32, got"),
        ({"value": torch.zeros(1, 65, 5, 6)}, "64 of value, got 4 and 65"),
    ],
)
def test_kernels_that_were_asked_for_say_what_they_cannot_compute(change, words):
    arguments = {"query": torch.zeros(1, 4, 5, 6), "key": torch.zeros(1, 4, 5, 6),
                 "value": torch.zeros(1, 2, 5, 6), "radius": 2}  # fmt: skip
    with pytest.raises(ValueError, match=f"backend=triton cannot compute this: .*{words}"):
        restricted_attention(**{**arguments, **change}, backend="triton")


def registered():
    """Shapes without content, autograd and PyTorch's compiler fit what the operators do."""
    query, key, value = inputs(Case((5, 6), 16, 3, 1, references=2), "cpu")
    last = [query.permute(0, 2, 3, 1), *(x.permute(0, 1, 3, 4, 2) for x in (key, value))]
    args = (*(x.detach().requires_grad_() for x in last), 1, 1, 0.5, False, False)
    torch.library.opcheck(window_attention, args)
    plain = [x.detach() for x in args[:3]]
    out, norm = window_attention(*plain, *args[3:])
    torch.library.opcheck(key_gradients, (*plain, out, norm, out.sum(-1), *args[3:7]))
    attend = torch.compile(restricted_attention, backend="aot_eager", fullgraph=True)
    compiled = attend(query, key, value, 1, backend="triton")
    torch.testing.assert_close(compiled, restricted_attention(query, key, value, 1))
    (first,) = torch.autograd.grad(compiled.square().sum(), query)
    assert first.shape == query.shape
    out = restricted_attention(query, key, value, 1, backend="triton")
    (first,) = torch.autograd.grad(out.square().sum(), query, create_graph=True)
    try:
        first.sum().backward()
    except RuntimeError as error:
        return str(error)
    return ""


def compiled(capability, channels, copied, kinds):
    """Shared memory in KiB of each kernel, compiled for a GPU."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from selfsup_motion.ops.attention import triton_kernels

    tensors = inputs(Case((64, 64), channels, copied, 6, dtypes=kinds), "cpu")
    query, key, value = (tensor.detach().movedim(-3, -1) for tensor in tensors)
    launch = Launch(query, key, value, 6, 1, 0.5, False)
    pointers = dict.fromkeys(
        ["out", "normaliser", "incoming", "along", "key_out", "value_out"], "*fp32"
    )
    short = {"f": "*fp32", "b": "*bf16", "h": "*fp16"}
    pointers |= zip(("query", "key", "value"), (short[kind] for kind in kinds), strict=True)
    found = {}
    for name in ("forward", "query_gradient", "key_gradients"):
        kernel = getattr(triton_kernels, name)
        constants = launch.constants | ({"ZERO": False} if name == "forward" else {})
        types = pointers | {"scale": "fp32"} | dict.fromkeys(constants, "constexpr")
        source = ASTSource(
            kernel,
            {argument: types.get(argument, "i32") for argument in kernel.arg_names},
            constexprs={(kernel.arg_names.index(k),): v for k, v in constants.items()},
            attrs={
                (i,): [["tt.divisibility", 16]]
                for i, argument in enumerate(kernel.arg_names)
                if argument in pointers
            },
        )
        made = build(source, target=GPUTarget("cuda", capability, 32), options=launch.compiler)
        assert "mma" in made.asm["ptx"]  # matrix instructions
        found[name] = made.metadata.shared / 1024
    return found


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [(80, 64, 16, "fff"), (80, 256, 16, "bbf"), (90, 256, 64, "bbb"), (90, 64, 16, "hhh")]
)
def test_kernels_compile_for_gpus_and_fit_into_their_shared_memory(case, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert max(elsewhere(compiled, *case, interpreter=False).values()) <= 99


@needs_triton
@pytest.mark.slow
def test_the_operators_are_known_to_pytorch_and_refuse_a_second_derivative():
    assert "no autograd formula was registered" in elsewhere(registered)
