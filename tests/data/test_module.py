"""ClipDataModule: the same batches however they are loaded, and after every kind of restart."""

from __future__ import annotations

import ast
import multiprocessing
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from recording import CountingSource, Recorder, fingerprint, make_datamodule
from torch._subclasses.fake_tensor import FakeTensorMode

from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.errors import UserError


def make_trainer(folder: Path, **kwargs: Any) -> pl.Trainer:
    options: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**(options | kwargs))


def saver(folder: Path, every: int) -> pl.callbacks.ModelCheckpoint:
    return pl.callbacks.ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=every, save_top_k=-1
    )


class SaveWhenCut(pl.Callback):
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "cut.ckpt")


def train(
    datamodule: ClipDataModule, folder: Path, ckpt: Path | None = None, **kwargs: Any
) -> Recorder:
    fail_at = kwargs.pop("fail_at", None)
    module = Recorder(fail_at=fail_at)
    trainer = make_trainer(folder, **kwargs)
    if fail_at is None:
        trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    else:
        with pytest.raises(SystemExit):  # Lightning turns Ctrl-C into an exit after saving
            trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    return module


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 4])  # within the first epoch, at its end, within the second
def test_resumed_run_sees_what_the_uninterrupted_one_sees(
    tmp_path: Path, num_workers: int, stop: int
) -> None:
    def data() -> ClipDataModule:
        return make_datamodule(CountingSource(13), num_workers=num_workers)  # 3 batches of 4

    whole = train(data(), tmp_path, max_steps=7)
    first = train(
        data(),
        tmp_path,
        max_steps=stop,
        enable_checkpointing=True,
        callbacks=[saver(tmp_path, stop)],
    )
    rest = train(data(), tmp_path, ckpt=tmp_path / f"step={stop}.ckpt", max_steps=7)

    assert len(whole.batches) == 7
    assert first.batches == whole.batches[:stop]
    assert rest.batches == whole.batches[stop:]


def test_run_resumed_by_epochs_continues_with_the_next_epoch(tmp_path: Path) -> None:
    def data() -> ClipDataModule:
        return make_datamodule(CountingSource(13))

    whole = train(data(), tmp_path, max_epochs=3)
    train(
        data(),
        tmp_path,
        max_epochs=1,
        enable_checkpointing=True,
        callbacks=[pl.callbacks.ModelCheckpoint(tmp_path, filename="end", save_last=False)],
    )
    rest = train(data(), tmp_path, ckpt=tmp_path / "end.ckpt", max_epochs=3)

    assert rest.batches == whole.batches[3:]


@pytest.mark.parametrize("cut", [1, 3, 4, 6, 7, 9])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_run_cut_inside_a_step_resumes_without_loss(
    tmp_path: Path, cut: int, accumulate: int
) -> None:
    def data() -> ClipDataModule:
        return make_datamodule(CountingSource(22))  # 5 batches of 4

    steps = 20 // accumulate
    whole = train(data(), tmp_path, max_steps=steps, accumulate_grad_batches=accumulate)
    first = train(
        data(),
        tmp_path,
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        fail_at=cut,
        callbacks=[SaveWhenCut()],
    )
    rest = train(
        data(),
        tmp_path,
        ckpt=tmp_path / "cut.ckpt",
        max_steps=steps,
        accumulate_grad_batches=accumulate,
    )

    assert first.batches + rest.batches == whole.batches
    assert rest.weight.item() == whole.weight.item()


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    def first_batches(num_workers: int) -> list[Any]:
        data = make_datamodule(
            CountingSource(13, bad=[2, 7]), num_workers=num_workers, seed=3, max_bad_fraction=0.2
        )
        loader = data.train_dataloader()
        epochs = [fingerprint(batch) for _ in range(2) for batch in loader]
        val = [fingerprint(batch) for batch in data.val_dataloader()]
        loader.close()
        return [*epochs, *val]

    assert first_batches(0) == first_batches(4)


def test_seeds_differ_in_training_and_agree_in_validation() -> None:
    one, two = (make_datamodule(CountingSource(13), seed=seed) for seed in (1, 2))

    assert fingerprint(next(iter(one.train_dataloader()))) != fingerprint(
        next(iter(two.train_dataloader()))
    )
    assert [fingerprint(b) for b in one.val_dataloader()] == [
        fingerprint(b) for b in two.val_dataloader()
    ]


def test_validation_sees_every_clip_once(tmp_path: Path) -> None:
    data = make_datamodule(CountingSource(8), val_source=CountingSource(7), val_batch_size=3)
    module = train(data, tmp_path, max_steps=2)

    assert module.val_keys == [str(i) for i in range(7)]


def test_overfitting_repeats_the_same_batches(tmp_path: Path) -> None:
    module = train(make_datamodule(CountingSource(13)), tmp_path, overfit_batches=2, max_epochs=3)

    assert module.batches[:2] == module.batches[2:4] == module.batches[4:]


