"""Studios with small limits, and visitors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from PIL import Image
from starlette.testclient import TestClient

from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose
from selfsup_motion.web.sessions import Sessions
from selfsup_motion.web.shared import Studio
from selfsup_motion.web.uploads import Limits
from selfsup_motion.weights.contents import KEY

HOME = "http://127.0.0.1"


def make_studio(runs: Path, **changes: Any) -> Studio:
    """A studio with small limits."""
    values: dict[str, Any] = {
        "checkpoint": None,
        "runs": runs,
        "trust": (),
        "device": "cpu",
        "limits": Limits(megabytes=2, megapixels=1, seconds=20),
        "sessions": Sessions(idle_seconds=600, most=20, most_bytes=50e6),
    }
    return Studio(**{**values, **changes})


def visitor(app: Any) -> TestClient:
    """Somebody who has opened the page."""
    client = TestClient(app, base_url=HOME, raise_server_exceptions=False)
    assert client.get("/").status_code == 200
    return client


def example(client: TestClient) -> dict[str, Any]:
    """The photo that comes with the package."""
    answer = client.post("/api/photos/example")
    assert answer.status_code == 200, answer.text
    photo: dict[str, Any] = answer.json()
    return photo


def two_runs(folder: Path, checkpoint: Path) -> Path:
    """Finished runs that differ in their seed."""
    for name, seed in (("first", 1), ("second", 2)):
        run = folder / "cmp" / name
        shutil.copytree(checkpoint, run)
        (run / "config.yaml").write_text(f"seed: {seed}\nmonitor: val/epe\n")
        (run / "summary.json").write_text(
            json.dumps({"finished": True, "steps": 7, "metrics": {"val/epe": seed}})
        )
        (run / "figures").mkdir()
        Image.new("RGB", (8, 8)).save(run / "figures" / "step_000007_flow.png")
    return folder


def mosi_run(folder: Path) -> Path:
    """An untrained MoSI."""
    cfg = compose(["experiment=mosi"])
    config = OmegaConf.to_container(cfg, resolve=True)
    torch.manual_seed(0)
    method = build(cfg.method, "method")
    (folder / "checkpoints").mkdir()
    ours = {"version": "0", "experiment": "mosi", "config": config}
    content = {"state_dict": method.state_dict(), "global_step": 1, KEY: ours}
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder
