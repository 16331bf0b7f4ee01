"""Restricted attention is what its formula says, at any size, and its gradients are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfsup_motion.ops.attention import local_correlation, restricted_attention
from selfsup_motion.ops.attention.autograd import highest
from selfsup_motion.ops.attention.layout import Layout
from selfsup_motion.ops.attention.parts import (
    attention_part,
    best_matches,
    join_matches,
    join_parts,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pixel_by_pixel(query, key, value, radius, *, dilation=1, scale=1.0, border="exclude",
                   window="square", top_k=None):  # fmt: skip
    """The definition, with loops. Batch of one; key and value (1, N, …)."""
    q, k, v = query[0].numpy(), key[0].numpy(), value[0].numpy()
    height, width = q.shape[1:]
    out = np.zeros((v.shape[1], height, width))
    steps = range(-radius, radius + 1)
    for y, x in itertools.product(range(height), range(width)):
        scores, values = [], []
        for n, i, j in itertools.product(range(len(k)), steps, steps):
            if window == "disc" and i * i + j * j >= radius * radius:
                continue
            row, column = y + i * dilation, x + j * dilation
            if 0 <= row < height and 0 <= column < width:
                scores.append(scale * q[:, y, x] @ k[n, :, row, column])
                values.append(v[n, :, row, column])
            elif border == "zero":
                scores.append(0.0)
                values.append(np.zeros(v.shape[1]))
        best = np.argsort(scores)[::-1][:top_k]
        weights = np.exp(np.array(scores)[best] - max(scores))
        out[:, y, x] = weights @ np.stack(values)[best] / weights.sum()
    return torch.from_numpy(out)[None]


CASES = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(1, 10), st.integers(1, 10)),
        "radius": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "border": st.sampled_from(["exclude", "zero"]),
        "window": st.sampled_from(["square", "disc"]),
        "references": st.integers(1, 3),
        "top_k": st.sampled_from([None, 1, 4, 1000]),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=25, deadline=None)
@given(CASES)
def test_equals_the_definition_pixel_by_pixel(case):
    size, count, seed = case.pop("size"), case.pop("references"), case.pop("seed")
    radius = case.pop("radius")
    query = random(1, 3, *size, seed=seed)
    key, value = (
        random(1, count, 3, *size, seed=seed + 1),
        random(1, count, 2, *size, seed=seed + 2),
    )
    if case["top_k"] is not None and case["border"] == "zero":
        value = value * 0 + 1  # which of the equal scores outside take part is not defined
    expected = pixel_by_pixel(query, key, value, radius, **case)
    for backend in ("tiles", "unfold"):
        out = restricted_attention(query, key, value, radius, backend=backend, **case)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([None, 1, 3, 9]), st.integers(0, 99))
def test_constant_values_copy_to_constants(height, width, radius, seed):
    query, key = (random(2, 4, height, width, seed=seed + i, dtype=torch.float32) for i in (0, 1))
    value = torch.tensor([0.25, -3.0]).view(1, 2, 1, 1).expand(2, 2, height, width)
    out = restricted_attention(query, key, value, radius, scale=5.0)
    torch.testing.assert_close(out, value.contiguous(), rtol=1e-5, atol=1e-5)


def test_zero_features_copy_the_mean_of_the_window():
    value = random(1, 1, 9, 11)
    zero = torch.zeros(1, 4, 9, 11, dtype=torch.float64)
    out = restricted_attention(zero, zero, value, 2)
    assert out[0, 0, 4, 5] == pytest.approx(float(value[0, 0, 2:7, 3:8].mean()))
    assert out[0, 0, 0, 0] == pytest.approx(float(value[0, 0, :3, :3].mean()))
    leaking = restricted_attention(zero, zero, value, 2, border="zero")
    assert leaking[0, 0, 0, 0] == pytest.approx(float(value[0, 0, :3, :3].sum() / 25))


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"radius": 2},
        {"radius": 3, "dilation": 2, "window": "disc", "scale": 0.5},
        {"radius": 2, "border": "zero"},
        {"radius": 2, "top_k": 5},
        {"radius": None, "scale": 0.3},
    ],
)
def test_gradients_are_exact(references, options):
    inputs = [random(1, 2, 3, 9, seed=1), random(1, references, 2, 3, 9, seed=2),
              random(1, references, 1, 3, 9, seed=3)]  # fmt: skip
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: restricted_attention(*a, **options), inputs)


def test_correlation_gradients_are_exact():
    inputs = [random(1, 2, 3, 9, seed=i).requires_grad_() for i in range(2)]
    assert torch.autograd.gradcheck(lambda q, k: local_correlation(q, k, 1, dilation=2), inputs)


@pytest.mark.parametrize(
    "needed", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_gradients_do_not_depend_on_which_are_asked_for(needed):
    tensors = [random(1, 3, 9, 9, seed=i) for i in range(3)]
    weights = random(1, 3, 9, 9, seed=9)

    def gradients(flags):
        inputs = [t.clone().requires_grad_(f) for t, f in zip(tensors, flags, strict=True)]
        (restricted_attention(*inputs, 2) * weights).sum().backward()
        return [t.grad for t in inputs]

    whole, part = gradients((True, True, True)), gradients(needed)
    for flag, a, b in zip(needed, whole, part, strict=True):
        assert (b is not None) == flag
        if flag:
            assert torch.equal(a, b)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 4), st.integers(1, 3))
def test_correlation_equals_products_of_shifted_images(height, width, radius, dilation):
    query, key = random(2, 3, height, width), random(2, 3, height, width, seed=1)
    out = local_correlation(query, key, radius, dilation=dilation)
    side, reach = 2 * radius + 1, radius * dilation
    padded = torch.nn.functional.pad(key, (reach,) * 4)
    for i, j in itertools.product(range(side), range(side)):
        top, left = i * dilation, j * dilation
        shifted = padded[:, :, top : top + height, left : left + width]
        torch.testing.assert_close(
            out[:, i * side + j], (query * shifted).sum(1), rtol=0, atol=1e-12
        )
    unfolded = local_correlation(query, key, radius, dilation=dilation, backend="unfold")
    torch.testing.assert_close(out, unfolded, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 40_000, 1 << 30])
def test_the_size_of_chunks_changes_nothing(chunk, monkeypatch):
    tensors = [
        random(3, 4, 20, 27, seed=1),
        random(3, 2, 4, 20, 27),
        random(3, 2, 3, 20, 27, seed=2),
    ]
    expected = restricted_attention(*tensors, 3, backend="unfold")
    monkeypatch.setattr(
        "selfsup_motion.ops.attention.layout._CHUNK", {"cpu": chunk, "other": chunk}
    )
    torch.testing.assert_close(restricted_attention(*tensors, 3), expected)


def test_chunks_cover_every_tile_once(monkeypatch):
    tile, row = 100, 30  # numbers of a tile, and of a row of keys of a strip
    for room in (1, 10_000, 50_000, 200_000, 1 << 24):
        monkeypatch.setattr("selfsup_motion.ops.attention.layout._CHUNK", {"cpu": 4 * room})
        layout = Layout((60, 100), 2, "square", torch.device("cpu"))
        seen = torch.zeros(5, *layout.tiles)
        for chunk in layout.chunks(5, (tile, row), itemsize=4):
            seen[chunk] += 1
            used = chunk.num_tiles * tile + chunk.num_strips * layout.key_rows(chunk) * row
            smallest = chunk.num_strips == 1 and layout.query_rows(chunk) <= 16
            assert used <= room or smallest
        assert (seen == 1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_summed_in_float32(dtype):
    query, key, value = (random(1, 64, 16, 16, seed=i).to(dtype) for i in range(3))
    exact = restricted_attention(query.double(), key.double(), value.double(), 3)
    out = restricted_attention(query, key, value, 3)
    assert out.dtype == dtype
    # what is left is the rounding of the result
    error = (out.double() - exact).abs() / exact.abs().clamp(min=0.1)
    assert error.max() < 1.1 * torch.finfo(dtype).eps
    with torch.autocast("cpu", torch.bfloat16):
        again = restricted_attention(query.float(), key.float(), value.float(), 3)
    torch.testing.assert_close(again.double(), exact, rtol=1e-5, atol=1e-5)


def test_parts_join_to_the_whole():
    query = random(2, 4, 13, 9)
    key, value = random(2, 3, 4, 13, 9, seed=1), random(2, 3, 2, 13, 9, seed=2)
    references = [(key[:, n], value[:, n]) for n in range(3)]
    for options in ({}, {"window": "disc"}, {"border": "zero"}, {"dilation": 2}):
        whole = restricted_attention(query, key, value, 3, **options)
        parts = [attention_part(query, k, v, 3, **options) for k, v in references]
        torch.testing.assert_close(join_parts(parts), whole)
    whole = restricted_attention(query, key, value, 3, top_k=7)
    matches = [best_matches(query, k, v, 3, 7) for k, v in references]
    torch.testing.assert_close(join_matches(matches, 7), whole)


def test_highest_scores_of_long_rows_are_those_of_a_full_sort():
    scores = random(3, 5, 5003)
    values, where = highest(scores, 6)
    assert torch.equal(values, scores.topk(6, dim=-1).values)
    assert torch.equal(scores.gather(-1, where), values)


def test_windows_larger_than_the_image_and_empty_batches_work():
    query, value = random(1, 2, 2, 3), random(1, 1, 2, 3)
    whole = restricted_attention(query, query, value, None)
    torch.testing.assert_close(restricted_attention(query, query, value, 30), whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": torch.zeros(1, 4, 5, 6)}, "shapes of query, key and value"),
        ({"value": torch.zeros(1, 2, 5, 5)}, "shapes of query, key and value"),
        ({"query": torch.zeros(3, 5, 6)}, "attention takes query"),
        ({"query": torch.zeros(1, 3, 5, 6).long()}, "floating-point"),
        ({"border": "reflect"}, "border must be one of exclude, zero"),
        ({"window": "hexagon"}, "window must be one of"),
        ({"backend": "magic"}, "backend must be one of"),
        ({"radius": -1}, "radius of a square must be at least 0"),
        ({"radius": 0, "window": "disc"}, "radius of a disc must be at least 1"),
        ({"dilation": 0}, "at least 1"),
        ({"top_k": 0}, "at least 1"),
        ({"radius": None, "dilation": 2}, "without a radius"),
        ({"radius": None, "backend": "unfold"}, "needs a radius"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = {"query": torch.zeros(1, 3, 5, 6), "key": torch.zeros(1, 3, 5, 6),
                 "value": torch.zeros(1, 2, 5, 6), "radius": 2}  # fmt: skip
    with pytest.raises(ValueError, match=words):
        restricted_attention(**{**arguments, **change})


@pytest.mark.gpu
def test_the_gpu_computes_the_same():
    inputs = [
        random(2, 64, 33, 50, seed=1),
        random(2, 2, 64, 33, 50),
        random(2, 2, 5, 33, 50, seed=2),
    ]
    results = []
    for device in ("cpu", "cuda"):
        own = [t.to(device).requires_grad_() for t in inputs]
        out = restricted_attention(*own, 4, scale=0.2)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in own)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-9, atol=1e-9)
