"""The folder of an evaluation: a new one, or that of the run that is resumed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.terminal.output_folder import OutputFolder, configured_path, unused

LOG = "evaluate.log"
_FREE = ("resume", "paths", "device", "overlay", "trust")
"""What may differ between a run and its continuation."""


def choose_folder(cfg: DictConfig, config: dict[str, Any]) -> OutputFolder:
    """The folder to write to: a new one, or that of the run that is resumed.

    Raises:
        UserError: it holds something else.
    """
    path, timestamped = configured_path(cfg)
    if cfg.resume is None:
        return OutputFolder(unused(path, timestamped, advice))
    folder = Path(cfg.resume)
    if not timestamped and folder.resolve() != path.resolve():
        raise UserError(
            f"resume={folder} continues in that folder, but paths.output_dir={path} names another: "
            "leave one out."
        )
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={folder}: not a run folder of evaluate, it has no config.yaml.")
    stored = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert isinstance(stored, dict)
    stored.setdefault("weights", config["weights"])  # folders of earlier versions lack them
    changed = [key for key in config if key not in _FREE and stored.get(key) != config[key]]
    if changed:
        raise UserError(
            f"resume={folder}: its run used another {' and '.join(changed)} (see its "
            "config.yaml); start a new run for these settings."
        )
    return OutputFolder(folder)


def advice(folder: Path) -> str:
    """How to go on in a folder that holds something."""
    return f"continue there with resume={folder},"


@contextlib.contextmanager
def logging_to(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """Write `config.yaml`, and the log of the block."""
    from selfsup_motion.terminal import console

    try:
        OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    except OSError as error:
        raise UserError(
            f"paths.output_dir={folder}: cannot be written ({error.strerror}); choose another one."
        ) from error
    with console.logging_to(folder / LOG):
        yield


@contextlib.contextmanager
def naming_kept_results(folder: Path) -> Iterator[None]:
    """If the block does not come to its end, say how to go on."""
    from selfsup_motion.terminal.console import console

    try:
        yield
    except BaseException:
        if has_results(folder):
            console.print(
                f"Finished results stay in {folder}; continue with resume={folder}", markup=False
            )
        raise


def has_results(folder: Path) -> bool:
    """Whether a folder holds results that a resumed run takes over; unfinished ones are hidden."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return any(
        not any(part.startswith(".") for part in file.parts)
        and str(file) not in ("config.yaml", LOG)
        for file in files
    )
