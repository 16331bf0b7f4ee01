"""Runs that are killed again and again end where the undisturbed run ends."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from patience import wait_until
from test_ddp_run import work
from test_resume import rows, weights
from together import Ranks

pytestmark = pytest.mark.slow
STEPS = 1500
COMMON = (
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=250",
    "trainer.log_every_n_steps=50",
    "callbacks.checkpoint.every_n_train_steps=7",
    "callbacks.checkpoint.keep_every_n_steps=25",
    "callbacks.figures=null",
    "callbacks=ema",
    "resume=auto",
    "print_config=false",
    "stop_within=20",
)


def kill_until(number: int, signum: int, size: int, folder: str) -> int:
    """Restart the run until it has been killed so often and has ended; returns its end's status."""
    rng = random.Random(number + signum)
    two = ("trainer.devices=2", "trainer.strategy=ddp") if size == 2 else ()
    last = Path(folder, "checkpoints/last.ckpt")
    kills = 0
    while True:
        before = last.stat().st_mtime_ns if last.exists() else 0
        ranks = Ranks(size, work, *COMMON, *two, f"paths.output_dir={folder}")
        if kills == number:
            return max(ranks.join())
        # it has to get on, or the test would never end
        wait_until(
            lambda: last.exists() and last.stat().st_mtime_ns != before,  # noqa: B023
            ranks.processes[0].is_alive,
            pause=0.002,
        )
        time.sleep(rng.random() * 0.1)
        for process in ranks.processes:
            os.kill(process.pid, signum)
        ranks.join()
        kills += 1


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run."""
    run = tmp_path_factory.mktemp("chaos") / "straight"
    assert Ranks(1, work, *COMMON, f"paths.output_dir={run}").join() == [0]
    return run


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_twenty_signals_change_nothing(folder, straight, signum):
    assert kill_until(20, signum, 1, "split") == 0
    a, b = weights(straight), weights(Path("split"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    summary = json.loads(Path("split/summary.json").read_text())
    assert (summary["steps"], summary["restarts"]) == (STEPS, 20)
    assert rows(Path("split")) == rows(straight)


def test_two_ranks_killed_together_end_where_two_undisturbed_ranks_end(folder):
    two = ("trainer.devices=2", "trainer.strategy=ddp")
    assert Ranks(2, work, *COMMON, *two, "paths.output_dir=straight").join() == [0, 0]
    assert kill_until(6, signal.SIGKILL, 2, "split") == 0
    a, b = weights(Path("straight")), weights(Path("split"))
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_a_checkpoint_cut_at_any_byte_is_passed_over(folder, straight):
    rng = random.Random(0)
    more = (*COMMON, "paths.output_dir=split")
    assert Ranks(1, work, *more, "trainer.max_steps=60").join() == [0]
    for _ in range(3):
        for name in ("last", "best"):
            file = Path(f"split/checkpoints/{name}.ckpt")
            file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])
        assert Ranks(1, work, *more, "trainer.max_steps=90").join() == [0]
    told = Path("split/train.log").read_text()
    assert told.count("refused") >= 3
    assert "Resuming split/checkpoints/step_00000050.ckpt at step 50." in told
    assert Ranks(1, work, *more).join() == [0]
    a, b = weights(straight), weights(Path("split"))
    assert all(torch.equal(a[name], b[name]) for name in a)
