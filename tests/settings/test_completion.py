"""Defaults of constructors in composed configs."""

import inspect

import pytest
import yaml
from omegaconf import OmegaConf

from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.completion import complete
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir, described
from selfsup_motion.settings.locating import locate
from selfsup_motion.settings.signatures import signature

CMP_VIEW = "selfsup_motion.methods.cmp.CMPView"


def nodes(cfg, path=""):
    """Every node with a `_target_`, by its key."""
    if OmegaConf.is_dict(cfg):
        if "_target_" in cfg:
            yield path, cfg
        for name in cfg:
            yield from nodes(cfg[name], f"{path}.{name}" if path else str(name))
    if OmegaConf.is_list(cfg):
        for index, item in enumerate(cfg):
            yield from nodes(item, f"{path}.{index}")


def repeated_defaults(node):
    """Arguments in a YAML tree, each with its line, that are what the constructor has anyway."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from repeated_defaults(each)
    if not isinstance(node, yaml.MappingNode):
        return
    values = {name.value: value for name, value in node.value}
    if "_target_" in values and values["_target_"].value.startswith("selfsup_motion."):
        defaults = signature(values["_target_"].value).defaults()
        for name in defaults.keys() & values.keys() - {"split"}:  # it stands beside the other one
            written = yaml.safe_load(yaml.serialize(values[name]))
            if written == defaults[name] and isinstance(written, bool) == isinstance(
                defaults[name], bool
            ):
                yield f"line {values[name].start_mark.line + 1}: {name}"
    for value in values.values():
        yield from repeated_defaults(value)


def test_yaml_repeats_no_default():
    """But for named networks and published recipes, which stay what they are."""
    root, repeated = config_dir(), []
    for file in sorted(root.rglob("*.yaml")):
        name = file.relative_to(root).as_posix()
        if not name.startswith(("encoder/", "experiment/paper/")):
            tree = yaml.compose(file.read_text())
            repeated += [f"{name}, {found}" for found in repeated_defaults(tree)]
    assert not repeated


def test_a_repeated_default_is_found():
    text = f"a: [{{_target_: {CMP_VIEW}, few_points: 0.0, flip: true, strategies: [grid]}}]"
    assert list(repeated_defaults(yaml.compose(text))) == ["line 1: few_points"]


def test_arguments_that_yaml_does_not_name_have_the_constructors_defaults():
    node = OmegaConf.create({"a": [{"_target_": CMP_VIEW, "flip": True}]})
    complete(node)
    assert node.a[0].flip is True
    assert node.a[0].few_points == 0.0
    assert node.a[0].flow_scale is None
    assert node.a[0].strategies == ["grid", "watershed"]


@pytest.mark.parametrize("name", [e for e in described("experiment") if "/" not in e])
def test_every_plain_argument_of_our_classes_is_in_the_config(name):
    lacking = []
    for key, node in nodes(compose([f"experiment={name}", "++data.root=x"])):
        if node["_target_"].startswith("selfsup_motion."):
            found = locate(node["_target_"])
            for argument in inspect.signature(found).parameters.values():
                plain = argument.default is None or isinstance(
                    argument.default, (bool, int, float, str, tuple)
                )
                if plain and argument.name not in node:
                    lacking.append(f"{key}.{argument.name}")
    assert not lacking


def test_defaults_read_from_the_source_are_those_of_the_constructor():
    read = signature("selfsup_motion.data.sources.videos.VideoFolder").defaults()
    made = inspect.signature(locate("selfsup_motion.data.sources.videos.VideoFolder")).parameters
    plain = {name: p.default for name, p in made.items() if p.default is not p.empty}
    assert read == {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
    assert read["extensions"][0].startswith(".")  # a constant of the module


def test_an_argument_that_yaml_does_not_name_is_set_on_the_command_line(command, capsys):
    key = "data.module.val_source.seed=7"
    assert command("train", "experiment=cmp", key, "view.flow_rotate=true", "--cfg", "job") == 0
    cfg = OmegaConf.create(capsys.readouterr().out)
    assert cfg.view.flow_rotate is True
    assert OmegaConf.is_missing(cfg.view, "x") is False
    assert cfg.val_view.flow_rotate is False
    assert cfg.data.module.prefetch_factor == 2


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("view.flow_rotate=often", "view.flow_rotate=often: expected true or false."),
        ("view.flow_rotat=true", "Unknown key view.flow_rotat: did you mean view.flow_rotate?"),
        ("propagator.top_kk=3", "did you mean propagator.top_k?"),
    ],
)
def test_mistake_in_such_an_argument_is_told_like_any_other(command, capsys, setting, expected):
    first = (
        ["evaluate", "task=davis2017", "data=davis2017", "data.root=."]
        if setting.startswith("propagator")
        else ["train", "experiment=cmp"]
    )
    assert command(*first, setting) == 2
    assert expected in capsys.readouterr().err


def test_what_stands_nowhere_is_not_invented():
    node = OmegaConf.create(
        {
            "theirs": {"_target_": "torch.optim.SGD", "_partial_": True},
            "unknown": {"_target_": "selfsup_motion.nothing.Here"},
            "reference": "${theirs}",
            "missing": "???",
        }
    )
    before = OmegaConf.to_container(node, resolve=False)
    complete(node)
    assert OmegaConf.to_container(node, resolve=False) == before


def test_a_completed_config_fits_what_it_builds():
    check_config(compose(["experiment=mosi", "view.grey=0.1", "motion.mask_frame=3"]))
