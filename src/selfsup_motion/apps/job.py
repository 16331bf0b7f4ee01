"""Commands that make something of one picture: a job, an output folder, a progress bar."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from selfsup_motion.settings.unused import check_used
from selfsup_motion.terminal.output_folder import configured_path, output_folder, unused

_TOP_LEVEL = {"name": str, "paths.output_dir": str}


def run_job(
    cfg: DictConfig, unit: str, *, auto_method: str, check_inputs: Callable[[DictConfig], None]
) -> None:
    """Check the config, build `cfg.job`, run it into `paths.output_dir`, print what it did.

    A job that does not come to its end leaves no folder behind.

    Args:
        cfg: with `job`, `paths.output_dir` and what they refer to.
        unit: what the job counts, for the bar.
        auto_method: whose newest run `checkpoint=auto` takes.
        check_inputs: refuses inputs that cannot be used; PyTorch is imported behind it.

    Raises:
        UserError: anything that the config's author can put right.
    """
    check_used(cfg, ("job", *_TOP_LEVEL), "this command")

    from selfsup_motion.apps.preflight import check_checkpoint
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.check import check_config
    from selfsup_motion.settings.trust import packages
    from selfsup_motion.terminal.bar import Bar
    from selfsup_motion.terminal.console import console, quieten

    quieten()
    check_config(cfg, _TOP_LEVEL)
    unused(*configured_path(cfg))
    packages(cfg.trust)
    check_checkpoint(cfg.checkpoint, auto_method)
    check_inputs(cfg)
    job = build(cfg.job, "job")
    with output_folder(cfg) as folder, Bar(unit) as bar:
        _save_config(cfg, folder)
        lines: list[str] = job.run(folder, bar.show)
    console.print("\n".join(lines), markup=False)


def _save_config(cfg: DictConfig, folder: Path) -> None:
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    del settings["job"]  # repeats the other keys
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
