"""One clear sentence and exit status 2 for what a user can get wrong; nothing is written."""

import shlex
import signal
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

TINY = ("experiment=tiny", "data=tiny")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Which experiment? Add one of these:\n  experiment=cmd"),
        (["experiment=cmpp"], "experiment=cmpp: there is no such experiment, did you mean cmp?"),
        ([*TINY, "data=vidoes"], "data=vidoes: there is no such data"),
        ([*TINY, "data=null"], "A group takes one of its options"),
        ([*TINY, "trainer.max_step=3"], "did you mean trainer.max_steps?"),
        ([*TINY, "paths.output_dir='a::b'"], "paths.output_dir=a::b: checkpoints cannot be stored"),
        ([*TINY, "trainer.max_steps=abc"], "trainer.max_steps=abc: expected an integer."),
        ([*TINY, "data.batch_size=two"], "data.batch_size=two: expected an integer."),
        ([*TINY, "trainer.precision=17"], "trainer.precision=17: expected"),
        ([*TINY, "+trainer.max_step=3"], "did you mean trainer.max_steps?"),
        ([*TINY, "+method.lrr=1"], "Unknown key method.lrr: did you mean method.lr?"),
        ([*TINY, "data.batch_size=???"], "data.batch_size is not set"),
        ([*TINY, "trainer.accelerator=abacus"], "trainer: You selected an invalid"),
        ([*TINY, "resume=nowhere"], "resume=nowhere: there is no such run folder or checkpoint."),
        ([*TINY, "callbacks.checkpoint.every_n_train_steps=0"], "expected 1 or more"),
        ([*TINY, "callbacks.checkpoint.keep=0"], "callbacks.checkpoint.keep=0: expected 1 or more"),
        ([*TINY, "callbacks=ema", "callbacks.ema.decay=1.0"], "callbacks.ema.decay=1.0: expected"),
        ([*TINY, "callbacks.non_finite.action=ignore"], "expected one of stop, skip."),
        ([*TINY, "trainer.strategy=ddp_spawn"], "use trainer.strategy=ddp."),
        ([*TINY, "trainer.strategy=fsdp"], "finds none here: use trainer.strategy=ddp."),
        ([*TINY, "trainer=ddp", "trainer.accelerator=cpu"], "add trainer.sync_batchnorm=false."),
        ([*TINY, "trainer.num_nodes=2"], "start this command on every node with NODE_RANK"),
        ([*TINY, "trainer.accumulate_grad_batches=3"], "data.batch_size=8 counts the samples of a"),
        ([*TINY, "lr_scaling.rule=linear"], "lr_scaling.rule=linear needs method.optimizer.lr"),
        ([*TINY, "lr_scaling.rule=cubic"], "expected one of linear, sqrt or null."),
        ([*TINY, "paths.output_dir=file/run"], "paths.output_dir=file/run: cannot be written"),
        ([*TINY, "paths.output_dir=file"], "paths.output_dir=file already has files"),
    ],
)  # fmt: skip
def test_mistake_is_one_sentence(main, folder, capsys, arguments, expected):
    Path("file").write_text("in the way")
    assert main(*arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert "Traceback" not in told.err + told.out
    if arguments:
        assert len(told.err.strip().splitlines()) == 1
    assert [p.name for p in folder.iterdir()] == ["file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_missing_gpu_is_one_sentence(main, folder, capsys):
    assert main(*TINY, "trainer=gpu") == 2
    assert "finds no CUDA device here" in capsys.readouterr().err
    assert main(*TINY, "compile=true") == 2
    assert "compile=true is for GPUs" in capsys.readouterr().err


def test_monitor_that_is_not_logged_lists_what_is(main, folder, capsys):
    assert main(*TINY, "monitor=val/eppe") == 2
    told = capsys.readouterr().err
    assert "monitor=val/eppe: the method does not log it, it logs train/loss, " in told
    assert "val/epe" in told


def test_data_that_fails_leaves_no_folder_in_the_way(main, folder, capsys):
    assert main(*TINY, "data.module.fail=true", "paths.output_dir=a/b/run") == 2
    assert capsys.readouterr().err == "data.root: no readable video.\n"
    assert list(folder.iterdir()) == []


def test_signal_before_the_first_step_leaves_no_folder_in_the_way(main, folder, capsys):
    assert main(*TINY, "data.module.signal=true", "paths.output_dir=run") == 130
    assert capsys.readouterr().err == "Stopped before the first step.\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signal_saves_and_says_how_to_go_on(main, folder, capsys, name, status):
    before = signal.getsignal(signal.SIGTERM)
    stop = ("method.interrupt_at=3", f"method.interrupt_with={name}", "paths.output_dir=a run")
    assert main(*TINY, *stop) == status
    told = capsys.readouterr().err
    assert "Stopped at step 3, saved a run/checkpoints/last.ckpt." in told
    assert "python -m selfsup_motion.train --config-dir=" in told
    assert " experiment=tiny " in told
    assert "'resume=a run'" in told
    assert torch.load("a run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    assert '"finished": false' in Path("a run/summary.json").read_text()
    assert signal.getsignal(signal.SIGTERM) == before


def test_printed_command_goes_on_whatever_the_folder_is_called(main, folder, capsys):
    stop = ("method.interrupt_at=3", "method.interrupt_with=SIGTERM")
    assert main(*TINY, *stop, "paths.output_dir=röß (1), x=[2] ") == 143
    _, command = capsys.readouterr().err.strip().splitlines()
    program, flag, module, *arguments = shlex.split(command)
    assert [program, flag, module] == ["python", "-m", "selfsup_motion.train"]
    arguments = [text for text in arguments if not text.startswith("method.interrupt")]
    assert main(*arguments) == 0
    (run,) = folder.iterdir()
    assert run.name == "röß (1), x=[2]"
    assert '"finished": true' in (run / "summary.json").read_text()
    assert main(*OmegaConf.load(run / "overrides.yaml"), "--cfg", "job") == 0
