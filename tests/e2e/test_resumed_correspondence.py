"""Methods that match frames, CMD, DSM: a run that was stopped midway equals one that was not."""

from pathlib import Path

import pytest
import torch

from selfsup_motion.settings.compose import compose
from selfsup_motion.train import train

# CRW's own test is in test_crw_run.py, CorrFlow's in test_corrflow_run.py
SIZES = {
    "cmd": ["view.size=32", "view.motion_size=8", "data.num_videos=4"],
    "cycletime": ["view.size=84", "data.size=84", "data.module.val_sampler.length=6"],
    "dense_ulearn": ["view.crop_size=48", "data.size=48", "data.module.val_sampler.length=3"],
    "dsm": ["changes.size=32", "view.field=48", "data.length=4", "method.queue=3"],
    "mast": ["view.crop_size=48", "data.size=48", "data.module.val_sampler.length=2"],
}
TINY = (
    "trainer=cpu", "data.val_videos=1", "data.batch_size=2", "data.num_workers=0",
    "trainer.max_steps=3", "trainer.val_check_interval=3", "callbacks.untrained=null",
    "callbacks.figures.every_n_validations=0",
)  # fmt: skip


SLOW = {"cmd", "dsm"}


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in sorted(SIZES)],
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, experiment):
    def run(name: str, *overrides: str) -> Path:
        folder = tmp_path / name
        settings = [f"experiment={experiment}", *TINY, *SIZES[experiment], *overrides]
        train(compose([*settings, f"paths.output_dir={folder}"]))
        return folder / "checkpoints"

    whole = run("whole", "callbacks.checkpoint.keep_every_n_steps=1")
    resumed = run("resumed", f"resume={whole / 'step_00000001.ckpt'}")
    first, one, other = (
        torch.load(file, weights_only=True)
        for file in (whole / "step_00000001.ckpt", whole / "last.ckpt", resumed / "last.ckpt")
    )
    assert (first["global_step"], one["global_step"], other["global_step"]) == (1, 3, 3)
    weights, again = one["state_dict"], other["state_dict"]
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert any(not torch.equal(weights[name], first["state_dict"][name]) for name in weights)
    rates = [state["optimizer_states"][0]["state"] for state in (one, other)]
    assert all(torch.equal(rates[0][i]["exp_avg"], rates[1][i]["exp_avg"]) for i in rates[0])
