"""Trained networks for other programs: `python -m selfsup_motion.export checkpoint=… format=…`."""

from importlib.util import find_spec
from pathlib import Path

import hydra
from omegaconf import DictConfig

from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.unused import check_used, refuse_ineffective
from selfsup_motion.terminal import command_line as cli
from selfsup_motion.terminal.output_folder import folder_of

_NEEDS = {
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "export"),
    "timm": (("timm",), "timm"),
}
_FORMATS = "safetensors, torchvision, timm, onnx or torch_export"


def export(cfg: DictConfig) -> None:
    """Export as configured.

    Args:
        cfg: the composed config, not resolved.

    Raises:
        UserError: anything that the config's author can put right.
    """
    if cfg.format is None:
        raise UserError(f"Which format? Add format={_FORMATS}.")
    if cfg.output is None:
        raise UserError("Where to? Add output=/path/to/folder, which is made.")
    check_used(cfg, ("job",), "export")

    from selfsup_motion.apps.preflight import check_checkpoint
    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.check import check_config
    from selfsup_motion.settings.trust import packages
    from selfsup_motion.terminal.console import console, quieten

    quieten()
    check_config(cfg, {})
    packages(cfg.trust)
    idle, why = cfg.part != "attention", "it is for part=attention"
    refuse_ineffective([(f"attention.{name}", idle, why) for name in map(str, cfg.attention)])
    modules, extra = _NEEDS.get(cfg.format, ((), ""))
    if missing := [name for name in modules if find_spec(name) is None]:
        raise UserError(
            f"format={cfg.format} needs {' and '.join(missing)}: "
            f"pip install 'selfsup_motion[{extra}]'."
        )
    output = Path(cfg.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output={output}: exists already and is left unchanged, choose another.")
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint, "CMP")
    job = build(cfg.job, "job")
    with folder_of(output, "output"):
        lines: list[str] = job.run()
    console.print("\n".join(lines), markup=False)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="export")
def _main(cfg: DictConfig) -> None:
    cli.job(export, cfg)


def main() -> None:
    """The command line entry."""
    cli.run(_main, config_name="export")


if __name__ == "__main__":
    main()
