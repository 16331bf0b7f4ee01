"""A setting that nothing reads is refused by name, and only such a one."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

from selfsup_motion.errors import UserError
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options
from selfsup_motion.settings.keys import keys
from selfsup_motion.settings.unused import TRAINING, check_used

TOY = "evaluate task=davis2017 data=toy encoder=lab_color"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{TOY} logger=csv", "logger=csv: task=davis2017 does not train, leave it out."),
        (f"{TOY} trainer=cpu", "trainer=cpu: task=davis2017 does not train, leave it out."),
        (f"{TOY} callbacks=ema", "callbacks=ema: task=davis2017 does not train, leave it out."),
        (f"{TOY} trainer.max_steps=5", "Unknown key trainer.max_steps: this task does not train"),
        (f"{TOY} logger.wandb.mode=offline", "Unknown key logger.wandb.mode: this task does not"),
        (f"{TOY} experiment=cmp", "Unknown key experiment: this task does not train, leave it"),
        (f"{TOY} data.batch_size=2", "data.batch_size=2: task=davis2017 does not use it, leave"),
        (f"{TOY} auto_method=CMP", "auto_method=CMP: task=davis2017 does not use it, leave it"),
        (f"{TOY} +mine=1", "+mine=1: task=davis2017 does not use it, leave it out."),
        (
            "evaluate task=toy_actions encoder=r3d8 propagator=crw",
            "propagator=crw: task=toy_actions does not use it, leave it out.",
        ),
        (
            "evaluate task=toy_seg encoder=resnet10 data.sequences.length=3",
            "data.sequences.length=3: task=toy_seg does not use it, leave it out.",
        ),
        ("evaluate task=toy_seg encoder=resnet10 device=cuda", "trains, use trainer=cpu or train"),
        ("train experiment=cmp +mine=1", "+mine=1: experiment=cmp does not use it, leave it out."),
        ("train experiment=cmp data.actions.train.num=3", "Unknown key data.actions.train.num"),
        ("train experiment=cmp task=davis2017", "tasks are for python -m selfsup_motion.evaluate."),
        ("train experiment=cmp checkpoint=auto", "goes on from resume=<run folder or checkpoint>."),
        ("train experiment=cmp device=cuda", "device: training has trainer=cpu and trainer=gpu."),
        ("propagate video=x mask=y resume=z", "resume: this command cannot be resumed, leave it"),
        ("propagate video=x mask=y sigma=3", "sigma=3: it is the size of points, and a mask is"),
        ("propagate video=x mask=y overlay=false fps=3", "fps=3: it is the speed of the film, and"),
        ("propagate video=x mask=y checkpoint=z seed=3", "seed=3: it is of random weights, and a"),
        ("animate image=x arrows=[] trainer=cpu", "trainer: this command does not train, leave it"),
        ("animate image=x arrows=[] +mine=3", "+mine=3: this command does not use it, leave it"),
        ("animate image=x arrows=[] loop=seamless easing=in", "easing=in: loop=seamless moves at"),
        ("annotate image=x resume=y", "resume: this command cannot be resumed, leave it out"),
        ("activation video=x logger=csv", "logger: this command does not train, leave it out."),
        ("fit_colors data.batch_size=3", "data.batch_size=3: fit_colors does not use it, leave it"),
        ("fit_colors paths.output_dir=x", "paths.output_dir: did you mean output?"),
        ("prepare prepare=index resume=x", "resume: start the same command again, what is done is"),
        ("prepare prepare=flow prepare.flow_batch=2", "not of prepare.flow=dis; leave it out."),
        ("prepare prepare=shards prepare.flow_preset=fast", "not of prepare.flow=null; leave it"),
        ("prepare prepare=shards prepare.picture=png prepare.quality=3", "it is of prepare.pictur"),
    ],
)  # fmt: skip
def test_setting_that_a_command_cannot_use_is_refused_by_name(command, capsys, line, expected):
    verb, *arguments = shlex.split(line)
    assert command(verb, *arguments) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("experiment", "data"),
    [
        *(("cmp", data) for data in ("toy", "videos", "frames", "shards", "images", "mix", "yfcc")),
        *(("mosi", data) for data in ("toy", "videos", "frames", "shards", "mix")),
        ("corrflow", "toy"),
        ("cmd", "toy_compressed"),
        ("cmd", "compressed_videos"),
        ("paper/mosi_r2p1d_kinetics", "kinetics"),
    ],
)
def test_everything_that_training_reads_can_be_set(experiment, data):
    """Every key of every source of data, through however many references."""
    cfg = compose([f"experiment={experiment}", f"data={data}"])
    parts = ("sequences", "tracks", "parsing", "joints", "vos", "actions", "photos", "flow_pairs")
    of_evaluation = tuple(f"data.{part}" for part in parts)
    read = [key for key in keys(cfg) if not key.startswith(of_evaluation)]
    with read_write(HydraConfig.get()):  # as if all of them were typed
        HydraConfig.get().overrides.task = [f"{key}=1" for key in read]
    check_used(cfg, TRAINING, "training")


def test_setting_below_a_reference_counts_for_what_it_refers_to():
    cfg = compose(["experiment=cmp", "view.crop_size=64", "data.size=96"])
    check_used(cfg, TRAINING, "training")
    with pytest.raises(UserError, match=r"^view\.crop_size=64: a command does not use it"):
        check_used(cfg, ["trainer", "data.size", "experiment"], "a command")


@pytest.mark.parametrize("task", options("task"))
def test_every_task_composes_with_its_own_settings(task):
    cfg = compose([f"task={task}"], config_name="evaluate")
    check_used(cfg, ("task", *TRAINING), "evaluate")
