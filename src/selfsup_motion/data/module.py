"""`ClipDataModule`: any source of clips, any view, in a repeatable order."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import cv2
import pytorch_lightning as pl
import torch

from selfsup_motion.data.flow.device import DeferredFlow, RaftFlow, RaftName
from selfsup_motion.data.flow.estimation import ON_DEVICE, FlowName
from selfsup_motion.data.loading.faults import BadFilesTable, BadVideos
from selfsup_motion.data.loading.held_out import Part, choose
from selfsup_motion.data.loading.loader import TrainLoader, TrainOrder, ValLoader, ValOrder
from selfsup_motion.data.loading.reader import Batch, ClipReader, Delivery, Fault
from selfsup_motion.data.loading.resume import processed_batches, rewind_to_step
from selfsup_motion.data.loading.sampling import ClipSampler
from selfsup_motion.data.loading.watch import ReadingBoard
from selfsup_motion.data.source import Source, check_source
from selfsup_motion.data.view import FunctionView, View, as_view
from selfsup_motion.errors import UserError

VAL_SEED = 0
"""Validation samples are the same in every run, whatever its seed."""


class ClipDataModule(pl.LightningDataModule):
    """Clips for training and validation.

    The sequence of global training batches depends on (seed, batch_size) and the source alone: it
    is the same for any number of workers, for any number of ranks that divides the batch, and after
    a resume at any step. Validation sees every clip once, always with the same randomness.

    A batch is what the view makes, stacked along a new first dimension, and `key`: list[str]; with
    `flow` in it, also `flow_origin`: list[str], see `Clip`.
    """

    def __init__(
        self,
        *,
        source: Source,
        val_source: Source,
        sampler: ClipSampler,
        val_sampler: ClipSampler,
        view: View,
        val_view: View,
        batch_size: int,
        val_batch_size: int | None = None,
        flow: FlowName | None = None,
        flow_weights: str | None = None,
        flow_check: bool = True,
        num_workers: int = 0,
        seed: int = 0,
        max_bad_fraction: float = 0.1,
        pin_memory: bool | None = None,
        prefetch_factor: int = 2,
    ) -> None:
        """Describe the data; nothing is opened before `setup`.

        Args:
            source: videos to train on.
            val_source: videos to validate on.
            sampler: chooses the frames of a training clip.
            val_sampler: chooses the frames of a validation clip.
            view: makes a training sample of a clip.
            val_view: makes a validation sample of a clip.
            batch_size: samples of an optimiser step, over all devices and accumulated batches.
            val_batch_size: of a validation step, over all devices (default: as many as a device
                takes at a time in training).
            flow: "raft_small" or "raft_large" estimates flow on the device, for views that need it;
                the other names, and None, leave it to the sources.
            flow_weights: of RAFT, see `RaftFlow`.
            flow_check: of RAFT, see `RaftFlow`.
            num_workers: reading processes of each device; 0 reads in the training process.
            seed: of order and samples.
            max_bad_fraction: share of unreadable videos above which the run ends, in [0, 1]. Up to
                it, an unreadable video is replaced by another one, named in the log and counted.
            pin_memory: page-locked batches; by default where there is a GPU.
            prefetch_factor: batches that each worker prepares ahead.
        """
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("val_batch_size", val_batch_size, 1),
            ("num_workers", num_workers, 0),
            ("seed", seed, 0),
            ("prefetch_factor", prefetch_factor, 1),
        ):
            if value is not None and value < least:
                raise UserError(f"{name} of the data must be at least {least}, got {value}.")
        if not 0 <= max_bad_fraction <= 1:
            raise UserError(f"max_bad_fraction must be between 0 and 1, got {max_bad_fraction}.")
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.seed = seed
        source, val_source = check_source(source, "source"), check_source(val_source, "val_source")
        view, val_view = as_view(view, "view"), as_view(val_view, "val_view")
        self._views = view, val_view
        self._sources = source, val_source
        self._raft: RaftFlow | None = None
        if flow in ON_DEVICE and view.needs_flow is not None:
            view, val_view = _deferred(view, flow), _deferred(val_view, flow)
            self._raft = RaftFlow(cast(RaftName, flow), flow_weights, check=flow_check)
        else:
            source, val_source = _matched(source, view), _matched(val_source, val_view)
        self._max_bad_fraction = max_bad_fraction
        boards = ReadingBoard(num_workers), ReadingBoard(num_workers)
        self._train_reader = ClipReader(source, sampler, view, seed, boards[0])
        self._val_reader = ClipReader(
            val_source, val_sampler, val_view, VAL_SEED, boards[1], replace=False
        )
        self._train_faults = BadVideos(len(source), max_bad_fraction)
        self._val_faults = BadVideos(len(val_source), max_bad_fraction, "val")
        self._former_faults: list[Fault] = []
        self._chosen = False
        self._loading: dict[str, Any] = {
            "num_workers": num_workers,
            "prefetch_factor": prefetch_factor,
            "pin_memory": torch.cuda.is_available() if pin_memory is None else pin_memory,
        }
        self._loaders: list[TrainLoader | ValLoader] = []
        self._waited = 0.0
        self._left_out = 0
        self._bad_files: Path | None = None

    @property
    def bad_videos(self) -> list[Fault]:
        """The unreadable videos met so far by this process's loaders, and what is wrong."""
        of_parts = (part.faults.values() for part in (self._train_faults, self._val_faults))
        return [*self._former_faults, *chain(*of_parts)]

    @property
    def skipped_files(self) -> int:
        """Number of unreadable videos met so far by this process's loaders."""
        return len(self.bad_videos)

    @property
    def skipped_reasons(self) -> dict[str, int]:
        """Number of them by reason."""
        return dict(Counter(fault.reason for fault in self.bad_videos))

    @property
    def val_left_out(self) -> int:
        """Number of clips, of all ranks, that the last whole validation could not read."""
        loaders = [loader for loader in self._loaders if isinstance(loader, ValLoader)]
        return loaders[-1].left_out if loaders else self._left_out

    @property
    def wait_seconds(self) -> float:
        """Time that training has waited for batches."""
        return self._waited + sum(
            loader.wait_seconds for loader in self._loaders if isinstance(loader, TrainLoader)
        )

    def slow_readings(self, seconds: float) -> list[tuple[int, str, float]]:
        """Videos whose reading takes longer: (loading process, name, `time.monotonic()` then)."""
        return [
            (reading.worker, reader.source.name(reading.video), reading.since)
            for reader in (self._train_reader, self._val_reader)
            for reading in reader.board.longer_than(seconds)
        ]

    def list_bad_files(self, path: Path) -> None:
        """List unreadable videos in a csv file (set, file, reason, message); before `setup`."""
        self._bad_files = path

    def setup(self, stage: str) -> None:
        """Check the sizes and make one sample of either kind, so that what cannot work fails here.

        Where validation is a share of the videos, chosen by their names, and none of these can be
        used, others are held out instead.

        Raises:
            UserError: a batch size that the number of devices does not divide, fewer clips than
                a batch takes, no readable video, a view that cannot work on this source.
        """
        if self._loading["num_workers"] == 0:
            # as in the workers: OpenCV's last digits depend on its number of threads
            cv2.setNumThreads(0)
        if self._bad_files is not None:
            path = self._bad_files
            if self.trainer is not None:  # of the first rank: the others may have their own time
                path = self.trainer.strategy.broadcast(path)
            self._train_faults.table = self._val_faults.table = BadFilesTable(path)
        self._choose_videos()
        world_size = self._world_size
        clips, val_clips = len(self._train_reader), len(self._val_reader)
        if stage == "fit":
            if self.batch_size % (world_size * self._accumulated):
                raise UserError(
                    f"batch_size {self.batch_size} counts the samples of a step and cannot be "
                    f"shared by {world_size} devices × {self._accumulated} accumulated batches: "
                    f"choose a multiple of {world_size * self._accumulated}."
                )
            if clips < self.batch_size:
                raise UserError(
                    f"The training set has {clips} clips, one batch takes {self.batch_size}: lower "
                    "batch_size or take more clips of each video (clips_per_video)."
                )
            self._train_faults.receive(self._train_reader.__getitems__([(0, 0)]))
        if val_clips < world_size:
            raise UserError(
                f"The validation set has {val_clips} clips, fewer than the {world_size} devices."
            )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Give a batch that is on the device the flow that it lacks, then to the method's hook."""
        assert self.trainer is not None
        if self._raft is not None:
            flow, valid = self._raft(batch["image"], batch["next_image"])
            view = cast(DeferredFlow, self._views[not self.trainer.training])
            batch = view.finish(batch, flow, valid)
            batch["flow_origin"] = ["estimated"] * len(flow)
        # Lightning calls one of the two hooks, and it is this one
        augmented: Batch = self.trainer.lightning_module.on_after_batch_transfer(
            batch, dataloader_idx
        )
        return augmented

    def train_dataloader(self) -> TrainLoader:
        """Endless training batches, from where the trainer stands."""
        trainer = self.trainer
        if trainer is not None:
            rewind_to_step(trainer)
        order = TrainOrder(
            len(self._train_reader),
            self.batch_size,
            self.seed,
            rank=self._rank,
            world_size=self._world_size,
            parts=self._accumulated,
            cycle=self._overfit_batches(),
            blocks=self._train_reader.blocks,
        )
        loader = TrainLoader(
            self._train_reader,
            order,
            self._train_faults.receive,
            progress=None if trainer is None else partial(processed_batches, trainer),
            **self._loading,
        )
        self._loaders.append(loader)
        return loader

    def val_dataloader(self) -> ValLoader:
        """All validation clips that can be read, each once, shared among the devices."""
        order = ValOrder(
            len(self._val_reader),
            self.val_batch_size or self.batch_size // self._accumulated,
            rank=self._rank,
            world_size=self._world_size,
        )
        strategy = None if self.trainer is None else self.trainer.strategy
        loader = ValLoader(
            self._val_reader,
            order,
            self._val_faults.receive,
            everyone=bool if strategy is None else strategy.reduce_boolean_decision,
            **self._loading,
        )
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        self._close()

    def on_exception(self, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        self._waited, self._left_out = self.wait_seconds, self.val_left_out
        for loader in self._loaders:
            loader.close()
        self._loaders = []

    def _choose_videos(self) -> None:
        """Hold out other videos if none of those that are held out can be used."""
        if self._chosen:  # by an earlier `setup`
            return
        self._chosen = True
        train, val = self._train_reader, self._val_reader
        # the first rank decides: to the others, storage may look different at this moment
        choice = choose(train, val) if self._rank == 0 else None
        if self.trainer is not None:
            choice = self.trainer.strategy.broadcast(choice)
        assert choice is not None
        if choice.error is not None:
            raise choice.error
        if choice.train is None or choice.val is None:
            self._val_faults.receive(Delivery(None, choice.tried))
            return
        table = self._val_faults.table
        former = BadVideos(len(train.source) + len(val.source), self._max_bad_fraction, choice.part)
        former.table = table
        former.receive(Delivery(None, choice.tried))
        self._former_faults = list(former.faults.values())
        sources = self._sources
        parts = (Part(sources[part.side], part.videos) for part in (choice.train, choice.val))
        matched = map(_matched, parts, self._views) if self._raft is None else parts
        train.source, val.source = matched
        choice.log(val.source)
        self._train_faults = BadVideos(len(train.source), self._max_bad_fraction)
        self._val_faults = BadVideos(len(val.source), self._max_bad_fraction, "val")
        self._train_faults.table = self._val_faults.table = table

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def _accumulated(self) -> int:
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

    def _overfit_batches(self) -> int | None:
        """The trainer's `overfit_batches` as a number of batches."""
        wanted: int | float = 0
        if self.trainer is not None:
            wanted = self.trainer.overfit_batches  # type: ignore[attr-defined]
        if not wanted:
            return None
        available = len(self._train_reader) // self.batch_size * self._accumulated
        return max(
            1, min(int(wanted * available) if isinstance(wanted, float) else wanted, available)
        )


def _matched(source: Source, view: View) -> Source:
    """The source without what the view does not look at.

    Raises:
        UserError: the view needs flow and the source says that it has none, or it needs several
            frames and the source has single images.
    """
    if view.needs_flow is not None and (reason := source.no_flow) is not None:
        raise UserError(f"{view.needs_flow} learns from flow, but {reason}.")
    if view.follows_frames is not None and source.still:
        raise UserError(
            f"{view.follows_frames} follows colours from frame to frame, and still images do not "
            "move: choose videos (data=videos) or folders of frames (data=frames); "
            "experiment=mosi learns from still images."
        )
    return source.first_frame_only() if view.first_frame_only else source


def _deferred(view: View, flow: FlowName | None) -> View:
    """What the view makes in the workers when flow comes later."""
    if not isinstance(view, DeferredFlow):
        raise UserError(
            f"data.flow={flow} estimates flow on the device, which {type(view).__name__} does not "
            "support: set data.flow=dis."
        )
    return FunctionView(view.pair)