def test_bad_videos_are_replaced_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make_datamodule(
        CountingSource(13, bad=[4]), val_source=CountingSource(5, bad=[1]), num_workers=2
    )
    module = train(data, tmp_path, max_epochs=3)

    keys = [key for batch in module.batches for key, *_ in batch]
    assert len(keys) == 3 * 12
    assert "4" not in keys
    assert data.skipped_files == 2
    assert sorted(fault.message for fault in data.bad_videos) == [
        "1.mp4 is damaged.",
        "4.mp4 is damaged.",
    ]
    assert data.skipped_reasons == {"damaged": 2}
    assert sum("4.mp4 is damaged." in message for message in caplog.messages) == 1
    assert module.val_keys == ["0", "2", "3", "4"] * 3
    assert data.val_left_out == 1
    told = [message for message in caplog.messages if "Validation leaves out" in message]
    assert told == ["Validation leaves out 1 of 5 clips, which cannot be read."]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_videos_end_the_run(tmp_path: Path, num_workers: int) -> None:
    data = make_datamodule(CountingSource(12, bad=[1, 5, 6]), num_workers=num_workers)

    with pytest.raises(UserError, match=r"^[23] of the \d+ videos .* 10% .* is damaged"):
        train(data, tmp_path, max_epochs=2)


def test_a_higher_share_of_bad_videos_can_be_allowed(tmp_path: Path) -> None:
    data = make_datamodule(CountingSource(12, bad=[1, 5, 6]), max_bad_fraction=0.25)
    train(data, tmp_path, max_epochs=2)

    assert data.skipped_files == 3


def test_a_folder_of_unreadable_videos_is_refused_before_training(tmp_path: Path) -> None:
    data = make_datamodule(CountingSource(6, bad=range(6)))

    with pytest.raises(UserError, match=r"None of the 6 videos can be used: .*\.mp4 is damaged"):
        train(data, tmp_path, max_steps=1)


def test_validation_without_a_readable_video_is_refused_before_training(tmp_path: Path) -> None:
    data = make_datamodule(CountingSource(6), val_source=CountingSource(3, bad=range(3)))

    with pytest.raises(UserError, match=r"^None of the 3 validation videos can be used: 0\.mp4 is"):
        train(data, tmp_path, max_steps=1)


@pytest.mark.parametrize(
    ("bad", "batches"),
    [
        ([3], [[0], [1, 2], [4], [5, 6]]),  # a damaged sample makes its batch smaller
        ([1, 2], [[0], [3, 4], [5, 6]]),  # a damaged batch is not there
        ([0, 1, 2, 3, 4, 5], [[6]]),
        ([3, 4, 5, 6], [[0], [1, 2]]),
    ],
)
def test_damaged_samples_are_left_out_of_validation(
    bad: list[int], batches: list[list[int]]
) -> None:
    data = make_datamodule(
        CountingSource(8), val_source=CountingSource(7, bad=bad), val_batch_size=2,
        max_bad_fraction=1.0,
    )  # fmt: skip
    data.setup("validate")
    loader = data.val_dataloader()
    for _ in range(2):
        assert [[int(key) for key in batch["key"]] for batch in loader] == batches
    assert data.val_left_out == len(bad)


def test_errors_of_a_view_arrive_without_a_workers_traceback() -> None:
    data = make_datamodule(CountingSource(8), num_workers=1)
    data._train_reader.view = refuse

    loader = data.train_dataloader()
    with pytest.raises(UserError) as caught:
        next(iter(loader))
    loader.close()
    assert str(caught.value) == "This view needs flow."


def refuse(clip: Any, rng: Any) -> Any:
    raise UserError("This view needs flow.")


def test_too_few_clips_for_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 3 clips, one batch takes 4"):
        train(make_datamodule(CountingSource(3)), tmp_path, max_steps=1)


def test_changed_batch_size_is_told_at_the_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(
        make_datamodule(CountingSource(13)),
        tmp_path,
        max_steps=1,
        enable_checkpointing=True,
        callbacks=[saver(tmp_path, 1)],
    )
    train(
        make_datamodule(CountingSource(13), batch_size=2),
        tmp_path,
        ckpt=tmp_path / "step=1.ckpt",
        max_steps=2,
    )

    assert any("batch_size 4 → 2" in message for message in caplog.messages)


def test_readers_can_be_pickled_for_spawned_workers() -> None:
    reader = make_datamodule(CountingSource(8))._train_reader
    copy = pickle.loads(pickle.dumps(reader))

    draws = [(1, 3), (2, 0)]
    ours, theirs = reader.__getitems__(draws).batch, copy.__getitems__(draws).batch
    assert ours is not None
    assert theirs is not None
    assert fingerprint(ours) == fingerprint(theirs)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_ranks_share_the_global_batches(tmp_path: Path, batch_size: int) -> None:
    data = make_datamodule(CountingSource(6), batch_size=batch_size, val_source=CountingSource(2))
    trainer = make_trainer(
        tmp_path, max_steps=3, strategy="ddp_fork", devices=2, callbacks=[RanksAgree()]
    )
    if batch_size == 1:
        with pytest.raises(Exception, match="choose a multiple of 2"):
            trainer.fit(Recorder(), datamodule=data)
    else:
        trainer.fit(Recorder(), datamodule=data)
        whole = train(make_datamodule(CountingSource(6), batch_size=2), tmp_path, max_steps=3)
        assert (tmp_path / "rank0").read_text() == repr([batch[0::2] for batch in whole.batches])
        assert (tmp_path / "rank1").read_text() == repr([batch[1::2] for batch in whole.batches])
        assert (tmp_path / "val0").read_text() == "['0']"
        assert (tmp_path / "val1").read_text() == "['1']"


