"""A job's units, shared among processes and array jobs, over any number of restarts.

Each unit's record is a line of a journal, written when the unit's files are complete. A restart
reads all journals, of whatever division into array jobs, and does what is missing. The array job
that finds every unit recorded writes the job's final files, so there is no separate merging.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from selfsup_motion.data.preparation import pool
from selfsup_motion.data.preparation.occupied import occupied
from selfsup_motion.errors import ClipReadError, UserError
from selfsup_motion.files.atomic import write_text
from selfsup_motion.text.names import shown
from selfsup_motion.text.progress import OnProgress


class Job(Protocol):
    """What is done to every unit, and what is made of all results."""

    output: Path
    """Folder that everything is written to."""

    def settings(self) -> dict[str, Any]:
        """What the results depend on; a job is not continued with other settings."""
        ...

    def units(self) -> list[str]:
        """Names of the units, unique, in a stable order; raises `UserError`."""
        ...

    def stamp(self, unit: str) -> list[int]:
        """Changes when the unit's input does, so that it is done anew."""
        ...

    def process(self, unit: str, drafts: Path) -> dict[str, Any]:
        """Do one unit, in a worker.

        Files must appear complete or not at all (see `atomic`); `drafts` is for temporary ones.

        Returns:
            The result, as plain data.

        Raises:
            ClipReadError: the unit is bad.
        """
        ...

    def is_whole(self, unit: str, result: Mapping[str, Any]) -> bool:
        """Whether what an earlier run wrote for a unit is still there and has its size."""
        ...

    def finish(self, results: Mapping[str, dict[str, Any]]) -> list[str]:
        """Write the final files from the results of the good units, in the order of the units.

        Returns:
            Lines that tell what there is and how to use it.
        """
        ...


@dataclass
class Outcome:
    """What a run has done.

    Attributes:
        done: units done by this run.
        kept: units of this shard that earlier runs had done.
        spoilt: units done again because what earlier runs had written is missing or cut off.
        elsewhere: units of other shards still to be done.
        good: good units known so far, of all shards.
        bad: number of bad files by reason, of all shards.
        bad_files: list of the bad files, if everything is done.
        lines: what `Job.finish` tells, if everything is done.
    """

    done: int = 0
    kept: int = 0
    spoilt: int = 0
    elsewhere: int = 0
    good: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    bad_files: Path | None = None
    lines: list[str] = field(default_factory=list)


