import pytest

from selfsup_motion.errors import UserError
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.learning_rate import scale

CMP = ["experiment=cmp", "method.optimizer.lr=0.2", "data.batch_size=64"]


def test_a_larger_batch_changes_nothing_by_itself():
    cfg = compose(CMP)
    scaled, text = scale(cfg)
    assert scaled.method.optimizer.lr == 0.2
    assert text == "learning rate 0.2, not scaled"


@pytest.mark.parametrize(
    ("rule", "rate", "ratio"), [("linear", 0.8, "64/16"), ("sqrt", 0.4, "√(64/16)")]
)
def test_the_rule_and_its_sum_are_told(rule, rate, ratio):
    cfg = compose([*CMP, f"lr_scaling.rule={rule}", "lr_scaling.base_batch_size=16"])
    scaled, text = scale(cfg)
    assert scaled.method.optimizer.lr == pytest.approx(rate)
    assert text == f"learning rate {rate:g} = 0.2 × {ratio} ({rule} scaling)"
    assert cfg.method.optimizer.lr == 0.2, "the config of the run keeps what the user wrote"


def test_a_reference_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match="base_batch_size=0: expected 1 or more"):
        scale(compose([*CMP, "lr_scaling.rule=linear", "lr_scaling.base_batch_size=0"]))
