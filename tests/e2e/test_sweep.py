"""Sweeps: wandb's files, Hydra's multirun, several processes per job."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from patience import PATIENCE

from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir

SWEEPS = sorted((config_dir() / "sweep").glob("*.yaml"))
TINY = ("experiment=tiny", "data=tiny")
HERE = Path(__file__).parent


def load(file: Path) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return content


def propose(parameter: dict[str, Any], rng: random.Random) -> Any:
    """A value as wandb's documentation of sweep configurations describes it."""
    if "values" in parameter:
        return rng.choice(parameter["values"])
    low, high = parameter["min"], parameter["max"]
    kind = parameter["distribution"]
    if kind == "uniform":
        return rng.uniform(low, high)
    assert kind == "log_uniform_values"
    return low * (high / low) ** rng.random()


def arguments(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The command line that wandb's agent makes of a proposal."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    made = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})
    inserted = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": ["python"],
        "${program}": [sweep["program"]],
        "${args_no_hyphens}": made["args_no_hyphens"],
    }
    command = create_sweep_command(sweep["command"])
    return [word for part in command for word in inserted.get(part, [part])]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda f: f.stem)
def test_proposals_of_a_sweep_compose(file):
    sweep = load(file)
    rng = random.Random(0)
    for _ in range(3):
        values = {name: propose(p, rng) for name, p in sweep["parameters"].items()}
        words = arguments(sweep, values)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "selfsup_motion.train"]
        cfg = compose(words[4:])
        check_config(cfg)
        for name, value in values.items():
            expected = yaml.safe_load(value) if isinstance(value, str) else value  # a list's text
            assert OmegaConf.select(cfg, name) == expected, name
        assert sweep["metric"]["name"] == cfg.monitor
        assert sweep["metric"]["goal"].startswith(cfg.monitor_mode)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda f: f.stem)
def test_sweep_file_has_the_keys_that_wandb_knows(file):
    sweep = load(file)
    known = {"program", "method", "metric", "run_cap", "early_terminate", "parameters", "command"}
    assert sweep.keys() <= known
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["early_terminate"]["type"] == "hyperband"
    for name, parameter in sweep["parameters"].items():
        assert ("values" in parameter) != ({"min", "max"} <= parameter.keys()), name
        assert None not in parameter.get("values", []), f"{name}: wandb would pass the text None"


@pytest.mark.parametrize("file", SWEEPS, ids=lambda f: f.stem)
def test_sweep_file_passes_wandbs_own_check(file):
    sweeps = pytest.importorskip("sweeps", reason="needs wandb[sweeps]")
    sweep = load(file)
    assert sweeps.schema_violations_from_proposed_config(sweep) == []
    run = sweeps.next_run(sweep, [])
    values = {name: entry["value"] for name, entry in run.config.items()}
    check_config(compose(arguments(sweep, values)[4:]))


