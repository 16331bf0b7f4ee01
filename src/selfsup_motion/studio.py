"""The models in a browser: `python -m selfsup_motion.studio`, see `docs/studio.md`."""

from importlib.util import find_spec

import hydra
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.unused import check_used
from selfsup_motion.terminal import command_line as cli

_NEEDS = ("starlette", "uvicorn")


def studio(cfg: DictConfig) -> None:
    """Serve the page as configured, until the process is stopped.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise UserError(
            f"the studio needs {' and '.join(missing)}: pip install 'selfsup_motion[studio]'."
        )
    check_used(cfg, ("job",), "studio")

    from selfsup_motion.apps.preflight import check_checkpoint
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.check import check_config
    from selfsup_motion.settings.trust import packages
    from selfsup_motion.terminal.console import quieten

    quieten()
    check_config(cfg, {})
    packages(cfg.trust)
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint, "CMP")
    build(cfg.job, "job").run()


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="studio")
def _main(cfg: DictConfig) -> None:
    cli.job(studio, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="studio")


if __name__ == "__main__":
    main()
