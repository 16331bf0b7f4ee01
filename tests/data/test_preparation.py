"""How jobs are run: in parallel, in shards, over restarts, past files that crash or hang."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
from patience import wait_until
from text_job import HANGING, CopyTexts

from selfsup_motion.data.preparation import pool
from selfsup_motion.data.preparation.work import Outcome, Work
from selfsup_motion.errors import UserError


def make_texts(root: Path, count: int = 12, **special: str) -> Path:
    root.mkdir()
    for index in range(count):
        (root / f"u{index:02}").write_text("text" * (index + 1))
    for name, text in special.items():
        (root / name).write_text(text)
    return root


def run(root: Path, output: Path, **kwargs: object) -> Outcome:
    return Work(**kwargs).run(CopyTexts(root, output))  # type: ignore[arg-type]


def complete(root: Path, output: Path) -> bool:
    """Whether each text is there, whole."""
    return all(
        "".join((output / unit.name / str(i)).read_text() for i in range(len(unit.read_text())))
        == unit.read_text()
        and len(list((output / unit.name).iterdir())) == len(unit.read_text())
        for unit in root.iterdir()
    )


def test_every_unit_is_done_once_and_told(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in")
    told: list[tuple[int, int, str]] = []
    outcome = Work(num_workers=3).run(
        CopyTexts(root, tmp_path / "out"), lambda *state: told.append(state)
    )

    assert (outcome.done, outcome.good, outcome.kept) == (12, 12, 0)
    assert outcome.lines == ["312 letters"]
    assert told == [(done, 12, "0 bad") for done in range(13)]
    assert complete(root, tmp_path / "out")
    again = run(root, tmp_path / "out")
    assert (again.done, again.kept, again.lines) == (0, 12, outcome.lines)


def test_crashes_hangs_and_bugs_are_bad_files_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        """On which an hour passes when a unit hangs, and no unit is slow before."""

        def monotonic(self) -> float:
            return 3600.0 * (tmp_path / HANGING).exists()

    monkeypatch.setattr(pool, "time", Clock())
    root = make_texts(tmp_path / "in", bad="bad", crash="crash", hang="hang", bug="bug")
    outcome = run(root, tmp_path / "out", num_workers=1, time_limit=1.5)

    assert outcome.good == 12
    assert outcome.bad == Counter({"damaged": 1, "crash": 1, "too slow": 1, "unexpected": 1})
    with (tmp_path / "out" / "bad_files.csv").open(newline="") as stream:
        rows = {row["file"]: (row["reason"], row["message"]) for row in csv.DictReader(stream)}
    assert rows["bad"] == ("damaged", "bad is bad.")
    assert rows["bug"] == ("unexpected", "bug: ZeroDivisionError: division by zero")
    assert rows["crash"] == ("crash", "crash crashes its reader (exit code -9).")
    assert rows["hang"] == ("too slow", "hang takes more than 1.5 seconds.")
    (tmp_path / HANGING).unlink()
    (root / "hang").write_text("now a text")
    assert run(root, tmp_path / "out").done == 1, "it has changed"
    assert run(root, tmp_path / "out", retry=True, time_limit=1.5).done == 3


def test_shards_share_the_units_and_the_last_one_finishes(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in")
    outcomes = [run(root, tmp_path / "out", shard=f"{k}/4") for k in (2, 4, 1, 3)]

    assert [outcome.done for outcome in outcomes] == [3, 3, 3, 3]
    assert [outcome.elsewhere for outcome in outcomes] == [9, 6, 3, 0]
    assert [bool(outcome.lines) for outcome in outcomes] == [False, False, False, True]
    assert complete(root, tmp_path / "out")
    assert run(root, tmp_path / "out", shard="1/2").kept == 6, "any division continues any other"


def test_new_and_changed_units_are_done_by_the_next_run(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in")
    run(root, tmp_path / "out")
    (root / "new").write_text("new")
    (root / "u03").write_text("other")

    outcome = run(root, tmp_path / "out")
    assert (outcome.done, outcome.kept) == (2, 11)
    assert complete(root, tmp_path / "out")


def test_what_is_gone_or_cut_off_is_done_again(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in")
    run(root, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "u03")
    next((tmp_path / "out" / "u05").iterdir()).unlink()

    outcome = run(root, tmp_path / "out")
    assert (outcome.done, outcome.kept, outcome.spoilt) == (2, 10, 2)
    assert complete(root, tmp_path / "out")


def test_other_settings_are_refused(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in", 1)
    run(root, tmp_path / "out")
    with pytest.raises(UserError, match="was started with version=1, not 2: choose another folder"):
        Work().run(CopyTexts(root, tmp_path / "out", version=2))


@pytest.mark.parametrize("shard", ["0/4", "5/4", "3", "a/b"])
def test_shards_that_cannot_be_are_refused(shard: str) -> None:
    with pytest.raises(UserError, match=r"write the third of 64 parts as 3/64"):
        Work(shard=shard)


def test_two_processes_on_one_shard_are_refused(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in", 1, hang="hang")
    process = get_context("fork").Process(target=run, args=(root, tmp_path / "out"))
    process.start()
    wait_until(lambda: list((tmp_path / "out").glob(".prepare/*.jsonl")), process.is_alive)
    with pytest.raises(UserError, match=r"shard=1/1 of .* is being worked on by another process"):
        run(root, tmp_path / "out")
    process.kill()
    process.join()


def test_killed_at_any_time_nothing_is_lost_or_half_written(tmp_path: Path) -> None:
    root = make_texts(tmp_path / "in", 60)
    output = tmp_path / "out"
    journal = output / ".prepare" / "1-of-1.jsonl"
    for delay in (0.0, 0.01, 0.02, 0.04, 0.08):
        process = get_context("fork").Process(target=run, args=(root, output))
        process.start()
        wait_until(journal.exists, process.is_alive, pause=0.001)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for folder in output.glob("u*"):
            # complete, without a look at the journal: this is what another program would find
            assert len(list(folder.iterdir())) == len((root / folder.name).read_text())
    with journal.open("ab") as stream:
        stream.write(b'{"unit": "u00", "stam')  # as if killed in the middle of a line
    recorded = len(journal.read_bytes().splitlines()) - 1

    for _ in range(200):
        try:
            outcome = run(root, output)
            break
        except UserError as error:  # a process that the last one left behind still has the lock
            if "another process" not in str(error):
                raise
            time.sleep(0.1)
    assert outcome.kept == recorded
    assert outcome.done == 60 - recorded
    assert complete(root, output)
    assert {path.name for path in output.glob("**/*tmp*")} == set()
    assert not list(output.glob(".prepare/drafts*"))
