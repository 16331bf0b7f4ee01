"""Signatures read from the source are those of the imported classes."""

import re
import sys

import pytest

from selfsup_motion.errors import UserError
from selfsup_motion.settings.check import describe
from selfsup_motion.settings.groups import config_dir
from selfsup_motion.settings.signatures import _imported, signature

TARGETS = sorted(
    {
        target
        for file in config_dir().rglob("*.yaml")
        for target in re.findall(r"_target_: ([\w.]+)", file.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_source_tells_what_the_import_tells(target):
    read, imported = signature(target), _imported(target)
    assert read.names == imported.names
    assert read.required == imported.required
    assert read.takes_all == imported.takes_all
    for name in read.names:
        annotation = imported.annotation(name)
        if "Tensor" not in str(annotation):  # of which the source only tells that it is a class
            # Python gives the members of a union in the order in which it first met them
            told, wanted = (describe(a).split(" or ") for a in (read.annotation(name), annotation))
            assert sorted(told) == sorted(wanted), name


def write(folder, monkeypatch, text):
    (folder / "own_lab.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    signature.cache_clear()
    from selfsup_motion.settings import signatures

    signatures._module.cache_clear()


def test_own_classes_are_read_and_not_imported(tmp_path, monkeypatch):
    write(
        tmp_path,
        monkeypatch,
        """
from __future__ import annotations
import dataclasses
from typing import Literal, Optional
import torch
from torch import nn

raise ImportError("not to be imported")

Mode = Literal["fast", "slow"]

class Base:
    def __init__(self, width: int, mode: "Mode" = "fast", *, part: nn.Module | None = None): ...

class Derived(Base):
    @classmethod
    def of(cls, path: Optional[str], **rest): ...

@dataclasses.dataclass
class Settings:
    sizes: tuple[int, ...]
    names: list[str] = dataclasses.field(default_factory=list)
""",
    )
    derived = signature("own_lab.Derived")
    assert (derived.names, derived.required) == (("width", "mode", "part"), ("width",))
    assert describe(derived.annotation("mode")) == "one of fast, slow"
    assert describe(derived.annotation("part")) == "a Module or null"
    made = signature("own_lab.Derived.of")
    assert (made.names, made.takes_all) == (("path",), True)
    settings = signature("own_lab.Settings")
    assert (settings.names, settings.required) == (("sizes", "names"), ("sizes",))
    assert describe(settings.annotation("sizes")) == "a list of integers"
    assert "own_lab" not in sys.modules


def test_what_the_source_does_not_show_is_imported(tmp_path, monkeypatch):
    write(
        tmp_path,
        monkeypatch,
        "class Made:\n    def __init__(self, size: int): ...\nmake = {'a': Made}['a']\n",
    )
    assert signature("own_lab.make").required == ("size",)
    sys.modules.pop("own_lab")


@pytest.mark.parametrize(
    "target", ["no_such_lab.Thing", "selfsup_motion.data.sources.videos.Nothing"]
)
def test_what_is_nowhere_is_a_users_error(target):
    with pytest.raises(UserError, match="cannot be imported"):
        signature(target)
