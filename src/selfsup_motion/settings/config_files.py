"""YAML files are read once in a process, however many configs are composed of them.

Hydra composes each command's config twice, and a study has a hundred. A third of that time would go
into reading the same files again.
"""

import copy
import os
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

_Read = tuple[object, ConfigResult]
_READ: dict[tuple[str, str], _Read] = {}
"""By source and path: what tells whether a file has changed, and what was read."""


class RememberingRepository(ConfigRepository):
    """Hydra's reader of configs; a file that has not changed is not read again."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """The config of a path, which may be changed by who asks for it."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        state = None if source is None else _state(source, config_path)
        if source is None or state is None:
            return super().load_config(config_path)
        key = source.full_path(), config_path
        known = _READ.get(key)
        if known is None or known[0] != state:
            read = super().load_config(config_path)
            if read is None:
                return None
            known = _READ[key] = state, read
        return copy.deepcopy(known[1])


def _state(source: ConfigSource, config_path: str) -> Any:
    """Equal as long as a file is the same; None: what is no file is always read."""
    if source.scheme() == "pkg":  # of an installed package
        return "pkg"
    if source.scheme() != "file":
        return None
    name = source._normalize_file_name(config_path)
    found = os.stat(os.path.join(source.path, name))
    return found.st_mtime_ns, found.st_size, found.st_ino
