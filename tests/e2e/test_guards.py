"""What a run does when training goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from patience import PATIENCE, wait_until
from test_ddp_run import two
from test_resume import rows, tree, weights
from together import CONTEXT

from selfsup_motion.errors import UserError
from selfsup_motion.terminal.command_line import Interrupted
from selfsup_motion.training import session


def test_nan_stops_the_run_before_it_reaches_the_weights(tiny, folder):
    with pytest.raises(UserError) as caught:
        tiny("method.nan_at=[5]", "paths.output_dir=run")
    told = str(caught.value)
    assert told.startswith("Step 5: the loss is nan; the step was not taken, the last good")
    assert "run/checkpoints/last.ckpt" in told
    assert "callbacks.non_finite.action=skip" in told
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 4
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_nan_names_the_samples_of_all_ranks(folder, capfd):
    assert two("data=keyed", "method.nan_at=[2]", "paths.output_dir=run").join() == [2, 2]
    told = capfd.readouterr().err
    assert "Step 2: the loss is nan (samples 108, 110, 112, 114, 109, 111, 113, 115)" in told
    assert told.count("Step 2") == 1 or "Rank 1: Step 2" in told


def test_nan_on_one_rank_names_that_ranks_samples(folder, capfd):
    only = ("method.nan_at=[2]", "method.interrupt_rank=1")
    assert two("data=keyed", *only, "paths.output_dir=run").join() == [2, 2]
    told = capfd.readouterr().err
    assert "the loss is not finite on another rank (samples 109, 111, 113, 115)" in told


def test_skipped_steps_change_nothing_and_are_counted(tiny, folder):
    skip = "callbacks.non_finite.action=skip"
    tiny(skip, "method.nan_at=[1,2,3,4,5,6]", "paths.output_dir=all", "seed=3")
    tiny(skip, "method.nan_at=[4,6]", "paths.output_dir=some", "seed=3")
    summary = json.loads(Path("some/summary.json").read_text())
    assert summary["skipped_steps"] == 2
    assert summary["steps"] == 6
    after = torch.load("all/checkpoints/last.ckpt", weights_only=True)
    # an optimiser that had made a step would have moments
    assert after["optimizer_states"][0]["state"] == {}
    assert all(value.isfinite().all() for value in weights(Path("some")).values())


def test_too_many_skipped_steps_in_a_row_end_the_run(tiny, folder):
    skip = ("callbacks.non_finite.action=skip", "callbacks.non_finite.max_in_a_row=2")
    with pytest.raises(UserError, match="Step 5: the loss is nan, 3 times in a row"):
        tiny(*skip, "method.nan_at=[3,4,5]")


def test_skipped_steps_are_counted_over_sessions(tiny, folder):
    skip = ("callbacks.non_finite.action=skip", "method.nan_at=[1,5]")
    tiny(*skip, "trainer.max_steps=3", "paths.output_dir=run")
    tiny(*skip, "trainer.max_steps=6", "resume=run")
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["skipped_steps"], summary["restarts"]) == (2, 1)


@pytest.mark.parametrize("stop", [3, 8])
def test_averaged_weights_resume_exactly(tiny, folder, stop):
    tiny("callbacks=ema", "trainer.max_steps=10", "paths.output_dir=straight")
    with pytest.raises(Interrupted):
        tiny(
            "callbacks=ema", "trainer.max_steps=10", "paths.output_dir=split",
            f"method.interrupt_at={stop}",
        )  # fmt: skip
    tiny("callbacks=ema", "trainer.max_steps=10", "resume=split")
    a, b = (
        torch.load(f"{n}/checkpoints/last.ckpt", weights_only=True) for n in ("straight", "split")
    )
    for one, other in (
        (a["state_dict"], b["state_dict"]),
        (a["ema"]["weights"], b["ema"]["weights"]),
    ):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert rows(Path("straight")) == rows(Path("split"))
    assert any(
        not torch.equal(a["state_dict"][n], a["ema"]["weights"][n]) for n in a["ema"]["weights"]
    )


def test_average_is_validated_on_request_and_never_trained(tiny, folder):
    for name, extra in (
        ("plain", []),
        ("both", ["callbacks=ema"]),
        ("silent", ["callbacks=ema", "callbacks.ema.validate=false"]),
    ):
        tiny(*extra, f"paths.output_dir={name}")
    plain, both, silent = (rows(Path(name)) for name in ("plain", "both", "silent"))
    assert [row["train/loss"] for row in plain.values()] == [
        row["train/loss"] for row in both.values()
    ]
    assert silent == plain
    assert both["6"]["val/epe"] != plain["6"]["val/epe"]


def test_resuming_without_the_average_is_refused(tiny, folder):
    tiny("callbacks=ema", "trainer.max_steps=2", "paths.output_dir=run")
    with pytest.raises(UserError, match="its run averages the weights, add callbacks=ema"):
        tiny("trainer.max_steps=4", "resume=run")


def test_periodic_checkpoints_are_kept_within_their_number(tiny, folder):
    periodic = ("callbacks.checkpoint.keep_every_n_steps=2", "callbacks.checkpoint.keep=2")
    tiny(*periodic, "trainer.max_steps=7", "paths.output_dir=run")
    names = sorted(p.name for p in Path("run/checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step_00000004.ckpt", "step_00000006.ckpt"]
    for step in (4, 6):
        file = Path(f"run/checkpoints/step_{step:08}.ckpt")
        assert torch.load(file, weights_only=True)["global_step"] == step


def test_auto_falls_back_to_a_periodic_checkpoint_and_says_so(tiny, folder):
    periodic = ("callbacks.checkpoint.keep_every_n_steps=4", "callbacks.figures=null")
    tiny("trainer.max_steps=10", "paths.output_dir=straight", *periodic)
    tiny("trainer.max_steps=6", "paths.output_dir=split", *periodic)
    for name in ("last", "best"):
        file = Path(f"split/checkpoints/{name}.ckpt")
        whole = bytearray(file.read_bytes())
        whole[len(whole) // 2] ^= 1  # a bit that the disk has lost
        file.write_bytes(whole)
    tiny("trainer.max_steps=10", "paths.output_dir=split", "resume=auto", *periodic)
    told = Path("split/train.log").read_text()
    assert "damaged" in told
    assert "Resuming split/checkpoints/step_00000004.ckpt at step 4." in told
    a, b = weights(Path("straight")), weights(Path("split"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_accumulated_batches_make_the_step_of_the_whole_batch(tiny, folder):
    # dropout would differ, and so would statistics of a batch
    common = ("data=keyed", "method.dropout=0.0", "trainer.max_steps=3")
    tiny(*common, "paths.output_dir=whole")
    tiny(*common, "trainer.accumulate_grad_batches=4", "paths.output_dir=parts")
    a, b = weights(Path("whole")), weights(Path("parts"))
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_full_disk_while_saving_leaves_the_previous_checkpoint(tiny, folder):
    mounted = folder / "disk"
    mounted.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(mounted)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        quiet = ("callbacks.figures=null", "paths.output_dir=disk/run", "trainer.max_steps=200")
        often = ("callbacks.checkpoint.every_n_train_steps=1", "trainer.val_check_interval=500")
        keep = ("callbacks.checkpoint.keep_every_n_steps=1", "callbacks.checkpoint.keep=null")
        with pytest.raises((UserError, OSError)) as caught:
            tiny(*quiet, *often, *keep)
        assert "No space left on device" in str(caught.value)
        last = torch.load("disk/run/checkpoints/last.ckpt", weights_only=True)
        assert last["global_step"] >= 1
        kept = list(Path("disk/run/checkpoints").glob("step_*.ckpt"))
        for file in kept:
            torch.load(file, weights_only=True)
            file.unlink()  # what a person would do
        tiny(*quiet, *often, "trainer.max_steps=30", "resume=auto")
        tiny("trainer.max_steps=30", *often, "callbacks.figures=null", "paths.output_dir=straight")
        a, b = weights(Path("straight")), weights(Path("disk/run"))
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert rows(Path("straight")) == rows(Path("disk/run"))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def hang(stop_within: float) -> None:
    """A run whose third step takes an hour."""
    from test_ddp_run import work

    work("method.hang_at=3", "paths.output_dir=run", f"stop_within={stop_within}")


def test_a_step_that_does_not_end_cannot_hold_the_signal_up(folder, capfd):
    process = CONTEXT.Process(target=hang, args=(1.0,))
    process.start()
    wait_until(lambda: "hanging" in capfd.readouterr().out, process.is_alive)
    since = time.monotonic()
    process.terminate()
    process.join(PATIENCE)
    status = process.exitcode
    process.kill()
    assert status == 128 + signal.SIGTERM
    assert time.monotonic() - since > 0.5
    told = capfd.readouterr().err
    assert "Stopped without saving" in told
    assert "run/checkpoints/last.ckpt is complete" in told


def test_second_signal_leaves_at_once(folder, capfd):
    process = CONTEXT.Process(target=hang, args=(600.0,))
    process.start()
    for expected in ("hanging", "a second signal stops at once"):
        wait_until(lambda text=expected: text in capfd.readouterr().out, process.is_alive)
        assert process.is_alive(), "the first signal waits for the step"
        os.kill(process.pid, signal.SIGINT)
    process.join(PATIENCE)
    status = process.exitcode
    process.kill()
    assert status == 128 + signal.SIGINT


def test_slurm_warning_saves_and_asks_to_be_requeued(tiny, folder, monkeypatch):
    scontrol = folder / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    job = {"JOB_ID": "77", "ARRAY_JOB_ID": "70", "ARRAY_TASK_ID": "3", "NTASKS": "1",
           "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0",
           "JOB_NAME": "train"}  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    tiny("trainer.max_steps=6", "paths.output_dir=straight")
    again = ("trainer.max_steps=6", "paths.output_dir=run", "resume=auto")
    with pytest.raises(Interrupted) as caught:
        tiny(*again, "method.interrupt_at=3", "method.interrupt_with=SIGUSR1")
    assert "SLURM will start job 70_3 again." in caught.value.message
    assert Path("asked").read_text() == "requeue 70_3\n"
    assert not list(Path("run").glob("hpc*")), "Lightning's own requeueing is off"
    tiny(*again)
    a, b = weights(Path("straight")), weights(Path("run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_file_that_loading_hangs_on_is_named(folder):
    from test_killed import write_videos

    write_videos(Path("videos"), 4)
    slow = ("data=slow", "data.root=videos", "callbacks.stalls.after_seconds=2.0")
    process = CONTEXT.Process(target=slow_run, args=(slow,))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    told = Path("run/train.log").read_text()
    assert "has been reading videos/02.mp4 for" in told
    assert "01.mp4" not in told
    assert json.loads(Path("run/summary.json").read_text())["data_wait_share"] > 0.3


def slow_run(overrides) -> None:
    from test_ddp_run import work

    work(*overrides, "paths.output_dir=run", "trainer.max_steps=2")


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_compiled_run_equals_the_plain_one(tiny, folder, monkeypatch, device):
    if device == "cpu":  # where it is refused: traced, and left as it is
        traced = partial(session.compiled, backend="eager")
        monkeypatch.setattr(session, "compiled", traced)
        monkeypatch.setattr(session, "check_compiler", lambda _: None)
    common = (f"trainer={device}", "method.dropout=0.0", "trainer.max_steps=3")
    tiny(*common, "paths.output_dir=plain")
    tiny(*common, "compile=true", "paths.output_dir=compiled")
    a, b = weights(Path("plain")), weights(Path("compiled"))
    for name in a:
        torch.testing.assert_close(a[name], b[name])
    assert not any("_orig_mod" in name for name in b)
    assert tree(Path("compiled"))
    assert sys.modules["torch._dynamo"].utils.counters["stats"]["unique_graphs"] > 0