class Work:
    """Runs a job."""

    def __init__(
        self,
        *,
        shard: str = "1/1",
        num_workers: int = 2,
        time_limit: float = 120.0,
        retry: bool = False,
    ) -> None:
        """Describe how.

        Args:
            shard: "3/64" is the third of 64 array jobs that share the units.
            num_workers: processes.
            time_limit: seconds that a unit may take.
            retry: try the bad files of earlier runs again.

        Raises:
            UserError: an argument is out of range.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", shard)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"prepare.shard={shard}: write the third of 64 parts as 3/64.")
        if num_workers < 1:
            raise UserError(f"prepare.num_workers must be at least 1, got {num_workers}.")
        if time_limit <= 0:
            raise UserError(f"prepare.time_limit must be positive, got {time_limit:g} seconds.")
        self.shard, self.num_shards = int(found[1]), int(found[2])
        self.num_workers = num_workers
        self.time_limit = time_limit
        self.retry = retry

    def run(self, job: Job, progress: OnProgress = lambda done, total, what: None) -> Outcome:
        """Do what is missing of this shard, and finish the job if nothing is missing any more.

        Raises:
            UserError: no input, an output that cannot be written or was begun with other
                settings, another process at work on the same shard.
        """
        units = job.units()
        state = job.output / ".prepare"
        try:
            with occupied(state) as lock:
                return self._run(job, units, state, lock, progress)
        except OSError as error:
            raise UserError(f"{error.filename or job.output}: {error.strerror}.") from error

    def _run(
        self, job: Job, units: list[str], state: Path, lock: int, progress: OnProgress
    ) -> Outcome:
        _begin(state, job.settings())
        outcome = Outcome()
        drafts = state / f"drafts-{self.shard}-of-{self.num_shards}"
        with _journal(state / f"{self.shard}-of-{self.num_shards}.jsonl") as (append, handle):
            shutil.rmtree(drafts, ignore_errors=True)  # of a run that was killed
            drafts.mkdir()
            records = _records(state)
            mine = units[self.shard - 1 :: self.num_shards]
            todo = [unit for unit in mine if not self._is_done(job, unit, records, outcome)]
            outcome.kept = len(mine) - len(todo)
            bad = 0
            progress(0, len(todo), f"{bad} bad")
            process = _Process(job, drafts)
            for unit, record in pool.run(
                process, todo, self.num_workers, self.time_limit, close=[handle, lock]
            ):
                # a worker that died over a unit could not tell the stamp
                defaults = {"unit": unit, "stamp": _stamp(job, unit), "time": time.time()}
                append({**defaults, **record})
                outcome.done += 1
                bad += "reason" in record
                progress(outcome.done, len(todo), f"{bad} bad")
            shutil.rmtree(drafts, ignore_errors=True)
        self._finish(job, units, state, outcome)
        return outcome

    def _is_done(
        self, job: Job, unit: str, records: Mapping[str, dict[str, Any]], outcome: Outcome
    ) -> bool:
        record = records.get(unit)
        if record is None or (self.retry and "reason" in record):
            return False
        if record.get("stamp") != _stamp(job, unit):
            return False
        if "result" in record and not job.is_whole(unit, record["result"]):
            outcome.spoilt += 1
            return False
        return True

    def _finish(self, job: Job, units: list[str], state: Path, outcome: Outcome) -> None:
        records = _records(state)
        known = {unit: records[unit] for unit in units if unit in records}
        results = {unit: record["result"] for unit, record in known.items() if "result" in record}
        bad = {unit: record for unit, record in known.items() if "reason" in record}
        outcome.elsewhere = len(units) - len(known)
        for result in results.values():
            # a unit of several files tells which of them are bad
            for file, fault in result.get("bad", {}).items():
                bad[file] = fault
            outcome.good += 1 if "bad" not in result else result["good"]
        outcome.bad = Counter(record["reason"] for record in bad.values())
        if outcome.elsewhere:
            return
        outcome.bad_files = job.output / "bad_files.csv"
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["file", "reason", "message"])
        for file in sorted(bad):
            writer.writerow([shown(file), bad[file]["reason"], bad[file]["message"]])
        write_text(outcome.bad_files, table.getvalue())
        outcome.lines = job.finish(results)


@dataclass(frozen=True)
class _Process:
    """What a worker does with a unit."""

    job: Job
    drafts: Path

    def __call__(self, unit: str) -> dict[str, Any]:
        stamp = _stamp(self.job, unit)  # before reading: a file that changes meanwhile is redone
        try:
            return {"stamp": stamp, "result": self.job.process(unit, self.drafts)}
        except ClipReadError as error:
            return {"stamp": stamp, "reason": error.reason, "message": str(error)}


def _stamp(job: Job, unit: str) -> list[int]:
    try:
        return job.stamp(unit)
    except OSError:
        return []


def _begin(state: Path, settings: dict[str, Any]) -> None:
    """Write the settings down, or compare them with those of the earlier runs."""
    file = state / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    if not file.exists():
        write_text(file, text)
    before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise UserError(
                f"prepare.output={state.parent} was started with {name}={before.get(name)}, not "
                f"{now.get(name)}: choose another folder, or remove this one to start again."
            )


@contextmanager
def _journal(file: Path) -> Iterator[tuple[Callable[[dict[str, Any]], None], int]]:
    """Append lines to a journal that no other process is writing; also its file descriptor."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"prepare.shard={file.stem.replace('-of-', '/')} of {file.parents[1]} is being "
                "worked on by another process: wait for it, or take another shard."
            ) from None
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.write(handle, b"\n")  # close a line that was cut by a kill; it does not count

        def append(record: dict[str, Any]) -> None:
            # one call: a kill leaves the line or not, and the next one is whole again
            os.write(handle, json.dumps(record).encode() + b"\n")

        yield append, handle
    finally:
        os.close(handle)


def _records(state: Path) -> dict[str, dict[str, Any]]:
    """The latest record of every unit."""
    records: dict[str, dict[str, Any]] = {}
    for file in sorted(state.glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut by a kill
            before = records.get(record["unit"])
            if before is None or before["time"] <= record["time"]:
                records[record["unit"]] = record
    return records
