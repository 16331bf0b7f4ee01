import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from patience import PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_wheel_trains_from_an_unrelated_folder(tmp_path):
    pytest.importorskip("hatchling")
    build = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=CHECKOUT, check=True)
    (wheel,) = wheels.iterdir()

    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    (packages,) = (home / "lib").glob("python*/site-packages")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(packages)], check=True)
    # the dependencies that are installed here, but nothing that a .pth file there points to
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]}

    work = tmp_path / "work"
    work.mkdir()
    tiny = ("trainer.max_steps=2", "data.val_videos=8", "data.num_workers=0", "trainer=cpu")
    done = subprocess.run(
        [home / "bin/python", "-m", "selfsup_motion.train", "experiment=cmp", *tiny],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (work / "outputs/train/cmp").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["finished"]
    assert summary["git_revision"] is None

    moved = subprocess.run(
        [home / "bin/python", "-m", "selfsup_motion.animate", "seconds=0.5", "fps=8"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert moved.returncode == 0, moved.stderr
    (run,) = (work / "outputs/animate/rocket").iterdir()
    assert (run / "film.mp4").stat().st_size > 1000