def test_wandb_gets_config_figures_metrics_and_checkpoint(main, folder, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    sent: dict[str, Any] = {"images": []}
    finish = wandb.finish

    def listen(*args: Any, **kwargs: Any) -> None:
        sent["config"] = dict(wandb.run.config)
        sent["summary"] = dict(wandb.run.summary)
        sent["id"] = wandb.run.id
        finish(*args, **kwargs)

    monkeypatch.setattr(wandb, "finish", listen)
    offline = ("logger=wandb", "logger.wandb.mode=offline", "trainer.max_steps=2")
    assert main(*TINY, *offline, "paths.output_dir=run") == 0
    assert sent["config"]["method"]["lr"] == 0.1
    assert sent["config"]["data"]["module"]["batch_size"] == 8
    assert sent["summary"]["checkpoint/last"] == str(folder / "run/checkpoints/last.ckpt")
    assert Path(sent["summary"]["checkpoint/best"]).is_file()
    assert sent["summary"]["val/epe"] > 0
    assert list(Path("run/wandb").rglob("media/images/figures/weights*.png"))
    first = sent["id"]
    assert main(*TINY, *offline, "trainer.max_steps=4", "resume=run") == 0
    assert sent["id"] == first


def test_wandb_disabled_writes_no_wandb_folder(main, folder):
    disabled = ("logger=wandb", "logger.wandb.mode=disabled", "trainer.max_steps=1")
    assert main(*TINY, *disabled, "paths.output_dir=run") == 0
    assert not Path("run/wandb").exists()


def test_a_sweeps_agent_names_the_run(main, folder, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_RUN_ID", "agentsid")
    offline = ("logger=wandb", "logger.wandb.mode=offline", "trainer.max_steps=1")
    assert main(*TINY, *offline, "paths.output_dir=run") == 0
    assert Path("run/checkpoints/wandb_run_id").read_text() == "agentsid\n"


def test_children_of_a_multirun_get_the_command_of_their_job(main, folder, monkeypatch):
    from hydra.core.hydra_config import HydraConfig

    from selfsup_motion.training import launch

    seen = []
    one_job = launch.one_job

    def listen(decision: dict[str, Any]) -> Any:
        manager = one_job(decision)
        manager.__enter__()
        seen.append((list(sys.argv[1:]), json.loads(os.environ["SELFSUP_MOTION_DECISION"])))
        assert HydraConfig.get().job.num == len(seen) - 1
        os.environ["LOCAL_RANK"] = "0"  # as Lightning leaves it behind
        return Closing(manager)

    monkeypatch.setattr(launch, "one_job", listen)
    jobs = ("seed=1,2", "trainer.max_steps=1", "paths.output_dir=sweep", "--multirun")
    assert main(*TINY, *jobs) == 0
    for number, (command, decision) in enumerate(seen):
        assert command[0].startswith("--config-dir=")
        assert "--multirun" not in command
        assert f"seed={number + 1}" in command
        assert command[-1] == "hydra.mode=RUN"
        assert decision["folder"] == f"sweep/{number}"
    assert "SELFSUP_MOTION_DECISION" not in os.environ
    assert "LOCAL_RANK" not in os.environ


class Closing:
    """A context that has been entered."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        self.manager.__exit__(*exception)


@pytest.mark.slow
def test_optuna_proposes_what_the_metric_of_earlier_jobs_says(cli, folder):
    pytest.importorskip("optuna", reason="needs the optuna extra")
    done = cli(
        *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1", "hydra.sweeper.direction=minimize",
        "method.lr=interval(0.001,0.1)", "optimized_metric=val/epe", "trainer.max_steps=1",
        "paths.output_dir=sweep", "--multirun", timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rates = [OmegaConf.load(f"sweep/{job}/config.yaml").method.lr for job in "012"]
    assert len(set(rates)) == 3


SRUN = """#!/bin/sh
shift
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 "$@" &
  tasks="$tasks $!"
done
status=0
for task in $tasks; do
  wait $task || status=$?
done
exit $status
"""


@pytest.mark.slow
def test_the_slurm_script_makes_one_run_of_its_tasks(folder):
    tools = folder / "bin"
    tools.mkdir()
    python = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    for name, text in (("srun", SRUN), ("python", python)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2",
           "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost", "SLURM_JOB_NAME": "train",
           "MASTER_ADDR": "127.0.0.1"}  # fmt: skip
    cpu = ("trainer.accelerator=cpu", "trainer.sync_batchnorm=false", "trainer.max_steps=2")
    conf = f"hydra.searchpath=[{HERE / 'conf'}]"
    done = subprocess.run(
        ["bash", str(HERE.parents[1] / "scripts/slurm/train.sh"), conf, *TINY, *cpu],
        env={**os.environ, **job, "PATH": f"{tools}:{os.environ['PATH']}",
             "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(Path("outputs/slurm/12/summary.json").read_text())
    assert (summary["devices"], summary["steps"]) == (2, 2)


@pytest.mark.parametrize("script", ["slurm/train.sh", "slurm/sweep_agents.sh", "torchrun_train.sh"])
def test_without_arguments_a_script_shows_its_usage(script):
    path = HERE.parents[1] / "scripts" / script
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"scripts/{script}" in done.stdout
    assert "SBATCH" not in done.stdout
