"""Data sets in YAML: composing looks at none of them, and what training and validation share stands
once and can be set for both or for one."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from selfsup_motion.apps.preflight import filled_from_data
from selfsup_motion.errors import UserError
from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir, options, usable
from selfsup_motion.settings.keys import missing_values

FOR_TRAINING = usable("data", "train")


def targets(group: str) -> Counter[str]:
    """How often each class or function is named in the files of a group."""
    files = (config_dir() / group).rglob("*.yaml")
    texts = [file.read_text(encoding="utf-8") for file in files]
    return Counter(re.findall(r"(?m)^\s*_target_: ([\w.]+)", "\n".join(texts)))


OF_LOADING = (
    "selfsup_motion.data.loading.",
    "selfsup_motion.data.toy.scene.",
    "selfsup_motion.data.worlds.scene.",
)
SOURCES = [t for t in targets("data") if not t.startswith(OF_LOADING)]


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a data set fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a data set is opened")

    for target in SOURCES:
        owner, _, name = target.rpartition(".")
        if inspect.isclass(found := get_object(target)):
            monkeypatch.setattr(found, "__init__", refuse)
        else:
            monkeypatch.setattr(get_object(owner), name, refuse)


def filled(cfg: DictConfig, folder: Path) -> DictConfig:
    """A config with all that is a user's to give."""
    for key in missing_values(cfg):
        OmegaConf.update(cfg, key, {} if key == "data.sources" else str(folder))
    return cfg


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("data", FOR_TRAINING)
def test_every_data_set_composes_and_is_checked_without_being_opened(
    data: str, tmp_path: Path
) -> None:
    cfg = filled(compose(["experiment=mosi", f"data={data}"]), tmp_path)
    OmegaConf.to_container(cfg, resolve=True)
    check_config(cfg)


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("task", options("task"))
def test_every_task_composes_and_is_checked_without_its_data(task: str, tmp_path: Path) -> None:
    cfg = filled(compose([f"task={task}", "encoder=resnet10"], config_name="evaluate"), tmp_path)
    if "method" in cfg:
        check_config(filled_from_data(cfg), {}, given={"method": ("encoder",)})
    else:
        with open_dict(cfg.data):
            cfg.data.pop("module", None)  # of training
        check_config(cfg, {})
    OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.usefixtures("no_data")
def test_a_task_is_printed_without_its_data(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["task=ucf101_finetune", "data.root=nowhere", "encoder=r3d8"]
    assert command("evaluate", *arguments, "--cfg", "job", "--resolve") == 0
    told = OmegaConf.create(capsys.readouterr().out)
    assert told.data.module.source.root == "nowhere"
    assert told.trainer.max_steps is None  # nobody has counted the videos


def test_every_data_set_is_described_once() -> None:
    written = targets("data")
    assert len(SOURCES) > 10
    # VOC has two kinds of label images, the toy world is also seen through a video codec; tasks
    # wrap the sources of several data sets
    twice = {
        "selfsup_motion.data.sources.label_folders.LabelFolder",
        "selfsup_motion.data.toy.ToyWorld",
    }
    ours = [t for t in SOURCES if not t.startswith("selfsup_motion.tasks.") and t not in twice]
    assert [target for target in ours if written[target] > 1] == []


@pytest.mark.parametrize("argument", ["index", "extensions", "flow_root", "val_list_split"])
def test_an_argument_of_video_folders_is_passed_on_in_one_line(argument: str) -> None:
    text = (config_dir() / "data" / "videos.yaml").read_text(encoding="utf-8")
    lines = re.findall(rf"(?m)^ +{argument}: \$\{{data\.{argument.replace('list_', '')}\}}", text)
    assert len(lines) == 1


def raw(node: DictConfig) -> dict[str, Any]:
    """What is written for each argument that is a reference or a plain value."""
    values = {str(k): node._get_node(k)._value() for k in node if not str(k).startswith("_")}
    return {k: v for k, v in values.items() if not isinstance(v, dict | list)}


@pytest.mark.parametrize(
    "data", ["toy", "videos", "frames", "yfcc", "images", "shards", "mix", "voc2012", "coco"]
)
def test_one_setting_is_for_both_sides_and_each_side_has_its_own(data: str) -> None:
    base = ["experiment=mosi", f"data={data}"]
    module = compose(base).data.module
    both, alone = {}, []
    for part in ("source", "sampler"):
        train, val = raw(module[part]), raw(module[f"val_{part}"])
        shared = (key for key in val if "${data." in str(val[key]) and val[key] == train.get(key))
        both |= {(part, key): val[key][2:-1] for key in shared}
        alone += [f"data.module.val_{part}.{key}" for key in val]
    assert both
    changed = compose([*base, *(f"{key}=77" for key in set(both.values()))]).data.module
    assert {changed[f"{side}{part}"][key] for side in ("", "val_") for part, key in both} == {77}
    changed = compose([*base, *(f"{key}=77" for key in alone)]).data.module
    for part in ("source", "sampler"):
        assert raw(changed[part]) == raw(module[part])
        assert set(raw(changed[f"val_{part}"]).values()) == {77}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.module.val_source.shrot_side=3", "did you mean data.module.val_source.short_side?"),
        ("data.shrot_side=3", "did you mean data.short_side?"),
        ("clips_per_video=3", "did you mean data.clips_per_video?"),
        ("+data.module.val_source.indx=3", "did you mean data.module.val_source.index?"),
    ],
)
def test_misspelt_argument_of_one_side_is_answered_with_its_name(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], override: str, expected: str
) -> None:
    assert command("train", "experiment=cmp", "data=videos", "data.root=.", override) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert len(told.splitlines()) == 1


class Told:
    """Five videos."""

    classes = ("walk", "run")

    def __len__(self) -> int:
        return 5


def test_what_a_task_leaves_to_its_videos_is_taken_from_them() -> None:
    overrides = ["task=ucf101_finetune", "passes=10", "data.batch_size=2"]
    cfg = compose(overrides, config_name="evaluate")
    told = filled_from_data(cfg, Told())
    assert (told.videos, told.trainer.max_steps) == (5, 25)
    assert told.method.classes == ["walk", "run"]
    assert (cfg.videos, cfg.trainer.max_steps) == (None, None)
    own = compose([*overrides, "videos=100", "method.classes=[a,b]"], config_name="evaluate")
    told = filled_from_data(own, Told())
    assert (told.trainer.max_steps, told.method.classes) == (500, ["a", "b"])
    with pytest.raises(UserError, match="list does not tell its classes"):
        filled_from_data(cfg, [])
