"""What comes with the package, and how a run is packed to be passed on.

python -m selfsup_motion.weights                        the models that come with the package
python -m selfsup_motion.weights <name>                 the card of one
python -m selfsup_motion.weights pack <run> <file>      a run as one small safetensors file
"""

import sys
from pathlib import Path

from selfsup_motion.errors import UserError
from selfsup_motion.weights.shipped import shipped

_SUFFIX = ".safetensors"


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    try:
        match arguments:
            case []:
                text = _table()
            case ["pack", run, file]:
                text = _packed(run, Path(file))
            case [name] if name in shipped():
                text = shipped()[name].card.read_text(encoding="utf-8")
            case [name] if not name.startswith("-"):
                raise UserError(
                    f"{name}: there is no such model; choose one of {', '.join(shipped())}."
                )
            case _:
                text = (__doc__ or "").strip()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    return 0


def _table() -> str:
    rows = [
        f"{model.name:16s} {model.file.stat().st_size / 1e6:4.1f} MB  {model.about}"
        for model in shipped().values()
    ]
    return "\n".join(
        [
            *rows,
            "",
            "Use one with checkpoint=<name> or selfsup_motion.load_method(<name>); its card: "
            "python -m selfsup_motion.weights <name>",
        ]
    )


def _packed(run: str, file: Path) -> str:
    """Write the weights of a run's checkpoint, without the state of its training."""
    if file.suffix != _SUFFIX:
        raise UserError(f"{file}: expected the name of a {_SUFFIX} file.")
    if file.exists():
        raise UserError(f"{file}: there is such a file already; name another one.")
    from selfsup_motion.weights.contents import KEY, read_checkpoint
    from selfsup_motion.weights.portable import write_portable
    from selfsup_motion.weights.run_folders import checkpoint_file

    checkpoint = checkpoint_file(run)
    content = read_checkpoint(checkpoint)
    write_portable(file, content["state_dict"], content[KEY], content["global_step"])
    return (
        f"{file}: {file.stat().st_size / 1e6:.1f} MB, step {content['global_step']} of {checkpoint}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
