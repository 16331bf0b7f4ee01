"""Fit CorrFlow's colour classes to videos: `python -m selfsup_motion.fit_colors data=videos …`.

The published 16 colours were fitted to Kinetics; others may describe other videos better.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig, open_dict

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.unused import check_used
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.output_folder import folder_of

_TYPES = {
    "clusters": int,
    "frames": int,
    "pixels": int,
    "seed": int,
    "output": str,
}


def fit(cfg: DictConfig) -> None:
    """Fit as configured and write the file that `method.centroids` takes.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    from selfsup_motion.apps.preflight import check_module, open_sources
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.check import check_config

    check_module(cfg, "fit_colors")
    check_used(cfg, (*_TYPES, "data.module.source", "data.module.sampler"), "fit_colors")
    with open_dict(cfg.data):
        module = cfg.data.module
        cfg.data.module = {"source": module.source, "sampler": module.sampler}
        # of evaluation
        for part in ("sequences", "tracks", "parsing", "joints", "vos", "photos", "flow_pairs"):
            cfg.data.pop(part, None)
    check_config(cfg, _TYPES)
    for name in ("clusters", "frames", "pixels"):
        if cfg[name] < 1:
            raise UserError(f"{name} must be at least 1, got {cfg[name]}.")
    output = Path(cfg.output)
    if output.exists():
        raise UserError(f"{output}: exists already, choose another output or remove it.")
    source = open_sources(cfg, "data.module", ("source",))["source"]
    sampler = build(cfg.data.module.sampler, "data")

    from selfsup_motion.data.preparation.color_clusters import fit_colors
    from selfsup_motion.methods.corrflow.color_files import write_centroids
    from selfsup_motion.terminal.bar import Bar
    from selfsup_motion.terminal.console import console

    with folder_of(output, "output"), Bar() as bar:
        centroids = fit_colors(
            source,
            sampler,
            clusters=cfg.clusters,
            frames=cfg.frames,
            pixels=cfg.pixels,
            seed=cfg.seed,
            progress=bar.show,
        )
        while output.exists():  # made by another in the meantime
            output = output.with_stem(f"{output.stem}_1")
        write_centroids(output, centroids.tolist())
    console.print(f"Train with method.centroids={output}", markup=False)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="fit_colors")
def _main(cfg: DictConfig) -> None:
    cli.job(fit, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="fit_colors")


if __name__ == "__main__":
    main()
