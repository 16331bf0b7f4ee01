"""Points to masks: `python -m selfsup_motion.annotate image=photo.jpg positive=[[120,80]]`.

What moves together when the network is told to move a point is the point's object; see
`docs/applications.md`.
"""

import hydra
from omegaconf import DictConfig

from selfsup_motion.apps.example import CLICKS, use_example
from selfsup_motion.apps.job import run_job
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.terminal import command_line as cli


def annotate(cfg: DictConfig) -> None:
    """Annotate as configured.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if cfg.objects is None and not cfg.negative:
        use_example(cfg, CLICKS)
    run_job(cfg, "objects", auto_method="CMP", check_inputs=_check_inputs)


def _check_inputs(cfg: DictConfig) -> None:
    from selfsup_motion.apps.input_checks import check_annotation

    check_annotation(cfg)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="annotate")
def _main(cfg: DictConfig) -> None:
    cli.job(annotate, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="annotate")


if __name__ == "__main__":
    main()
