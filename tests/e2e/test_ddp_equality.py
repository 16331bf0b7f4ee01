"""Two ranks with half of the batch each do what one process does with all of it."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from together import Ranks

# a line for each method: what makes its experiment small; dropout differs between ranks
EXPERIMENTS = {
    "cmd": [
        "view.size=32",
        "view.motion_size=8",
        "method.dropout=0.0",
        "data.num_videos=6",
        "encoder.width=4",
        "encoder.widths=[8,8,8]",
        "method.hidden=16",
        "method.dim=8",
    ],
    "cmp": ["view.crop_size=64", "encoder.width=8"],
    "corrflow": ["view.crop_size=64", "method.dropout.probability=0.0"],
    # in world 0, rounding decides about one ReLU in the third step
    "crw": ["view.size=64", "method.edge_dropout=0.0", "data.world_seed=1"],
    "cycletime": ["view.size=84", "data.size=84"],
    "dense_ulearn": ["view.crop_size=64"],
    "dsm": ["changes.size=32", "view.field=48", "data.length=4", "method.queue=10"],
    "mast": ["view.crop_size=64"],
    "mosi": ["view.field=64", "motion.size=32", "motion.length=4", "method.dropout=0.0"],
    "wmse": [
        "data=toy",  # in worlds of one scene features are alike, and whitening magnifies rounding
        "changes.size=32",
        "view.field=48",
        "data.length=4",
        "method.dim=2",
        "method.whitening=4",
        "method.epsilon=0.2",  # else rounding is divided by variances of almost nothing
    ],
    "rho_byol": ["changes.size=32", "view.field=48", "data.length=4", "method.sequential=true"],
    "rho_moco": ["changes.size=32", "view.field=48", "data.length=4", "method.queue=20"],
    "rho_simclr": ["changes.size=32", "view.field=48", "data.length=4", "rho=3"],
    "rho_swav": ["changes.size=32", "view.field=48", "data.length=4", "method.sequential=true"],
}
STEPS = 3


class Record(pl.Callback):
    """Takes down gradients and samples; running statistics of batch norm are left aside."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.keys: list[list[str]] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, *_) -> None:
        for module in pl_module.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        self.keys.append(list(batch["key"]))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.gradients.append(
            {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        )

    def on_train_batch_end(self, trainer, *_) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def short_run(experiment: str, *overrides: str, devices: int = 1) -> dict[str, Any]:
    """A few steps and a validation."""
    from selfsup_motion.callbacks.collapse import CollapseMonitor
    from selfsup_motion.callbacks.guards import NonFinite
    from selfsup_motion.callbacks.seeding import SeedEveryBatch
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.terminal.console import quieten

    quieten()
    torch.set_num_threads(1)
    small = ["data.size=64", "data.val_videos=3", "data.batch_size=4", "data.num_workers=0"]
    small += [*EXPERIMENTS[experiment], "seed=1"]
    # Adam would divide rounding errors by gradients that are zero but for rounding
    sgd = ["method.optimizer._target_=torch.optim.SGD", "method.optimizer.lr=0.01"]
    cfg = compose([f"experiment={experiment}", *small, *sgd, *overrides])
    pl.seed_everything(1, verbose=False)
    method = build(cfg.method, "method")
    record = Record()
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        callbacks=[
            SeedEveryBatch(1), record, NonFinite("stop", 1), CollapseMonitor(0.0),
        ],
        num_sanity_val_steps=0,
        val_check_interval=STEPS * cfg.trainer.accumulate_grad_batches,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, build(cfg.data.module, "data"))
    return {
        "gradients": [{n: g.numpy() for n, g in step.items()} for step in record.gradients],
        "weights": {n: w.numpy() for n, w in method.state_dict().items()},
        "metrics": {n: float(v) for n, v in trainer.callback_metrics.items()},
        "losses": record.losses,
        "keys": record.keys,
    }


DEFAULT = {"cmp", "corrflow", "mosi"}
"""Looked at by default; the others in `make test-all`."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if name in DEFAULT else pytest.mark.slow)
        for name in EXPERIMENTS
    ],
)
def runs(request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One process, and both of two."""
    one = Ranks(1, short_run, request.param).results(150)[0]

    def rank() -> dict[str, Any]:
        return short_run(request.param, devices=2)

    return one, Ranks(2, rank).results(150)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=2e-4, atol=2e-5)


def test_ranks_share_the_samples_of_each_step(runs):
    one, (first, second) = runs
    assert len(one["keys"]) == STEPS
    for whole, even, odd in zip(one["keys"], first["keys"], second["keys"], strict=True):
        assert whole[0::2] == even
        assert whole[1::2] == odd


def test_gradients_are_those_of_one_process(runs):
    one, ranks = runs
    for rank in ranks:
        for a, b in zip(one["gradients"], rank["gradients"], strict=True):
            assert a.keys() == b.keys()
            # an empty queue has nothing to learn from: all zero
            largest = max(abs(g).max() for g in a.values()) or 1.0
            for name in a:
                close(a[name] / largest, b[name] / largest)


def test_weights_after_the_steps_are_those_of_one_process(runs):
    one, ranks = runs
    for rank in ranks:
        for name, weight in one["weights"].items():
            close(weight, rank["weights"][name])


def test_logged_numbers_are_those_of_one_process(runs):
    one, ranks = runs
    for rank in ranks:
        close(one["losses"], rank["losses"])
        assert one["metrics"].keys() == rank["metrics"].keys()
        assert any(name.startswith("val/") for name in one["metrics"])
        for name, value in one["metrics"].items():
            assert value == pytest.approx(rank["metrics"][name], rel=1e-3, abs=1e-4), name
