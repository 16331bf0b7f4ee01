"""Runs of the whole program on two ranks, as torchrun or SLURM start them."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import PATIENCE, wait_until
from together import Ranks, free_port

HERE = Path(__file__).parent
CONF = HERE / "conf"
TWO = ("trainer.devices=2", "trainer.strategy=ddp")


def work(*overrides: str) -> None:
    """The tiny experiment, in this process."""
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.terminal import command_line as cli
    from selfsup_motion.train import train

    def run(cfg):
        try:
            return train(cfg)
        except cli.Interrupted as stop:
            sys.exit(128 + stop.signum)

    torch.set_num_threads(1)
    searched = f"hydra.searchpath=[{CONF}]"
    cli.job(run, compose([searched, "experiment=tiny", "data=tiny", *overrides]))


def two(*overrides: str, **environment: str) -> Ranks:
    return Ranks(2, work, *TWO, *overrides, environment=environment)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def rows(run: Path) -> dict[str, dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as stream:
        return {row["step"]: row for row in csv.DictReader(stream)}


def assert_nearly_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    for name, value in a.items():
        torch.testing.assert_close(value, b[name])


def test_two_ranks_share_one_folder_and_only_the_first_writes(folder):
    assert two("trainer.max_steps=4").join() == [0, 0]
    (run,) = Path("outputs/train/tiny").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["devices"], summary["steps"], summary["restarts"]) == (2, 4, 0)
    assert list(rows(run)) == ["1", "2", "3", "4"]
    assert (run / "train.log").read_text().count("Writing to") == 1


def test_resume_auto_means_the_same_checkpoint_to_all_ranks(folder):
    common = ("resume=auto", "callbacks.checkpoint.every_n_train_steps=1")
    assert two("trainer.max_steps=7", "paths.output_dir=straight").join() == [0, 0]
    assert two(*common, "trainer.max_steps=3").join() == [0, 0]
    assert two(*common, "trainer.max_steps=7").join() == [0, 0]
    (run,) = Path("outputs/train/tiny").iterdir()
    assert_nearly_same(Path("straight"), run)
    assert json.loads((run / "summary.json").read_text())["restarts"] == 1


def test_a_signal_to_one_rank_saves_and_stops_both(folder):
    assert two("trainer.max_steps=7", "paths.output_dir=straight").join() == [0, 0]
    split = ("paths.output_dir=split", "method.interrupt_at=3", "method.interrupt_rank=1")
    assert two("trainer.max_steps=7", *split).join() == [143, 130]
    assert torch.load("split/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    assert two("trainer.max_steps=7", "resume=split").join() == [0, 0]
    assert_nearly_same(Path("straight"), Path("split"))


def test_a_batch_that_two_ranks_cannot_share_is_one_sentence(folder, capfd):
    assert two("data.batch_size=7").join() == [2, 2]
    told = capfd.readouterr().err
    assert "data.batch_size=7 counts the samples of a step over all devices" in told
    assert "2 devices do not divide it: choose a multiple of 2." in told
    assert list(folder.iterdir()) == []


def test_what_the_first_rank_refuses_stops_the_others(folder, capfd):
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("do not lose")
    assert two("paths.output_dir=run").join() == [2, 2]
    told = capfd.readouterr().err
    assert "paths.output_dir=run already has files" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_on_one_rank_keeps_no_rank_waiting(folder, rank):
    ranks = two("paths.output_dir=run", "method.die_at=3", f"method.interrupt_rank={rank}")
    ranks.processes[rank].join(PATIENCE)
    assert ranks.processes[rank].exitcode == 2
    # the other one hears from gloo that its peer is gone; the launcher would end it on a GPU
    assert all(ranks.join())


def test_numbers_are_those_of_all_ranks(folder):
    """Dropout differs between ranks, so the data do the telling."""
    assert Ranks(1, work, "method.lr=0.0", "paths.output_dir=one").join() == [0]
    assert two("method.lr=0.0", "paths.output_dir=two").join() == [0, 0]
    one, both = (rows(Path(name)) for name in ("one", "two"))
    for name in ("train/sum", "train/median"):
        for step, row in one.items():
            assert float(both[step][name]) == pytest.approx(float(row[name]), rel=1e-4), step


def launch(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


TRAIN = ("selfsup_motion.train", f"--config-dir={CONF}", "experiment=tiny", "data=tiny", *TWO)


@pytest.mark.slow
def test_torchrun_makes_one_run(folder):
    rendezvous = ("--nproc-per-node=2", f"--master-port={free_port()}")
    process = launch("torch.distributed.run", *rendezvous, "-m", *TRAIN, "trainer.max_steps=4")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    (run,) = Path("outputs/train/tiny").iterdir()
    assert list(rows(run)) == ["1", "2", "3", "4"]


@pytest.mark.slow
def test_a_rank_that_dies_takes_the_run_down_with_its_message(folder):
    died = ("method.die_at=3", "method.interrupt_rank=1", "paths.output_dir=run")
    process = launch(*TRAIN, *died)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, out + err
    assert "Rank 1: run/disk: no space is left" in err
    assert "Rank 1 ended with status 2, so this run ends." in err


@pytest.mark.slow
def test_a_killed_rank_ends_the_run(folder):
    process = launch(*TRAIN, "trainer.max_steps=100000", "paths.output_dir=run")
    wait_until(Path("run/checkpoints/last.ckpt").exists, lambda: process.poll() is None)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert "Rank 1 was killed by signal 9, so this run ends." in err or "Connection closed" in err


@pytest.mark.slow
def test_sigterm_to_the_first_process_saves_and_leaves_nobody_behind(folder):
    process = launch(*TRAIN, "trainer.max_steps=100000", "paths.output_dir=run")
    wait_until(Path("run/checkpoints/last.ckpt").exists, lambda: process.poll() is None)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert "saved run/checkpoints/last.ckpt" in err
    assert not any(Path(f"/proc/{child}").exists() for child in children)
