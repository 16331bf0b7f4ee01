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
    cfg = OmegaConf.create(
        {"a": {"b": "${c.d}"}, "c": {"d": "${e}"}, "e": 1, "f": "${oc.env:X,1}", "g": "${c}"}
    )
    assert user_key(cfg, "a.b") == "e"
    assert user_key(cfg, "f") == "f"
    assert user_key(cfg, "g.d") == "e"
    assert user_key(cfg, "g.new") == "c.new"


def swept() -> list:
    """Each sweep with each experiment that it tries; by default only the first one is looked at."""
    cases = []
    for file in sorted((config_dir() / "sweep").glob("*.yaml")):
        sweep = OmegaConf.load(file)
        named = [
            f"experiment={x}" for x in sweep.parameters.get("experiment", {}).get("values", [])
        ]
        words = OmegaConf.to_container(sweep)["command"]  # ${env} is wandb's
        named += [word for word in words if word.startswith("experiment=")]
        own = [word for word in words if word.startswith("monitor=")]
        cases += [(file.stem, [word, *own]) for word in named]
    return [pytest.param(*c, marks=[pytest.mark.slow] if i else []) for i, c in enumerate(cases)]


@pytest.mark.parametrize(("name", "experiment"), swept())
def test_sweep_file_names_valid_keys(name, experiment):
    sweep = OmegaConf.load(config_dir() / "sweep" / f"{name}.yaml")
    cfg = compose(experiment)
    chosen = []
    for key, parameter in sweep.parameters.items():
        if key != "experiment":
            assert OmegaConf.select(cfg, key) is not None, key
            chosen.append(
                f"{key}={parameter['values'][0] if 'values' in parameter else parameter.min}"
            )
    check_config(compose([*experiment, *chosen]))
    assert sweep.metric.name == cfg.monitor
