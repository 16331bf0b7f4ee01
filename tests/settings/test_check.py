import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile, ExistingFolder
from selfsup_motion.settings.check import check_config, describe, matches
from selfsup_motion.settings.compose import compose

VALID = [
    (3, int),
    (3, float),
    (3.5, float),
    ("a", str),
    (True, bool),
    (None, int | None),
    (3, int | None),
    ("x", Literal["x", "y"]),
    ([1, 2], tuple[int, int]),
    ([1, 2, 3], tuple[int, ...]),
    ([1, 2], Sequence[int]),
    ([1, 2], list[float]),
    ({"a": 1}, Mapping[str, int]),
    ("folder", Path),
    ("folder", str | os.PathLike[str]),
    (3, int | tuple[int, int]),
    ("anything", Any),
]
INVALID = [
    ("3", int),
    (True, int),
    (3.0, int),
    ("3", float),
    (1, bool),
    (3, str),
    (None, int),
    ("z", Literal["x", "y"]),
    (1, Literal["1"]),
    ([1, 2, 3], tuple[int, int]),
    (["a", 2], tuple[int, int]),
    ("12", Sequence[int]),
    ([1, "a"], list[int]),
    ([1], Mapping[str, int]),
    (3, Path),
    ("resnet", Callable[..., int]),
    (3, Path | Callable[..., int]),
]


@pytest.mark.parametrize(("value", "annotation"), VALID)
def test_value_that_fits(value, annotation):
    assert matches(value, annotation)


@pytest.mark.parametrize(("value", "annotation"), INVALID)
def test_value_that_does_not_fit(value, annotation):
    assert not matches(value, annotation)
    assert describe(annotation)


class Example:
    def __init__(self, *, size: int, mode: Literal["a", "b"] = "a", part: object = None) -> None:
        self.size = size


def config(**changes):
    cfg = OmegaConf.create(
        {
            "experiment": "x",
            "seed": 0,
            "resume": None,
            "monitor": "val/loss",
            "monitor_mode": "min",
            "optimized_metric": None,
            "print_config": True,
            "compile": False,
            "stop_within": 25.0,
            "lr_scaling": {"rule": None, "base_batch_size": 256},
            "paths": {"output_dir": "out"},
            "data": {
                "size": 3,
                "module": {"_target_": f"{__name__}.Example", "size": "${data.size}", "mode": "a"},
            },
        }
    )
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    return cfg


def test_correct_config_passes():
    check_config(config())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # the key that the user sets, not the one that refers to it
        ({"data__size": "two"}, "data.size=two: expected an integer."),
        ({"data__module__mode": "c"}, "data.module.mode=c: expected one of a, b."),
        ({"data__module__sise": 3}, "Unknown key data.module.sise: did you mean data.module.size?"),
        ({"data__module__part": {"_target_": f"{__name__}.Example", "x": 3}}, "data.module.part.x"),
        ({"own": {"_target_": f"{__name__}.Example"}}, "own: test_check.Example needs size: set"),
        ({"data__size": [3]}, "data.size=[3]: expected an integer."),
        ({"experiment": 2024}, """; if 2024 is one, write 'experiment="2024"'."""),
        ({"data__size": "???"}, "data.size is not set: add it to the command line"),
        ({"data__own_root": "???"}, "for example data.own_root=/path/to/folder"),
        ({"seed": "abc"}, "seed=abc: expected an integer."),
        ({"print_config": None}, "print_config=null: expected true or false."),
        ({"monitor_mode": "least"}, "monitor_mode=least: expected one of min, max."),
        ({"data__module___target_": "selfsup_motion.nothing.Here"}, "selfsup_motion.nothing.Here"),
    ],
)  # fmt: skip
def test_mistake_is_named_by_key_and_expectation(changes, expected):
    with pytest.raises(UserError) as caught:
        check_config(config(**changes))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_value_is_not_told_as_another_command_line_has_it():
    compose(["experiment=mosi"])
    with pytest.raises(UserError, match="if 2024 is one, write 'experiment=\"2024\"'"):
        check_config(config(experiment=2024))


class Takes:
    def __init__(self, *, rows: Sequence[Sequence[float]], names: Sequence[Literal["a", "b"]]):
        pass


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rows", [4, 2], "a list of lists of numbers, for example part.rows=[[4,2]]."),
        ("names", "a", "a list of values out of a, b, for example part.names=[a]."),
        ("names", ["c"], "part.names=[c]: expected a list of values out of a, b."),
    ],
)
def test_list_that_lacks_its_brackets_is_told_with_them(key, value, expected):
    part = {"_target_": f"{__name__}.Takes", "rows": [], "names": [], key: value}
    with pytest.raises(UserError) as caught:
        check_config(OmegaConf.create({"part": part}), {})
    assert expected in str(caught.value)


class Reads:
    def __init__(self, *, file: ExistingFile | None, folder: ExistingFolder | list[str]):
        pass


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"file": "Fine.txt"}, "part.file=Fine.txt: there is no such file, did you mean fine.txt?"),
        ({"file": "."}, "part.file=.: expected a file, this is a folder."),
        ({"folder": "fine.txt"}, "part.folder=fine.txt: expected a folder, this is a file."),
        ({"folder": "x" * 300}, "File name too long"),
    ],
)
def test_path_that_must_exist_is_looked_for(tmp_path, monkeypatch, changes, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fine.txt").touch()
    fine = {"_target_": f"{__name__}.Reads", "file": "fine.txt", "folder": "."}
    check_config(OmegaConf.create({"part": fine}), {})
    check_config(OmegaConf.create({"part": {**fine, "file": None, "folder": ["a"]}}), {})
    with pytest.raises(UserError) as caught:
        check_config(OmegaConf.create({"part": {**fine, **changes}}), {})
    assert expected in str(caught.value)
