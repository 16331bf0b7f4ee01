"""CMD: what its view cuts out, what its losses compare, and that both tasks are learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import default_collate

from selfsup_motion.data.clip import Clip
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmd import CMD, CMDView
from selfsup_motion.methods.cmd.objective import matching_loss, own_loss
from selfsup_motion.methods.cmd.prediction import MotionPredictor
from selfsup_motion.models.motion_encoder import MotionEncoder
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose

SMALL = [
    "experiment=cmd",
    "data.num_workers=0",
    "view.size=32",
    "view.motion_size=8",
    "encoder.width=4",
    "encoder.widths=[8,8,8]",
    "context_encoder.width=4",
    "context_encoder.out_channels=8",
    "motion_encoder.widths=[8,8]",
    "method.predictor_channels=16",
    "method.predictor_heads=2",
    "method.hidden=16",
    "method.dim=8",
]


@pytest.fixture(scope="module")
def config() -> DictConfig:
    return compose(SMALL)


def moving_clip(vector: tuple[float, float], size: tuple[int, int] = (48, 64)) -> Clip:
    """Nine frames, and 16 maps on cells of 4 pixels that all have the same vector."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (9, 3, *size), np.uint8)
    maps = np.zeros((16, 2, size[0] // 4, size[1] // 4), np.float32)
    maps += np.array(vector, np.float32)[:, None, None]
    return Clip(frames, "a", labels={"vectors": maps})


def view(**settings: Any) -> CMDView:
    settings = {"motion_length": 8, "negatives": 1, "size": 32, "motion_size": 8, **settings}
    return CMDView(**settings)


def test_vectors_follow_their_crops() -> None:
    """Enlarged windows lengthen vectors and mirrored ones turn them round; published, neither."""
    clip = moving_clip((1.5, -1.0))
    window = {"area": (0.5, 0.5), "ratio": (1.0, 1.0), "blur": 0.0}
    crop = round((0.5 * 48 * 64) ** 0.5)
    for flip in (0.0, 1.0):
        moved = view(flip=flip, **window)(clip, np.random.default_rng(0))["motion"].float() * 10
        expected = torch.tensor([(-1) ** flip * 1.5, -1.0]) * 32 / crop
        torch.testing.assert_close(moved.mean((0, 1, 3, 4)), expected, atol=0.02, rtol=0)
        published = view(flip=flip, published_vectors=True, **window)
        moved = published(clip, np.random.default_rng(0))["motion"].float() * 10
        torch.testing.assert_close(
            moved.mean((0, 1, 3, 4)), torch.tensor([1.5, -1.0]), atol=0.02, rtol=0
        )
    far = view(limit=0.5, train=False)(clip, np.random.default_rng(0))["motion"]
    assert far.unique().tolist() == [-1, 1]


def test_motion_and_frames_are_cut_alike() -> None:
    """A bright square moves; wherever the window is, vectors are where the square is."""
    frames = np.zeros((9, 3, 48, 64), np.uint8)
    frames[..., 16:32, 24:48] = 255
    maps = np.zeros((16, 2, 48, 64), np.float32)
    maps[:, 0, 16:32, 24:48] = 1
    clip = Clip(frames, "a", labels={"vectors": maps})
    cut = view(motion_size=32, flip=0.5, blur=0.0, area=(0.4, 1.0), negatives=1)
    for seed in range(6):
        sample = cut(clip, np.random.default_rng(seed))
        bright = sample["clip"][0, 0] > 128
        moves = sample["motion"][0, 0, 0].abs() > 0.5 * sample["motion"][0, 0, 0].abs().max()
        assert (bright == moves).float().mean() > 0.93


def test_samples_have_the_shapes_and_types_they_are_told_to_have() -> None:
    train, val = view(), view(train=False)
    clip = moving_clip((1, 0))
    for cut in (train, val):
        sample = cut(clip, np.random.default_rng(0))
        told = {name: (tuple(x.shape), x.dtype) for name, x in sample.items()}
        assert told == {
            "clip": ((8, 3, 32, 32), torch.uint8),
            "context": ((3, 32, 32), torch.uint8),
            "motion": ((2, 8, 2, 8, 8), torch.float16),
            "color": ((2, 4), torch.float32),
        }
    first, second = (val(clip, np.random.default_rng(seed)) for seed in (1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(UserError, match=r"has 16 maps.*view.negatives=3 need 32"):
        view(negatives=3)(clip, np.random.default_rng(0))
    with pytest.raises(UserError, match="does not have: use data=toy_compressed"):
        view()(Clip(clip.frames, "a"), np.random.default_rng(0))


def test_losses_are_cross_entropies_over_all_keys() -> None:
    rng = torch.Generator().manual_seed(0)
    b, n, k, d = 3, 4, 2, 5
    draw = lambda *shape: F.normalize(torch.randn(*shape, d, generator=rng), dim=-1)  # noqa: E731
    queries, keys = draw(b, n), draw(b, 1 + k, n)
    total, alone = 0.0, torch.zeros(b, n)
    for i in range(b):
        for p in range(n):
            right = float(torch.exp(queries[i, p] @ keys[i, 0, p] / 0.1))
            every = sum(float(torch.exp(queries[i, p] @ x / 0.1)) for x in keys.reshape(-1, d))
            own = sum(float(torch.exp(queries[i, p] @ x / 0.1)) for x in keys[i].reshape(-1, d))
            total -= float(np.log(right / every)) / (b * n)
            alone[i, p] = -float(np.log(right / own))
    others = keys[:, 1:]
    rows, right_keys = queries.flatten(0, 1), keys[:, 0].flatten(0, 1)
    found = matching_loss(rows, right_keys, others.flatten(0, 2), 0.1)
    assert float(found) == pytest.approx(total, rel=1e-5)
    torch.testing.assert_close(
        own_loss(queries, keys[:, 0], others.flatten(1, 2), 0.1), alone, rtol=1e-4, atol=1e-5
    )


def test_predictions_depend_on_the_place() -> None:
    torch.manual_seed(0)
    predictor = MotionPredictor(
        6, 8, 9, channels=12, heads=3, encoder_layers=1, decoder_layers=2, dropout=0.0
    )
    tokens = torch.randn(2, 8, 6)
    found = predictor(tokens)
    assert found.shape == (2, 9, 12)
    assert found.std(1).min() > 0.01
    # positions tell tokens apart
    assert not torch.allclose(found, predictor(tokens.flip(1)), atol=1e-3)
    with pytest.raises(UserError, match="predictor_heads=5 must divide"):
        MotionPredictor(
            6, 8, 9, channels=12, heads=5, encoder_layers=1, decoder_layers=1, dropout=0.0
        )


def test_replicated_borders_do_not_tell_places() -> None:
    """Where everything moves alike, all places look alike; with zeros, borders differ."""
    torch.manual_seed(0)
    same = torch.ones(1, 2, 4, 12, 12)
    for padding, told in (("replicate", False), ("zeros", True)):
        encoder = MotionEncoder(
            widths=[4, 8],
            strides=[(2, 2), (1, 1)],
            kernel=3,
            pool=False,
            padding=padding,  # type: ignore[arg-type]
        ).eval()
        spread = encoder(same).detach().std((2, 3)).max()
        assert (spread > 1e-3) == told


def samples(config: DictConfig, count: int) -> dict[str, Tensor]:
    source = build(config.data.module.source, "source")
    sampler = build(config.data.module.sampler, "sampler")
    cut = build(config.view, "view")
    rng = np.random.default_rng(0)
    clips = [source.read(i, sampler(source.info(i), rng, 0)) for i in range(count)]
    batch: dict[str, Tensor] = default_collate([cut(clip, rng) for clip in clips])
    return batch


def test_both_tasks_are_learned_on_a_batch(config: DictConfig) -> None:
    torch.manual_seed(0)
    batch = samples(config, 4)
    method: CMD = build(config.method, "method")
    optimizer = torch.optim.AdamW(method.parameters(), 1e-2)
    history = []
    for _ in range(12):
        losses = method.losses(method.features(batch))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        history.append({name: float(value.detach()) for name, value in losses.items()})
        optimizer.step()
    assert all(p.grad is not None for p in method.parameters())
    for name in ("motion", "context"):
        assert history[-1][name] < 0.85 * history[0][name]

    method.eval()
    picture: NDArray[np.uint8] = method.figures(batch)["clips"]
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    with pytest.raises(UserError, match=r"made for size=32 .method.size."):
        method.features({**batch, "clip": torch.zeros(4, 8, 3, 48, 48, dtype=torch.uint8)})


def test_validation_does_not_depend_on_how_clips_are_batched(config: DictConfig) -> None:
    torch.manual_seed(0)
    method: CMD = build(config.method, "method").eval()
    batch = samples(config, 4)
    found = []
    for parts in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        logged: dict[str, float] = {}
        method.log = lambda name, value, into=logged, **_: into.update({name: float(value)})  # type: ignore[method-assign,assignment,misc]
        for part in parts:
            method.validation_step({name: value[part] for name, value in batch.items()}, 0)
        method.on_validation_epoch_end()
        found.append(logged)
    assert found[0].keys() == {
        "val/loss", "val/motion_accuracy", "val/moment_accuracy", "val/context_accuracy",
        "val/context_chance",
    }  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    columns, rows = method.report(found[0])
    assert [len(row) for row in rows] == [len(columns)] * 3


def test_mistakes_are_told(config: DictConfig) -> None:
    with pytest.raises(UserError, match="one of them more"):
        build(config.method, "method", motion_weight=0.0, context_weight=0.0)
    with pytest.raises(UserError, match="CMD needs an encoder of clips"):
        build(config.method, "method", encoder=build(config.context_encoder, "encoder"))
    with pytest.raises(UserError, match=r"view\.area"):
        view(area=(0.5, 1.5))
