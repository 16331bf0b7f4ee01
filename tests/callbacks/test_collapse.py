import math

import pytest
import torch

from selfsup_motion.callbacks.collapse import CollapseMonitor, spread


def covariance(vectors: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    return torch.cov(unit.T, correction=0)


def test_evenly_spread_features_have_full_rank_and_unit_deviation():
    directions = torch.cat([torch.eye(8), -torch.eye(8)])
    std, rank = spread(covariance(directions))
    assert std == pytest.approx(1.0)
    assert rank == pytest.approx(8.0)


def test_equal_features_have_collapsed():
    std, rank = spread(covariance(torch.ones(50, 8)))
    assert std == pytest.approx(0.0, abs=1e-6)
    assert rank >= 1.0


def test_effective_rank_counts_the_directions_that_are_used():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(4000, 3, generator=generator) @ torch.randn(3, 64, generator=generator)
    _, rank = spread(covariance(low))
    assert 2.0 < rank <= 3.01


def test_rank_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(100, 6, generator=generator).double()
    unit = torch.nn.functional.normalize(vectors, dim=1)
    singular = torch.linalg.svdvals(unit - unit.mean(0))
    share = singular / singular.sum()
    entropy = -sum(p * math.log(p) for p in share.tolist())
    assert spread(covariance(vectors))[1] == pytest.approx(math.exp(entropy))


class Watched(torch.nn.Module):
    """A method whose encoder is not called, as those that ask it for features of all stages."""

    def __init__(self, dead: bool) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Identity())
        self.logged: dict[str, float] = {}
        if dead:
            torch.nn.init.zeros_(self.encoder[0].weight)

    def log(self, name: str, value: float, **_: object) -> None:
        self.logged[name] = value

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return self.encoder[1](self.encoder[0](image))


class OneProcess:
    global_step = 7
    sanity_checking = False

    class strategy:
        @staticmethod
        def reduce(value: torch.Tensor, reduce_op: str) -> torch.Tensor:
            return value


@pytest.mark.parametrize("dead", [False, True])
def test_monitor_hears_the_encoder_and_warns(dead, caplog):
    method, monitor = Watched(dead), CollapseMonitor(warn_below=0.01)
    trainer = OneProcess()
    monitor.on_validation_start(trainer, method)
    for seed in range(3):
        method.features(torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed)))
        monitor.on_validation_batch_end(trainer, method)
    monitor.on_validation_epoch_end(trainer, method)
    assert (method.logged["val/feature_std"] < 0.01) == dead
    assert ("Step 7: the encoder's features have collapsed" in caplog.text) == dead
    before = dict(method.logged)
    method.features(torch.rand(2, 3, 9, 9))
    assert monitor._latest is None, "between validations it does not listen"
    assert method.logged == before
