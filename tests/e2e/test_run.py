import csv
import json
from pathlib import Path

import cv2
import pytest
import torch
from omegaconf import OmegaConf

TINY = ("experiment=tiny", "data=tiny")


def files(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_run_folder_holds_everything_and_nothing_is_written_elsewhere(cli, folder):
    done = cli(*TINY, "seed=3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = (folder / "outputs/train/tiny").iterdir()
    assert files(folder) == {
        f"{run.relative_to(folder)}/{name}"
        for name in (
            ".lock",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
            "config.yaml",
            "figures/step_000004_weights.png",
            "figures/step_000006_weights.png",
            "metrics.csv",
            "overrides.yaml",
            "summary.json",
            "train.log",
        )
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["experiment"] == "tiny"
    assert summary["method"] == "tiny.TinyMethod"
    assert summary["finished"] is True
    assert (summary["steps"], summary["seed"], summary["skipped_files"]) == (6, 3, 0)
    assert (run / summary["checkpoint"]).is_file()
    assert summary["untrained"]["val/epe"] != summary["metrics"]["val/epe"]
    assert summary["versions"]["torch"] == torch.__version__.partition("+")[0]
    for name in ("samples_per_second", "wall_seconds", "cpu_seconds", "peak_memory_mb"):
        assert summary[name] > 0
    with (run / "metrics.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert float(last["val/epe"]) == pytest.approx(summary["metrics"]["val/epe"])
    config = OmegaConf.load(run / "config.yaml")
    assert config.data.module.batch_size == 8
    assert OmegaConf.load(run / "overrides.yaml") == [*TINY, "seed=3"]
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert content["selfsup_motion"]["config"] == OmegaConf.to_container(config)
    assert content["selfsup_motion"]["experiment"] == "tiny"
    assert cv2.imread(str(run / "figures/step_000006_weights.png"))[0, 0].tolist() == [4, 4, 4]
    # what a person reads at the end: the method's table, then where things are
    assert "tiny" in done.stdout
    assert str(run.relative_to(folder) / "checkpoints/best.ckpt") in done.stdout
    assert len(done.stdout.splitlines()) < 40


def test_same_seed_gives_the_same_metrics_and_another_seed_does_not(main, folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(*TINY, f"seed={seed}", f"paths.output_dir={name}") == 0
    a, b, c = (Path(name, "metrics.csv").read_text() for name in "abc")
    assert a == b
    assert a != c


def test_multirun_gives_every_job_its_folder(main, folder):
    assert main(*TINY, "seed=1,2", "trainer.max_steps=2", "--multirun") == 0
    (sweep,) = (folder / "outputs/train/tiny").iterdir()
    seeds = [json.loads((sweep / job / "summary.json").read_text())["seed"] for job in "01"]
    assert seeds == [1, 2]


@pytest.mark.parametrize("name", ["default", "fast_dev_run", "overfit", "profiler"])
def test_debug_runs(main, folder, name):
    assert (
        main(*TINY, f"debug={name}", "++trainer.max_steps=4", "trainer.val_check_interval=2") == 0
    )
    assert [p.name for p in folder.iterdir()] == ["outputs"]
    assert [p.name for p in (folder / "outputs").iterdir()] == ["debug"]
    (run,) = (folder / "outputs/debug/tiny").iterdir()
    assert json.loads((run / "summary.json").read_text())["steps"] == (1 if "fast" in name else 4)
    assert any("fit-" in name for name in files(run)) == (name == "profiler")


def test_figures_can_be_rarer_than_validations(main, folder):
    overrides = ["trainer.val_check_interval=1", "callbacks.figures.every_n_validations=2"]
    assert main(*TINY, *overrides, "trainer.max_steps=5", "paths.output_dir=run") == 0
    steps = sorted(p.name[5:11] for p in Path("run/figures").iterdir())
    assert steps == ["000002", "000004", "000005"]


def test_settings_are_printed_without_training(main, folder, capsys):
    assert main(*TINY, "--cfg", "job", "--resolve") == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.data.module.batch_size == 8
    assert files(folder) == set()


def test_help_teaches_every_experiment_and_group(main, capsys):
    from selfsup_motion.settings.groups import described, usable

    assert main("--help") == 0
    text = capsys.readouterr().out
    for name, sentence in described("experiment").items():
        assert f"experiment={name}" in text
        assert sentence in text
    for group in ("method", "encoder", "data", "trainer", "logger", "debug"):
        assert all(name in text for name in usable(group, "train"))
    assert len(text.splitlines()) < 50 + len(described("experiment"))


def test_wandb_offline_run_stays_in_the_run_folder_and_is_resumed(main, folder, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb = ("logger=wandb", "logger.wandb.mode=offline")
    assert main(*TINY, *wandb, "trainer.max_steps=2", "paths.output_dir=run") == 0
    assert [p.name for p in folder.iterdir()] == ["run"]
    name = Path("run/checkpoints/wandb_run_id").read_text().strip()
    assert main(*TINY, *wandb, "trainer.max_steps=4", "resume=run") == 0
    sessions = [p.name for p in Path("run/wandb").glob("offline-run-*")]
    assert sessions
    # wandb adds a number to the second one if both began in the same second
    assert all(f"-{name}" in session for session in sessions)
    assert Path("run/metrics.csv").exists()


def test_tensorboard_events_are_in_the_run_folder(main, folder):
    pytest.importorskip("tensorboard")
    assert main(*TINY, "logger=tensorboard", "paths.output_dir=run") == 0
    assert [p.name for p in folder.iterdir()] == ["run"]
    assert list(Path("run/tensorboard").glob("events.out*"))


@pytest.mark.slow
def test_two_processes_share_one_run(cli, folder):
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.sync_batchnorm=false")
    done = cli(*TINY, *two, "seed=0,1", "trainer.max_steps=2", "--multirun")
    assert done.returncode == 0, done.stderr
    (sweep,) = (folder / "outputs/train/tiny").iterdir()
    assert {p.name for p in sweep.iterdir()} == {"0", "1", "multirun.yaml"}
    for job in "01":
        assert json.loads((sweep / job / "summary.json").read_text())["steps"] == 2
        assert len((sweep / job / "metrics.csv").read_text().splitlines()) == 3
