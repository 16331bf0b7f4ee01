"""Follow a mask through a video: `python -m selfsup_motion.propagate video=in.mp4 mask=first.png`.

PyTorch is imported when config and files are checked: mistakes cost no seconds.
"""

import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.unused import check_used, refuse_ineffective
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.output_folder import configured_path, output_folder, unused
from selfsup_motion.weights.shipped import CORRESPONDENCE, shipped

_TYPES = {
    "name": str,
    "checkpoint": str | None,
    "checkpoint_key": str | None,
    "trust": str | list[str],
    "device": str,
    "seed": int,
    "paths.output_dir": str,
}
_READ = (
    "job",
    "name",
    "paths",
    "checkpoint",
    "checkpoint_key",
    "trust",
    "device",
    "seed",
    "encoder",
)


def propagate(cfg: DictConfig) -> None:
    """Propagate as configured.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if OmegaConf.is_missing(cfg, "video"):
        raise UserError("Which video? Add video=<file or folder of frames>.")
    check_used(cfg, _READ, "propagate")
    random = cfg.checkpoint is None
    refuse_ineffective(
        [
            ("sigma", cfg.mask is not None, "it is the size of points, and a mask is followed"),
            ("fps", not cfg.overlay, "it is the speed of the film, and overlay=false makes none"),
            ("seed", not random, "it is of random weights, and a checkpoint has its own"),
        ]
    )
    cfg.name = Path(str(cfg.video)).stem

    from selfsup_motion.apps.preflight import check_encoder
    from selfsup_motion.settings.check import check_config

    check_config(cfg, _TYPES)
    unused(*configured_path(cfg))
    check_encoder(cfg, "CorrFlow")

    from selfsup_motion.apps.propagate_input import open_inputs

    given = cfg.points
    points: Any = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    open_inputs(cfg.video, cfg.mask, points)

    from selfsup_motion.settings.build import build
    from selfsup_motion.tasks.features.choice import choose_device, choose_encoder, weights_line
    from selfsup_motion.tasks.propagation.choice import name_preset
    from selfsup_motion.terminal.bar import Bar
    from selfsup_motion.terminal.console import console, logging_to, quieten

    quieten()
    job = build(cfg.job, "propagate")
    name_preset(job)
    device = choose_device(cfg.device)
    if cfg.checkpoint is None:
        console.print(
            "No checkpoint is given, so no learned features are used, but colours; checkpoint=auto "
            "takes the newest finished CorrFlow run.",
            markup=False,
        )
    elif cfg.checkpoint == CORRESPONDENCE:
        console.print(
            f"Features are those of {CORRESPONDENCE}, a model that comes with the package; "
            "encoder=color_patches compares colours.",
            markup=False,
        )
    encoder = choose_encoder(
        cfg.get("encoder"),
        cfg.checkpoint,
        cfg.seed,
        auto_method="CorrFlow",
        key=cfg.checkpoint_key,
        trust=cfg.trust,
    )
    if cfg.checkpoint is not None:
        console.print(weights_line(encoder), markup=False)
    done = 0

    def show(frames: int, total: int, name: str) -> None:
        nonlocal done
        done = frames
        bar.show(frames, total, name)

    # what was found so far is worth keeping; the first frame was given
    with output_folder(cfg, useful=lambda folder: done > 1) as folder, Bar() as bar:
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
        try:
            with logging_to(folder / "propagate.log"):
                job.run(encoder, folder, device=device, progress=show)
        except BaseException:
            if done > 1:
                console.print(f"The first {done} frames are in {folder}", markup=False)
            raise
    for name in ("masks", "points.json", "overlay.mp4"):
        if (folder / name).exists():
            console.print(f"{name:<12} {folder / name}", markup=False)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="propagate")
def _main(cfg: DictConfig) -> None:
    cli.job(propagate, cfg)


def main() -> None:
    """The command line entry."""
    if not any(text.startswith(("checkpoint=", "encoder=")) for text in sys.argv[1:]):
        # an encoder brings its propagator with it
        learned = CORRESPONDENCE in shipped()
        sys.argv.append(f"checkpoint={CORRESPONDENCE}" if learned else "encoder=color_patches")
    cli.run(_main, config_name="propagate")


if __name__ == "__main__":
    main()
