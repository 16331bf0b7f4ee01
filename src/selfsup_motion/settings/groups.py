"""What the groups of the configuration offer, and where their files are."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from selfsup_motion.errors import UserError

_own: list[Path] = []
"""A person's own config folders."""


def config_dir() -> Path:
    """Folder of the YAML groups: the wheel's own copy if it is there, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if folder.is_dir():
            return folder
    raise UserError(f"{package}: the package lacks its configuration, install it again.")


def use_folders(folders: Sequence[Path]) -> None:
    """Count the options in a person's own config folders in, wherever options are listed."""
    _own[:] = folders


def own_folders() -> list[Path]:
    """The folders of `use_folders`."""
    return list(_own)


def described(group: str) -> dict[str, str]:
    """What a group offers, each with the first comment line of its file."""
    return {name: _first_comment(file) for name, file in _files(group).items()}


def options(group: str) -> list[str]:
    """What a group offers, the simple names first; `_name.yaml` are parts of others."""
    return list(_files(group))


def groups() -> list[str]:
    """The groups that there are, whatever command they belong to."""
    found = [path for root in (*_own, config_dir()) if root.is_dir() for path in root.iterdir()]
    return sorted({path.name for path in found if path.is_dir() and path.name != "hydra"})


def groups_of(command: str) -> set[str]:
    """The groups that a command has; none if it composes no config."""
    file = config_dir() / f"{command}.yaml"
    if not file.is_file():
        return set()
    # as a text: to parse dozens of YAML files takes a second
    return set(re.findall(r"(?m)^ +- (\w+):", file.read_text(encoding="utf-8")))


def commands() -> dict[str, str]:
    """The commands by name, each with what it does."""
    files = sorted((config_dir() / "hydra" / "help").glob("*.yaml"))
    return {file.stem: str(OmegaConf.load(file)["header"]) for file in files}  # type: ignore[index]


def options_with(group: str, key: str, command: str) -> list[str]:
    """The options of a group that a command can use and that have a key at their top."""
    files = _files(group)
    return [name for name in usable(group, command) if _has_key(files[name], key)]


def usable(group: str, command: str) -> list[str]:
    """The options of a group that a command can be given: not those that choose an option of a
    group that it does not have (an encoder its propagator), nor, for train, data sets of
    evaluation and encoders without weights.
    """
    own = groups_of(command)
    names = []
    for name, file in _files(group).items():
        chosen = re.findall(r"(?m)^ +- override /(\w+)", file.read_text(encoding="utf-8"))
        if command in ("train", "fit_colors") and group == "data" and not _has_key(file, "module"):
            continue
        if command == "train" and _first_comment(file).startswith("No weights"):
            continue
        if set(chosen) <= own:
            names.append(name)
    return names


def register_help(command: str) -> None:
    """Let a command's help list the options of a group: `${options:data}`, `${lines:task}`."""
    OmegaConf.register_new_resolver(
        "options", lambda group: ", ".join(usable(group, command)), replace=True
    )
    OmegaConf.register_new_resolver("lines", option_list, replace=True)
    OmegaConf.register_new_resolver("own_groups", _own_groups, replace=True)


def option_list(group: str) -> str:
    """One line per option of a group."""
    known = described(group)
    width = max(map(len, known), default=0)
    lines = [f"  {group}={name:<{width}}  {text}".rstrip() for name, text in known.items()]
    return "\n".join(lines)


def _files(group: str) -> dict[str, Path]:
    """The files of a group by name; a person's own come before ours, as in Hydra."""
    found: dict[str, Path] = {}
    for folder in (config_dir(), *reversed(_own)):
        root = folder / group
        for file in root.rglob("*.yaml"):
            if not file.name.startswith("_"):
                found[file.relative_to(root).with_suffix("").as_posix()] = file
    return dict(sorted(found.items(), key=lambda item: (item[0].count("/"), item[0])))


def _own_groups() -> str:
    """Lines for the help text about groups that only a person's own folders have."""
    theirs = [group for group in groups() if not (config_dir() / group).is_dir()]
    lines = [f"  {group:<12} {', '.join(options(group))}" for group in theirs if options(group)]
    return "\n".join(["Groups of your own", *lines, "", ""]) if lines else ""


def _has_key(file: Path, key: str) -> bool:
    """Whether a config file, or one of its group that it is made of, has a key at its top."""
    text = file.read_text(encoding="utf-8")
    inherited = (file.with_name(f"{part}.yaml") for part in re.findall(r"(?m)^ +- (\w+)$", text))
    return re.search(rf"(?m)^{key}:", text) is not None or any(
        part.is_file() and part != file and _has_key(part, key) for part in inherited
    )


def _first_comment(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").rstrip()
    return ""
