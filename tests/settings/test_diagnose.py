import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.diagnose import dangling, explain


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("experiment=cmpp", "experiment=cmpp: there is no such experiment, did you mean cmp?"),
        ("data=toyy", "data=toyy: there is no such data, did you mean toy? Valid: "),
        (
            "trainer=tpu",
            "there is no such trainer, did you mean gpu? Valid: cpu, ddp, default, gpu.",
        ),
        (
            "hydra/launcher=submitit_slrm",
            "hydra/launcher=submitit_slrm: there is no such launcher, did you mean submitit_slurm?",
        ),
        ("trainer.max_step=3", "Unknown key trainer.max_step: did you mean trainer.max_steps?"),
        ("trainr.max_steps=3", "Unknown key trainr.max_steps: did you mean trainer.max_steps?"),
        ("trainr=cpu", "Unknown key trainr: did you mean trainer?"),
        ("sede=1", "Unknown key sede: did you mean seed?"),
        ("batch_size=4", "Unknown key batch_size: did you mean data.batch_size?"),
        ("trainer.frobnicate=1", "Unknown key trainer.frobnicate: trainer has max_steps, "),
        ("sede=1 trainer.max_step=3", "did you mean"),
        ("output=run", "Unknown key output: did you mean paths.output_dir?"),
        ("epochs=3", "Unknown key epochs: did you mean trainer.max_epochs?"),
        ("learning_rate=1", "Unknown key learning_rate: did you mean method.optimizer.lr?"),
        ("dataset=videos", "Unknown key dataset: did you mean data?"),
        ("checkpoint=x.ckpt", "Unknown key checkpoint: training goes on from resume="),
        ("data.root=/x", "data.root goes with data=cihp or coco or compressed_videos or frames"),
        ("task=davis2017", "Unknown key task: tasks are for python -m selfsup_motion.evaluate."),
        (
            "encoder=lab_color",
            "encoder=lab_color is not for this command, which has no",
        ),
        ("seed", "Cannot read 'seed': write it as key=value."),
    ],
)
def test_explanation_names_the_key_and_the_nearest_valid_one(arguments, expected):
    overrides = ["experiment=cmp", *arguments.split()]
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


@pytest.mark.parametrize(
    ("command", "override", "expected"),
    [
        ("animate", "output=film.mp4", "did you mean paths.output_dir?"),
        ("animate", "photo=a.jpg", "did you mean image?"),
        ("annotate", "points=[[1,2]]", "did you mean positive?"),
        ("propagate", "input=a.mp4", "did you mean video?"),
        ("activation", "weights=a.ckpt", "did you mean checkpoint?"),
        ("evaluate", "weights=a.ckpt", "did you mean checkpoint?"),
        ("evaluate", "benchmark=davis2017", "did you mean task?"),
        ("activation", "encoder=r3d8", "it belongs to evaluate and propagate and train"),
    ],
)
def test_words_of_other_programs_lead_to_the_key(command, override, expected):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose([override], config_name=command)
    assert expected in explain(caught.value, [override], command)


def test_reference_to_a_key_that_is_not_there_tells_both():
    cfg = OmegaConf.create({"a": {"stride": "${encoder.output_stride}"}, "b": "${HOME}/x"})
    with pytest.raises(OmegaConfBaseException) as caught:
        cfg.a.stride  # noqa: B018
    told = dangling(" ".join(str(caught.value).split()))
    assert told is not None
    assert "a.stride is taken from encoder.output_stride, which this encoder does not have" in told
    assert "set a.stride=<value>" in told
    with pytest.raises(OmegaConfBaseException) as caught:
        cfg.b  # noqa: B018
    assert "${oc.env:HOME}" in (dangling(" ".join(str(caught.value).split())) or "")
