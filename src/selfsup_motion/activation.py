"""Show where a network sees motion: `python -m selfsup_motion.activation video=clip.mp4`.

The network is a trained MoSI; see `docs/mosi.md`.
"""

import hydra
from omegaconf import DictConfig

from selfsup_motion.apps.job import run_job
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.terminal import command_line as cli


def activation(cfg: DictConfig) -> None:
    """Draw as configured.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    run_job(cfg, "frames", auto_method="MoSI", check_inputs=_check_inputs)


def _check_inputs(cfg: DictConfig) -> None:
    from selfsup_motion.apps.input_checks import check_activation

    check_activation(cfg)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="activation")
def _main(cfg: DictConfig) -> None:
    cli.job(activation, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="activation")


if __name__ == "__main__":
    main()
