import pytest
from omegaconf import OmegaConf

from selfsup_motion.settings.check import check_config
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import config_dir, described, options
from selfsup_motion.settings.keys import missing_values, user_key


@pytest.mark.parametrize("name", described("experiment"))
def test_experiment_composes_and_fits_what_it_builds(name):
    cfg = compose([f"experiment={name}"])
    assert cfg.experiment == name
    # a data set's folder is the user's to give
    for key in missing_values(cfg):
        OmegaConf.update(cfg, key, "somewhere")
    check_config(cfg)


@pytest.mark.parametrize("name", described("experiment"))
def test_experiment_says_what_it_is(name):
    assert len(described("experiment")[name]) > 10


@pytest.mark.parametrize("group", ["trainer", "logger", "debug", "callbacks", "paths"])
def test_every_option_composes_and_fits_what_it_builds(group):
    for name in options(group):
        cfg = compose(["experiment=cmp", f"{group}={name}"])
        # a data set's folder is the user's to give
        for key in missing_values(cfg):
            OmegaConf.update(cfg, key, "somewhere")
        check_config(cfg)


def test_several_loggers_are_a_list():
    assert list(compose(["logger=[wandb,tensorboard]"]).logger) == ["csv", "wandb", "tensorboard"]


def test_references_lead_to_the_key_that_a_user_sets():
    cfg = OmegaConf.create({"a": {"b": "${c.d}"}, "c": {"d": "${e}"}, "e": 1, "f": "${oc.env:X,1}"})
    assert user_key(cfg, "a.b") == "e"
    assert user_key(cfg, "f") == "f"


def test_sweep_file_names_valid_keys():
    sweep = OmegaConf.load(config_dir() / "sweep" / "cmp.yaml")
    cfg = compose(["experiment=cmp"])
    for key in sweep.parameters:
        assert OmegaConf.select(cfg, key) is not None, key
    assert sweep.metric.name == cfg.monitor
