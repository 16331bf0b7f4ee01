import csv
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.terminal.command_line import Interrupted


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def rows(run: Path) -> dict[str, dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as stream:
        return {row["step"]: row for row in csv.DictReader(stream)}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def assert_same_run(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows(one) == rows(other)


# validation is due after steps 4 and 8 and at the end, a checkpoint after every second step
@pytest.mark.parametrize("stop", [1, 3, 4, 8, 9])
def test_resumed_run_equals_uninterrupted_run(tiny, folder, stop):
    tiny("trainer.max_steps=10", "paths.output_dir=straight")
    with pytest.raises(Interrupted):
        tiny("trainer.max_steps=10", "paths.output_dir=split", f"method.interrupt_at={stop}")
    tiny("trainer.max_steps=10", "resume=split")
    assert_same_run(Path("straight"), Path("split"))
    measured = [json.loads(Path(f, "summary.json").read_text()) for f in ("straight", "split")]
    assert measured[0]["untrained"] == measured[1]["untrained"] != {}


def test_run_prolonged_after_its_end_equals_a_longer_run(tiny, folder):
    tiny("trainer.max_steps=10", "paths.output_dir=straight")
    tiny("trainer.max_steps=3", "paths.output_dir=split")
    tiny("trainer.max_steps=10", "resume=split")
    extra = rows(Path("split")).pop("3")
    assert extra["val/epe"], "the end of the first part is validated"
    a, b = weights(Path("straight")), weights(Path("split"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    without = {k: v for k, v in rows(Path("straight")).items() if k != "3"}
    assert without == {k: v for k, v in rows(Path("split")).items() if k != "3"}
    assert (Path("split") / "config.1.yaml").exists()


def test_validation_cut_by_a_signal_is_repeated(tiny, folder):
    tiny("trainer.max_steps=10", "paths.output_dir=straight")
    with pytest.raises(Interrupted):
        tiny(
            "trainer.max_steps=10",
            "paths.output_dir=split",
            "method.interrupt_at=8",
            "method.validation_signal=true",
        )
    assert not rows(Path("split"))["8"]["val/epe"]
    tiny("trainer.max_steps=10", "resume=split")
    assert_same_run(Path("straight"), Path("split"))


def test_checkpoint_file_starts_a_new_folder(tiny, folder):
    tiny("trainer.max_steps=10", "paths.output_dir=straight")
    tiny("trainer.max_steps=4", "paths.output_dir=first")
    before = tree(Path("first"))
    tiny(
        "trainer.max_steps=10",
        "resume=first/checkpoints/last.ckpt",
        "paths.output_dir=second",
    )
    assert tree(Path("first")) == before
    a, b = weights(Path("straight")), weights(Path("second"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert list(rows(Path("second"))) == ["5", "6", "7", "8", "9", "10"]
    assert Path("second/checkpoints/best.ckpt").exists()


def test_auto_takes_the_newest_valid_checkpoint(tiny, folder, capsys):
    tiny("trainer.max_steps=2", "paths.output_dir=runs/a")
    tiny("trainer.max_steps=2", "paths.output_dir=runs/b")
    newest = Path("runs/b/checkpoints/last.ckpt")
    for age, file in enumerate([newest, newest.with_name("best.ckpt")]):
        file.write_bytes(file.read_bytes()[:-100])
        os.utime(file, (4e9 - age, 4e9 - age))
    before = tree(Path("runs/b"))
    tiny("trainer.max_steps=4", "paths.output_dir=runs", "resume=auto")
    assert "4" in rows(Path("runs/a"))
    assert tree(Path("runs/b")) == before
    assert "truncated" in Path("runs/a/train.log").read_text()


def test_auto_without_a_checkpoint_starts_from_the_beginning(tiny, folder, capsys):
    tiny("trainer.max_steps=2", "resume=auto")
    assert "no checkpoint below outputs/train/tiny" in capsys.readouterr().out
    (run,) = Path("outputs/train/tiny").iterdir()
    assert list(rows(run)) == ["1", "2"]
    tiny("trainer.max_steps=3", "resume=auto")
    assert list(Path("outputs/train/tiny").iterdir()) == [run]
    assert list(rows(run)) == ["1", "2", "3"]


def test_finished_run_says_so(tiny, folder, capsys):
    tiny("trainer.max_steps=2", "paths.output_dir=run")
    before = tree(folder)
    tiny("trainer.max_steps=2", "resume=run")
    assert "this run is finished, raise trainer.max_steps" in capsys.readouterr().out.replace(
        "\n", " "
    )
    assert tree(folder) == before


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def _missing(last: Path) -> None:
    last.unlink()


def _truncated(last: Path) -> None:
    last.write_bytes(last.read_bytes()[:-1000])


def _text(last: Path) -> None:
    last.write_text("no checkpoint")


def _foreign(last: Path) -> None:
    torch.save({"state_dict": {}, "global_step": 3}, last)


def _malicious(last: Path) -> None:
    torch.save({"state_dict": {}, "global_step": 3, "selfsup_motion": _Evil()}, last)


def _raw_pickle(last: Path) -> None:
    last.write_bytes(pickle.dumps(_Evil()))


def _other_method(last: Path) -> None:
    content = torch.load(last, weights_only=True)
    content["selfsup_motion"]["config"]["method"]["_target_"] = "other.Method"
    torch.save(content, last)


def _other_shape(last: Path) -> None:
    content = torch.load(last, weights_only=True)
    content["state_dict"]["encoder.0.weight"] = torch.zeros(3, 4)
    torch.save(content, last)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_missing, "it has no checkpoints/last.ckpt"),
        (_truncated, "not a complete checkpoint"),
        (_text, "not a complete checkpoint"),
        (_foreign, "not a checkpoint of a selfsup_motion training run"),
        (_malicious, "could run code"),
        (_raw_pickle, "not a complete checkpoint"),
        (_other_method, "it holds a other.Method, not a tiny.TinyMethod"),
        (_other_shape, "encoder.0.weight (3, 4) instead of (8, 4)"),
    ],
)
def test_unusable_checkpoint_is_refused_and_nothing_is_touched(
    tiny, folder, template, damage, expected
):
    shutil.copytree(template, "run")
    damage(Path("run/checkpoints/last.ckpt"))
    before = tree(folder)
    with pytest.raises(CheckpointError) as caught:
        tiny("resume=run", "trainer.max_steps=4")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(folder) == before


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run of two steps."""
    from selfsup_motion.settings.compose import compose
    from selfsup_motion.train import train

    folder = tmp_path_factory.mktemp("template") / "run"
    conf = Path(__file__).parent / "conf"
    overrides = [f"hydra.searchpath=[{conf}]", "experiment=tiny", "data=tiny"]
    train(compose([*overrides, "trainer.max_steps=2", f"paths.output_dir={folder}"]))
    return folder


def test_missing_resume_is_one_sentence(tiny, folder):
    with pytest.raises(UserError, match=r"^resume=nowhere: there is no such run folder"):
        tiny("resume=nowhere")
    assert tree(folder) == {}


def test_used_folder_is_refused_without_resume(tiny, folder):
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("do not lose")
    with pytest.raises(UserError, match=r"already has files .* resume=run"):
        tiny("paths.output_dir=run")
    assert list(tree(folder)) == [str(folder / "run/thesis.txt")]


def test_resume_and_another_output_folder_contradict(tiny, folder, template):
    with pytest.raises(UserError, match=r"paths\.output_dir=elsewhere names another"):
        tiny(f"resume={template}", "paths.output_dir=elsewhere")


def as_other(run: Path) -> None:
    """Let the checkpoints of a run tell of another experiment."""
    for file in run.glob("checkpoints/*.ckpt"):
        content = torch.load(file, weights_only=True)
        content["selfsup_motion"]["experiment"] = "other"
        torch.save(content, file)


@pytest.mark.parametrize("steps", [2, 4])  # finished there, or not
@pytest.mark.parametrize("resume", ["auto", "run"])
def test_folder_of_another_experiment_is_refused_finished_or_not(
    tiny, folder, template, resume, steps
):
    shutil.copytree(template, "run")
    as_other(Path("run"))
    before = tree(folder)
    with pytest.raises(CheckpointError) as caught:
        tiny(f"resume={resume}", "paths.output_dir=run", f"trainer.max_steps={steps}")
    assert "last.ckpt is of experiment=other, not of experiment=tiny: choose" in str(caught.value)
    assert tree(folder) == before


def test_auto_passes_over_runs_of_other_experiments(tiny, folder, template):
    shutil.copytree(template, "runs/a")
    shutil.copytree(template, "runs/b")
    as_other(Path("runs/b"))  # which makes it the newest
    tiny("resume=auto", "paths.output_dir=runs", "trainer.max_steps=3")
    assert list(rows(Path("runs/a"))) == ["1", "2", "3"]


def test_checkpoint_of_another_experiment_starts_a_new_folder(tiny, folder, template):
    shutil.copytree(template, "old")
    as_other(Path("old"))
    before = tree(Path("old"))
    new = ("resume=old/checkpoints/last.ckpt", "paths.output_dir=new", "trainer.max_steps=3")
    tiny(*new)
    assert list(rows(Path("new"))) == ["3"]
    assert tree(Path("old")) == before


def test_auto_takes_over_a_folder_without_checkpoint_of_its_own_experiment_only(tiny, folder):
    Path("run").mkdir()
    Path("run/config.yaml").write_text("experiment: tiny\n")
    tiny("resume=auto", "paths.output_dir=run", "trainer.max_steps=2")
    assert list(rows(Path("run"))) == ["1", "2"]
    Path("other").mkdir()
    Path("other/config.yaml").write_text("experiment: other\n")
    with pytest.raises(UserError, match="already has files"):
        tiny("resume=auto", "paths.output_dir=other")
