"""Train a method: `python -m selfsup_motion.train experiment=cmp`.

PyTorch is imported when the config is checked and the data are found: mistakes cost no seconds.
"""

import hydra
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir, option_list
from selfsup_motion.settings.unused import TRAINING, check_used
from selfsup_motion.terminal import command_line as cli


def train(cfg: DictConfig) -> float | None:
    """Train as configured.

    Args:
        cfg: the composed config, not resolved.

    Returns:
        The metric named by `optimized_metric`, for sweepers.

    Raises:
        UserError: anything that the config's author can put right.
        Interrupted: a signal ended the run.
    """
    if not cfg.experiment:
        raise UserError(f"Which experiment? Add one of these:\n{option_list('experiment')}")

    from selfsup_motion.apps.preflight import check_module, check_resume, open_sources
    from selfsup_motion.settings.check import check_config
    from selfsup_motion.training.lengths import check_lengths, check_measured

    check_module(cfg, "train")
    check_used(cfg, TRAINING, f"experiment={cfg.experiment}")
    check_config(cfg)
    check_lengths(cfg.trainer)
    check_measured(cfg)
    check_resume(cfg.resume)
    sources = open_sources(cfg, "data.module", ("source", "val_source"))

    from selfsup_motion.training.session import session

    return session(cfg, sources)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
def _main(cfg: DictConfig) -> float | None:
    return cli.job(train, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main)


if __name__ == "__main__":
    main()