def test_order_is_the_same_for_any_ranks_and_workers_and_after_a_resume(tmp_path: Path) -> None:
    def data(num_workers: int) -> ClipDataModule:
        return make_datamodule(CountingSource(14, bad=[3]), num_workers=num_workers)

    def two_ranks(steps: int, ckpt: Path | None, *callbacks: pl.Callback) -> list[list[Any]]:
        trainer = make_trainer(
            tmp_path,
            max_steps=steps,
            strategy="ddp_fork",
            devices=2,
            enable_checkpointing=True,
            callbacks=[RanksAgree(), *callbacks],
        )
        trainer.fit(Recorder(), datamodule=data(2), ckpt_path=ckpt, weights_only=True)
        ranks = [ast.literal_eval((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)]
        # rank r of 2 takes every second sample of the global batch, beginning with the r-th
        return [
            [sample for pair in zip(*batches, strict=True) for sample in pair]
            for batches in zip(*ranks, strict=True)
        ]

    whole = train(data(0), tmp_path, max_steps=7).batches  # 3 batches an epoch
    assert train(data(3), tmp_path, max_steps=7).batches == whole
    assert two_ranks(5, None, saver(tmp_path, 5)) == whole[:5]
    assert two_ranks(7, tmp_path / "step=5.ckpt") == whole[5:]
    assert train(data(1), tmp_path, ckpt=tmp_path / "step=5.ckpt", max_steps=7).batches == whole[5:]


def test_ranks_can_be_forked_whatever_ran_before() -> None:
    """Else they would end, or wait for each other, in their first backward pass."""
    backward = partial(torch.ones((), requires_grad=True).backward, retain_graph=True)
    with FakeTensorMode():  # as exporting and compiling do
        pass
    backward()
    rank = multiprocessing.get_context("fork").Process(target=backward)
    rank.start()
    rank.join()
    assert rank.exitcode == 0


class Buffered(Recorder):
    """Its buffer makes distributed training talk to all ranks in every validation step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.sizes: list[int] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.sizes.append(len(batch["key"]))
        assert len(batch["frame"]) == len(batch["key"])


@pytest.mark.parametrize(
    ("bad", "devices"),
    [
        ([0, 2, 4], 2),  # all of the first rank's share of two batches
        ([1, 3, 5, 7, 9], 2),  # all of a rank's share of the whole set
        ([6, 7, 8, 9, 10], 2),  # the last batches
        ([0, 1, 2, 3, 5, 6, 7, 8, 9], 2),  # one sample for each rank is left
        ([0, 1, 3, 4, 6, 7], 3),
    ],
)
def test_ranks_share_what_can_be_read_and_do_not_wait_for_one_another(
    tmp_path: Path, bad: list[int], devices: int
) -> None:
    data = make_datamodule(
        CountingSource(6), batch_size=devices * 2, val_source=CountingSource(11, bad=bad),
        val_batch_size=devices * 2, max_bad_fraction=1.0,
    )  # fmt: skip
    trainer = make_trainer(
        tmp_path, max_steps=1, strategy="ddp_fork", devices=devices, callbacks=[RanksAgree()]
    )
    trainer.fit(Buffered(), datamodule=data)

    keys = [ast.literal_eval((tmp_path / f"val{r}").read_text()) for r in range(devices)]
    sizes = [ast.literal_eval((tmp_path / f"sizes{r}").read_text()) for r in range(devices)]
    assert sorted(int(key) for some in keys for key in some) == sorted({*range(11)} - {*bad})
    assert len({len(some) for some in sizes}) == 1
    assert all(size > 0 for some in sizes for size in some)
    assert (tmp_path / "left_out").read_text() == str(len(bad))


def test_fewer_readable_samples_than_ranks_are_refused(tmp_path: Path) -> None:
    source = CountingSource(5, bad=[0, 2, 3, 4])
    data = make_datamodule(CountingSource(6), batch_size=6, val_source=source, max_bad_fraction=1.0)
    trainer = make_trainer(tmp_path, max_steps=1, strategy="ddp_fork", devices=2)
    with pytest.raises(Exception, match="Only 1 of the 5 validation clips can be read, fewer than"):
        trainer.fit(Buffered(), datamodule=data)


class RanksAgree(pl.Callback):
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Recorder)
        folder = Path(trainer.default_root_dir)
        (folder / f"rank{trainer.global_rank}").write_text(repr(pl_module.batches))
        (folder / f"val{trainer.global_rank}").write_text(repr(pl_module.val_keys))
        if isinstance(pl_module, Buffered):
            (folder / f"sizes{trainer.global_rank}").write_text(repr(pl_module.sizes))
            datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
            (folder / "left_out").write_text(str(datamodule.val_left_out))
