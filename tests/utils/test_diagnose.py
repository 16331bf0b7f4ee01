import pytest

from selfsup_motion.utils.config import compose
from selfsup_motion.utils.diagnose import explain


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("experiment=cmpp", "experiment=cmpp: there is no such experiment, did you mean cmp?"),
        ("data=toyy", "data=toyy: there is no such data, did you mean toy? Valid: "),
        (
            "trainer=tpu",
            "there is no such trainer, did you mean gpu? Valid: cpu, ddp, default, gpu.",
        ),
        ("trainer.max_step=3", "Unknown key trainer.max_step: did you mean trainer.max_steps?"),
        ("trainr.max_steps=3", "Unknown key trainr.max_steps: did you mean trainer.max_steps?"),
        ("trainr=cpu", "Unknown key trainr: did you mean trainer?"),
        ("task=davis2017", "Unknown key task: this command has no such group, it has "),
        ("sede=1", "Unknown key sede: did you mean seed?"),
        ("batch_size=4", "Unknown key batch_size: did you mean data.batch_size?"),
        ("trainer.frobnicate=1", "Unknown key trainer.frobnicate: trainer has max_steps, "),
        ("sede=1 trainer.max_step=3", "did you mean"),
        ("seed", "Cannot read 'seed': write it as key=value."),
    ],
)
def test_explanation_names_the_key_and_the_nearest_valid_one(arguments, expected):
    overrides = arguments.split()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra's own, of several kinds
        compose(overrides)
    sentence = explain(caught.value, overrides)
    assert expected in sentence
    assert "\n" not in sentence


def test_hidden_parts_of_a_group_are_not_offered():
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose(["method=nothing"])
    assert "_cmp" not in explain(caught.value, ["method=nothing"])


def test_keys_of_the_users_own_folder_count_as_valid(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("folder_of_videos: here\n")
    overrides = ["data=mine", "data.folder_of_video=there"]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose([*overrides, f"hydra.searchpath=[{tmp_path}]"])
    sentence = explain(caught.value, ["--config-dir", str(tmp_path), *overrides])
    assert "did you mean data.folder_of_videos?" in sentence
