"""Jobs with the settings of their configs."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from selfsup_motion.data.preparation.work import Job, Outcome, Work
from selfsup_motion.settings.build import build
from selfsup_motion.settings.compose import compose


def make_job(name: str, **settings: Any) -> Job:
    """The job of `prepare=<name>` with these `prepare.*`."""
    cfg = compose([f"prepare={name}"], config_name="prepare")
    for key, value in settings.items():
        OmegaConf.update(cfg, f"prepare.{key}", str(value) if key in ("root", "output") else value)
    job: Job = build(cfg.prepare.job, "prepare")
    return job


def run(job: Job) -> Outcome:
    return Work(num_workers=1).run(job)


def prepare(name: str, **settings: Any) -> Outcome:
    return run(make_job(name, **settings))
