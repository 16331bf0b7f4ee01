"""Parts of the methods that compare views of clips: changes, queue, averages, losses, LARS."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.methods.parts.agreement import agreement
from selfsup_motion.methods.parts.blur import gaussian_blur
from selfsup_motion.methods.parts.changes import ClipChanges
from selfsup_motion.methods.parts.contrast import info_nce, nt_xent, sinkhorn, swapped_prediction
from selfsup_motion.methods.parts.heads import mlp
from selfsup_motion.methods.parts.lars import LARS
from selfsup_motion.methods.parts.momentum import Momentum
from selfsup_motion.methods.parts.queue import KeyQueue

SAME = {"angle": 0.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def draws(changes: ClipChanges, count: int, frame: tuple[int, int], seed: int = 0):
    drawn = changes.draw(np.random.default_rng(seed), count, frame)
    return {name: x[None] for name, x in drawn.items()}


def ramp(field: int = 32) -> Tensor:
    """(1, 1, 2, 3, F, F): red grows to the right, green downwards."""
    steps = torch.arange(field, dtype=torch.uint8) * 4
    x = steps.expand(field, field)
    return torch.stack([x, x.T, torch.full_like(x, 50)]).expand(1, 1, 2, 3, field, field)


def test_nothing_changes_where_nothing_is_asked_for():
    changes = ClipChanges(size=32, area=(1.0, 1.0), ratio=(1.0, 1.0), **SAME)
    out = changes.apply(ramp(), draws(changes, 2, (32, 32)))
    assert out.shape == (1, 2, 2, 3, 32, 32)
    torch.testing.assert_close(out, ramp().expand(1, 2, -1, -1, -1, -1) / 255)


def test_a_window_is_what_slicing_it_out_gives_and_mirroring_turns_it():
    changes = ClipChanges(size=8, **SAME)
    drawn = draws(changes, 2, (32, 32))
    drawn["window"] = torch.tensor([[[4.0, 8, 8, 8], [4, 8, 8, 8]]]) / 32
    drawn["mirrored"] = torch.tensor([[False, True]])
    plain, mirrored = changes.apply(ramp(), drawn)[0]
    torch.testing.assert_close(plain, ramp()[0, 0, :, :, 4:12, 8:16] / 255)
    torch.testing.assert_close(mirrored, plain.flip(-1))


def test_a_quarter_turn_turns_the_window_whatever_the_frame_s_proportions():
    changes = ClipChanges(size=32, **SAME)
    drawn = draws(changes, 1, (32, 32))
    drawn["window"] = torch.tensor([[[0.0, 0, 1, 1]]])
    drawn["angle"] = torch.tensor([[math.pi / 2]])
    turned = changes.apply(ramp(), drawn)[0, 0]
    torch.testing.assert_close(turned, (ramp() / 255)[0, 0].rot90(1, (-2, -1)), atol=1e-5, rtol=0)
    # of a frame twice as wide, made square, the middle square is turned
    drawn["aspect"] = torch.tensor([[2.0]])
    drawn["window"] = torch.tensor([[[0.0, 0.25, 1, 0.5]]])
    turned = changes.apply(ramp(), drawn)[0, 0, 0] * 255
    assert turned[0].std(1).mean() < 1e-3  # x of the frame grows along y now
    assert turned[0, :, 0].max() - turned[0, :, 0].min() == pytest.approx(62, abs=4)


def test_all_frames_of_a_clip_change_alike_and_clips_do_not():
    changes = ClipChanges(size=16)
    frames = torch.randint(0, 256, (1, 2, 1, 3, 24, 24)).byte().expand(1, 2, 3, 3, 24, 24)
    out = changes.apply(frames, draws(changes, 4, (24, 24), seed=3))[0]
    assert torch.equal(out[:, 0], out[:, 2])
    assert all(not torch.allclose(out[i], out[j]) for i in range(4) for j in range(i))
    assert 0 <= out.min() <= out.max() <= 1


def test_contrast_is_about_the_grey_of_the_whole_clip():
    changes = ClipChanges(size=8, **SAME)
    drawn = draws(changes, 1, (32, 32))
    drawn["window"] = torch.tensor([[[0.0, 0, 0.25, 0.25]]])
    drawn["color"] = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])  # no contrast is left
    grey = (ramp().float() / 255)[0, 0].mean((0, 2, 3)) @ torch.tensor([0.2989, 0.587, 0.114])
    out = changes.apply(ramp(), drawn)
    torch.testing.assert_close(out, grey.expand_as(out), atol=1e-5, rtol=1e-5)


def test_grey_clips_have_no_colours_and_draws_do_not_depend_on_switches():
    grey = ClipChanges(size=8, grey=1.0, jitter=0.0)
    colors = draws(grey, 3, (32, 32))["color"]
    assert colors[..., 2].eq(0).all()
    with_blur, without = (draws(ClipChanges(size=8, blur=b), 3, (32, 32)) for b in (1.0, 0.0))
    assert with_blur["blur"].min() > 0.09
    assert without["blur"].eq(0).all()
    assert all(torch.equal(with_blur[n], without[n]) for n in with_blur if n != "blur")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, "changes.size must be at least 8"),
        ({"area": (0.5, 0.2)}, r"changes.area=\[0.5, 0.2\]"),
        ({"ratio": (0.0, 1.0)}, "changes.ratio"),
        ({"flip": 2.0}, "changes.flip=2.0"),
        ({"sigma": (2.0, 1.0)}, "changes.sigma"),
        ({"angle": 200.0}, "changes.angle=200.0"),
    ],
)
def test_changes_out_of_range_are_named(options, words):
    with pytest.raises(UserError, match=words):
        ClipChanges(**options)


def test_blur_is_a_gaussian_of_each_image_s_own_width():
    spot = torch.zeros(3, 2, 25, 25)
    spot[:, :, 12, 12] = 1
    out = gaussian_blur(spot, torch.tensor([0.0, 1.0, 2.0]), 2.0)
    torch.testing.assert_close(out[0], spot[0])
    x = torch.arange(25.0) - 12
    for image, sigma in ((out[1], 1.0), (out[2], 2.0)):
        line = torch.exp(-0.5 * (x / sigma) ** 2) * (x.abs() <= 6)
        line = line / line.sum()
        torch.testing.assert_close(image[1], line.outer(line), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(gaussian_blur(torch.ones(1, 1, 5, 5), torch.ones(1), 2.0).sum(),
                               torch.tensor(25.0))  # fmt: skip


def test_the_queue_keeps_the_last_keys_in_order_whatever_comes_at_a_time():
    queue, sent = KeyQueue(5, 1), []
    for start, count in ((0, 2), (2, 2), (4, 3), (7, 5), (12, 1)):
        new = torch.arange(start, start + count).float()[:, None]
        queue.add(new)
        sent += new.flatten().tolist()
        assert sorted(queue.keys.flatten().tolist()) == sent[-5:]
    again = KeyQueue(5, 1)
    again.load_state_dict(queue.state_dict())
    assert torch.equal(again.keys, queue.keys)
    for one in (queue, again):
        one.add(torch.full((2, 1), 99.0))
    assert torch.equal(again.keys, queue.keys)
    with pytest.raises(UserError, match="too small for the 6 keys of a step"):
        queue.add(torch.zeros(6, 1))


def test_the_average_follows_weights_and_keeps_statistics_of_its_own():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Momentum(one=module)
    before = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1)
    module[1].running_mean.fill_(7)
    average.follow(0.75, one=module)
    for old, new in zip(before, average.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
        assert not new.requires_grad
    assert average.get_submodule("one.1").running_mean.eq(0).all()


def test_losses_equal_plain_loops():
    q, keys, negatives, own = (
        unit(4, 6),
        unit(2, 4, 6, seed=1),
        unit(3, 6, seed=2),
        unit(4, 6, seed=3),
    )
    losses = []
    for p in range(2):
        for n in range(4):
            right = math.exp(float(q[n] @ keys[p, n]) / 0.2)
            others = [*negatives, own[n]]
            wrong = sum(math.exp(float(q[n] @ other) / 0.2) for other in others)
            losses.append(-math.log(right / (right + wrong)))
    assert info_nce(q, keys, negatives, 0.2, own).item() == pytest.approx(np.mean(losses), rel=1e-5)
    a, b = unit(3, 5), unit(3, 5, seed=1)
    both, losses = torch.cat([a, b]), []
    for i in range(6):
        powers = [math.exp(float(both[i] @ both[j]) / 0.5) for j in range(6)]
        losses.append(-math.log(powers[(i + 3) % 6] / (sum(powers) - powers[i])))
    assert nt_xent(a, b, 0.5).item() == pytest.approx(np.mean(losses), rel=1e-5)
    a, b = unit(4, 3), unit(4, 3, seed=1)
    losses = []
    for given, asked in ((a, b), (b, a)):
        codes, log = sinkhorn(given, 0.1, 2), (asked / 0.3).log_softmax(1)
        losses += [-float((codes[n] * log[n]).sum()) for n in range(4)]
    found = swapped_prediction(a, b, temperature=0.3, epsilon=0.1, iterations=2)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_codes_are_distributions_that_use_all_prototypes_equally():
    codes = sinkhorn(unit(12, 4), 0.05, 50)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 3.0), atol=1e-2, rtol=0)


def test_heads_have_the_layers_asked_for():
    head = mlp(5, 7, 3, layers=3, norm=True)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head(torch.randn(4, 5)).shape == (4, 3)
    assert [type(x).__name__ for x in mlp(5, 7, 3, layers=1, norm=True)] == ["Linear"]
    with pytest.raises(UserError, match=r"method.layers must be at least 1, got 0"):
        mlp(5, 7, 3, layers=0, norm=False)


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_steps_are_those_of_the_formula(nesterov):
    weight, bias = nn.Parameter(unit(3, 2) * 4), nn.Parameter(torch.ones(2))
    optimizer = LARS(
        [weight, bias], lr=0.5, momentum=0.9, weight_decay=0.1, nesterov=nesterov, trust=0.01
    )
    expected = [weight.detach().clone(), bias.detach().clone()]
    speeds = [torch.zeros(3, 2), torch.zeros(2)]
    for k in range(3):
        grads = [unit(3, 2, seed=k), torch.full((2,), 0.3)]
        weight.grad, bias.grad = (g.clone() for g in grads)
        optimizer.step()
        for i, (p, g) in enumerate(zip(expected, grads, strict=True)):
            step = g + 0.1 * p
            if i == 0:
                step = step * 0.01 * p.norm() / (g.norm() + 0.1 * p.norm())
            speeds[i] = 0.9 * speeds[i] + step
            expected[i] = p - 0.5 * (step + 0.9 * speeds[i] if nesterov else speeds[i])
    torch.testing.assert_close(weight.detach(), expected[0])
    torch.testing.assert_close(bias.detach(), expected[1])


def test_agreement_tells_aligned_from_spread_features():
    apart = torch.eye(4)[:, None].expand(4, 2, 4)
    actions = torch.tensor([0, 1, 0, 1])
    found = agreement(apart, actions, 1)
    assert found["retrieval"] == 1
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert found["uniformity"] == pytest.approx(-4)
    collapsed = agreement(torch.ones(4, 2, 4) / 2, None, 1)
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-6)
    assert collapsed["retrieval"] < 1
    assert "knn" not in collapsed
    named = torch.eye(2)[actions][:, None].expand(4, 1, 2)
    assert agreement(named, actions, 1) == {"knn": 1.0, "uniformity": pytest.approx(
        math.log((8 * math.exp(-4) + 4) / 12))}  # fmt: skip
