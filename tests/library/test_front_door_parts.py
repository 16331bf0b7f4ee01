"""Encoders and propagators by name."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import selfsup_motion as ssm
from selfsup_motion.errors import UserError
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options
from selfsup_motion.tasks.propagation.choice import preset


def test_an_encoder_has_the_settings_of_its_file_except_those_given():
    encoder = ssm.encoder("resnet10", width=8)
    cfg = compose(["encoder=resnet10"]).encoder
    assert (encoder.out_channels, encoder.stride) == (cfg.out_channels, cfg.output_stride)
    assert encoder.conv1.out_channels == 8
    assert encoder.training


@pytest.mark.parametrize(
    "name", [o for o in options("propagator") if not o.startswith(("auto", "all"))]
)
def test_a_propagator_has_the_settings_of_its_file(name):
    propagator = ssm.propagator(name)
    assert propagator.name == name
    assert propagator.settings == preset(name)


def test_a_setting_of_a_propagator_can_be_given():
    assert ssm.propagator("crw", top_k=5).settings == {**preset("crw"), "top_k": 5}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: ssm.encoder("resnet19"), "encoder=resnet19: there is no such encoder, did you me"),
        (lambda: ssm.encoder("resnet18", widht=8), "encoder.widht: did you mean encoder.width?"),
        (lambda: ssm.encoder("resnet18", width="8"), "encoder.width=8: expected an integer"),
        (lambda: ssm.encoder("resnet18", depth=17), "encoder: depth must be one of 10, 18"),
        (lambda: ssm.propagator("crww"), "propagator=crww: there is no such propagator, did you "),
        (lambda: ssm.propagator("auto"), "here, name one of badja, color"),
        (lambda: ssm.propagator("crw", top_k=0), "propagator: top_k must be at least 1."),
    ],
)
def test_mistake_is_one_sentence(call, expected):
    with pytest.raises(UserError) as caught:
        call()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_application_of_hydra_that_calls_goes_on_as_it_was():
    compose(["experiment=cmp"])  # leaves its config behind
    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    ssm.encoder("resnet10", width=8)
    assert (GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before
