"""Paths of version 0.1 lead to where things are now."""

import importlib
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsup_motion.settings.moved import MOVED, current_target


@pytest.mark.parametrize("old", MOVED)
def test_modules_are_imported_from_where_they_are_now(old: str) -> None:
    sys.modules.pop(f"selfsup_motion.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"selfsup_motion.{old} is now"):
        module = importlib.import_module(f"selfsup_motion.{old}")
    assert module is importlib.import_module(f"selfsup_motion.{MOVED[old]}")
    assert module.__name__ == module.__spec__.name == f"selfsup_motion.{MOVED[old]}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.videos.VideoFolder", "data.sources.videos.VideoFolder"),
        ("data.concat.ConcatSource.of_split", "data.sources.concat.ConcatSource.of_split"),
        ("methods.cmp_view.CMPView", "methods.cmp.view.CMPView"),
        ("utils.ema.EMA", "callbacks.ema.EMA"),
    ],
)
def test_targets_are_translated(old: str, new: str) -> None:
    assert current_target(f"selfsup_motion.{old}") == f"selfsup_motion.{new}"


@given(st.sampled_from(sorted(MOVED.values())))
def test_what_is_current_stays(new: str) -> None:
    target = f"selfsup_motion.{new}.Something"
    assert current_target(target) == target


@pytest.mark.parametrize("target", ["torch.optim.Adam", "my_package.data.videos.Mine"])
def test_other_peoples_paths_stay(target: str) -> None:
    assert current_target(target) == target


@pytest.mark.parametrize("name", ["CMP", "CorrFlow", "MoSI"])
def test_public_names_kept_their_place(name: str) -> None:
    package = importlib.import_module(f"selfsup_motion.methods.{name.lower()}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(package, name).__name__ == name


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("selfsup_motion.utils.nothing")
