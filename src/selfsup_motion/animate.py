"""Move a photo: `python -m selfsup_motion.animate image=photo.jpg arrows=[[120,80,30,-10]]`.

The network is a trained CMP; see `docs/applications.md`.
"""

import hydra
from omegaconf import DictConfig, OmegaConf

from selfsup_motion.apps.example import ARROWS, use_example
from selfsup_motion.apps.job import run_job
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.unused import refuse_ineffective
from selfsup_motion.terminal import command_line as cli


def animate(cfg: DictConfig) -> None:
    """Animate as configured.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    use_example(cfg, ARROWS)
    if OmegaConf.is_missing(cfg, "arrows"):
        cfg.arrows = "suggest"
    seamless = cfg.loop == "seamless"
    refuse_ineffective([("easing", seamless, "loop=seamless moves at one speed")])
    run_job(cfg, "frames", auto_method="CMP", check_inputs=_check_inputs)


def _check_inputs(cfg: DictConfig) -> None:
    from selfsup_motion.apps.input_checks import check_animation

    check_animation(cfg)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="animate")
def _main(cfg: DictConfig) -> None:
    cli.job(animate, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="animate")


if __name__ == "__main__":
    main()
