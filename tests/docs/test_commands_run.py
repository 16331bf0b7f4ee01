"""The commands in README and docs that a CPU can run, from their start to their end, made short."""

import shutil

import pytest
from command_lines import in_blocks
from world import SLIM

pytestmark = pytest.mark.slow

SHORT = ("trainer=cpu", "trainer.max_steps=2", "trainer.limit_val_batches=1", "data.num_workers=0")
SMALL = {
    "cmp": (*SLIM["cmp"], "data.batch_size=2", "view.crop_size=64"),
    "cmp_animate": (*SLIM["cmp_animate"], "data.batch_size=2", "view.crop_size=64"),
    "cmp_photos": ("data.batch_size=2", "data.val_stills=2"),
    "corrflow": ("data.batch_size=2", "view.crop_size=64"),
    "mast": ("data.batch_size=1", "view.crop_size=64"),
    "dense_ulearn": ("data.batch_size=2",),
    "dense_ulearn_videos": ("data.batch_size=2", "view.crop_size=64"),
    "crw": ("data.batch_size=1", "view.size=48"),
    "cycletime": ("data.batch_size=1",),
    "cmd": ("data.batch_size=2", "data.num_videos=2", "data.val_videos=2"),
    "mosi": ("data.batch_size=2",),
    "rho_byol": ("data.batch_size=2",),
    "rho_moco": ("data.batch_size=2",),
    "dsm": ("data.batch_size=2",),
    "wmse": ("data.batch_size=4", "method.dim=2", "method.whitening=4"),
    "toy_seg_linear": ("data.size=64", "data.val_videos=3", "data.batch_size=4", *SHORT[:3]),
    "toy_instances": ("data.batch_size=2", *SHORT[:3]),
    "toy_actions": (
        "data.actions.train.source.num_videos=24",
        "data.actions.test.source.num_videos=16",
        "task.views.clips=1",
        "task.few_shot=null",
    ),
    "tapvid": ("data.sequences.source.num_videos=2", "data.sequences.length=4"),
    "davis2017": ("data.sequences.source.num_videos=2", "data.sequences.length=4"),
}
SMALL |= {
    "toy_alike_actions": SMALL["toy_actions"],
    "arrow_answers": (*SMALL["davis2017"], "task.baselines=[disc]"),
    "flow_hints": (SMALL["davis2017"][0], "task.baselines=[nearest]"),
}
NOT_HERE = ("trainer=gpu", "trainer=ddp", "trainer.devices=", "--multirun", "compile=true")


def runs_here(command) -> bool:
    """Whether a command needs only what this folder and a CPU have."""
    told = " ".join(command.words)
    if any(word in told for word in NOT_HERE):
        return False
    if command.verb == "train":
        data = [w for w in command.words if w.startswith("data=")]
        return "paper/" not in told and data in ([], ["data=videos"], ["data=images"])
    if command.verb == "evaluate":
        return "task=toy_" in told or "data=toy" in told
    if command.verb == "runs":  # what others need is not deleted
        return not any(word.startswith(("delete=", "open=")) for word in command.words)
    return bool(command.verb) and command.verb not in ("studio", "compare")  # take hours


def short(command) -> tuple[str, ...]:
    """What makes a command short."""
    if command.verb in ("animate", "activation"):
        return ("seconds=0.2",) if command.verb == "animate" else ()
    if command.verb not in ("train", "evaluate"):
        return ()
    name = next(
        w.partition("=")[2] for w in command.words if w.startswith(("experiment=", "task="))
    )
    return (*(SHORT if command.verb == "train" else ()), *SMALL[name])


# with what makes it short, so that one without is found wherever the tests are collected
COMMANDS = [
    pytest.param(command, short(command), id=str(command))
    for command in in_blocks()
    if runs_here(command)
]


@pytest.fixture
def interrupted(world, run):
    """The run folder that commands resume holds a run that was stopped after its first step."""
    folder = world / "outputs" / "train" / "cmp" / "<time>"
    if not (folder / "checkpoints" / "last.ckpt").exists():
        shutil.rmtree(folder)
        first = (*SHORT, *SMALL["cmp"], "trainer.max_steps=1", f"paths.output_dir={folder}")
        assert run("train", "experiment=cmp", *first) == 0


@pytest.mark.parametrize(("command", "shortened"), COMMANDS)
@pytest.mark.usefixtures("interrupted", "authors_weights")
def test_command_runs(run, capsys, command, shortened):
    status = run(command.verb, *command.words, *shortened)
    assert status == 0, capsys.readouterr().err
