"""The one-liners in scripts/ do what their first lines say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_killed import write_videos

from selfsup_motion.data.reading.pictures import save_picture

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPTS / name), *arguments],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("prepare_*.sh")), ids=lambda p: p.name)
def test_without_arguments_the_usage_is_shown(script):
    done = run(script.name)
    assert done.returncode == 2
    assert f"scripts/{script.name} <folder" in done.stdout
    assert "python -m selfsup_motion.train experiment=cmp" in done.stdout
    assert "set -e" not in done.stdout


def test_data_sets_are_prepared(folder):
    write_videos(folder / "videos", 3)
    jobs = [
        ("prepare_kinetics.sh", "videos", "index"),
        ("prepare_kinetics.sh", "videos", "shards", "shards", "prepare.short_side=32"),
        ("prepare_oxuva.sh", "videos", "yfcc/UnsupVideo_Frames", "prepare.fps=5"),
        ("prepare_yfcc.sh", "yfcc"),
    ]
    for name, *arguments in jobs:
        done = run(name, *arguments, "prepare.num_workers=1")
        assert done.returncode == 0, done.stderr
        assert "3 good, 0 bad" in done.stdout
    made = ("index/index.npz", "shards/index.npz", "yfcc/flow/pairs.txt")
    assert all((folder / name).is_file() for name in made)
    assert (folder / "yfcc/UnsupVideo_Frames/frames.csv").read_text().startswith("00,4\n")


def test_array_tasks_take_their_shares(folder):
    write_videos(folder / "videos", 3)
    for task in ("1", "2"):
        array = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"}
        done = run("prepare_kinetics.sh", "videos", "index", **array)
        assert done.returncode == 0, done.stderr
    assert "Processed 1. In total: 3 good" in done.stdout


@pytest.mark.slow
def test_models_are_made_again_and_go_on_where_they_stopped(folder):
    usage = run("make_weights.sh")
    assert usage.returncode == 2
    assert "make weights CLIPS=" in usage.stderr
    write_videos(folder / "clips", 2)
    (folder / "photos").mkdir()
    for index, photo in enumerate(np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3))):
        save_picture(folder / f"photos/{index}.png", photo.astype(np.uint8))

    def made(models: str, steps: int) -> dict[str, bytes]:
        done = run(
            "make_weights.sh",
            CLIPS="clips",
            PHOTOS="photos",
            OUTPUT="weights",
            MODELS=models,
            STEPS=str(steps),
            ARGS="data.num_workers=0 trainer.limit_val_batches=1",
            PYTHON=sys.executable,
        )
        assert done.returncode == 0, done.stderr
        files = [*folder.glob("weights/*.safetensors"), *folder.glob("weights/measured/*/*.json")]
        return {
            file.relative_to(folder / "weights").as_posix(): file.read_bytes() for file in files
        }

    first = made("mosi", 1)
    further = made("mosi correspondence", 2)
    assert first.keys() == {"mosi.safetensors", "measured/mosi/summary.json"}
    assert further.keys() - first.keys() == {"correspondence.safetensors"}
    assert all(further[name] != first[name] for name in first)
    assert made("mosi correspondence", 2) == further


@pytest.mark.slow
def test_a_slurm_array_prepares_anything(folder):
    write_videos(folder / "videos", 5)
    usage = run("slurm/prepare_array.sh")
    assert usage.returncode == 2
    assert "sbatch scripts/slurm/prepare_array.sh <job>" in usage.stdout
    outputs = []
    for task in ("2", "3", "1"):  # whichever node is free first
        slurm = {
            "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_CPUS_PER_TASK": "1",
        }
        settings = ["prepare.root=videos", "prepare.output=frames", "prepare.short_side=16"]
        done = run("slurm/prepare_array.sh", "frames", *settings, **slurm)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "Processed 2. " in outputs[0]
    assert "Left for other shards" in outputs[1]
    assert "Processed 2. In total: 5 good" in outputs[2]
    assert len((folder / "frames/frames.csv").read_text().splitlines()) == 5
