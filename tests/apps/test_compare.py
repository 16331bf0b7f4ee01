"""Studies: their cells, what runs again and what does not, tables and report."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from patience import PATIENCE

from selfsup_motion.apps.comparing import forking, report, running
from selfsup_motion.apps.comparing.cells import Cell, cells_of
from selfsup_motion.apps.comparing.curves import of_training, over_budgets
from selfsup_motion.apps.comparing.launching import starter
from selfsup_motion.apps.comparing.plan import plan, total
from selfsup_motion.apps.comparing.report import write_report
from selfsup_motion.apps.comparing.results import interval, read_results, tables, validation
from selfsup_motion.apps.comparing.running import Runner, command_of
from selfsup_motion.apps.comparing.side_by_side import side_by_side
from selfsup_motion.apps.comparing.study import Study, read_study
from selfsup_motion.apps.film import film
from selfsup_motion.errors import UserError
from selfsup_motion.settings.groups import options

IMPORTED = forking._IMPORTED
SMALL = {"experiments": ["mosi"], "seeds": [0, 1], "tasks": {"toy_actions": []}}


def study_file(folder, **changes):
    file = folder / "my.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **changes}))
    return str(file)


def finished(cell, value, *, seconds=10.0):
    """A run folder as a finished cell leaves it."""
    cell.folder.mkdir(parents=True)
    name = "val/loss" if cell.verb == "train" else "score"
    summary = {"metrics": {name: value}, "cpu_seconds": seconds, "peak_memory_mb": 100.0}
    if cell.verb == "train":
        config = "monitor: val/loss\ndata: {batch_size: 4}\nmethod: {_target_: a.B}\n"
        summary |= {"finished": True, "steps": 50, "untrained": {name: 2 * value}}
    else:
        config = "name: t\nheadline: score\ntask: {_target_: a.B}\n"
        (cell.folder / "evaluate.log").touch()
        summary |= {"baselines": {"raw_color": {"score": 0.3}}}
    (cell.folder / "config.yaml").write_text(config)
    (cell.folder / "summary.json").write_text(json.dumps(summary))


def made(folder, row, seed, task=None):
    verb = "train" if task is None else "evaluate"
    return Cell(f"{row}, seed {seed}, {task}", verb, row, seed, task, (), "k",
                folder / "cells" / f"{row}-{task}-{seed}")  # fmt: skip


@pytest.fixture(autouse=True)
def quickly_forked(monkeypatch):
    """Cells of these tests do not need what is imported for others, which takes 15 seconds."""
    monkeypatch.setattr(forking, "_IMPORTED", ["colorsys"])


def test_what_is_imported_for_all_cells_is_there():
    assert all(map(importlib.util.find_spec, IMPORTED))


@pytest.fixture
def results(tmp_path):
    """Two rows of three seeds, of which the first is better by 0.1, 0.2 and 0.3."""
    study = Study("my", "A study.", seeds=(0, 1, 2), tasks={"t": ()}, against={"t": "worse"})
    chains = []
    for seed in (0, 1, 2):
        for row, value in (("better", 0.5 + 0.2 * seed), ("worse", 0.4 + 0.1 * seed)):
            chain = [made(tmp_path, row, seed), made(tmp_path, row, seed, "t")]
            finished(chain[0], 1.0)
            finished(chain[1], value)
            chains.append(chain)
    return study, chains


def test_shipped_study_has_every_small_recipe_and_asks_what_fits():
    study = read_study("toy")
    small = {name for name in options("experiment") if not name.startswith("paper/")}
    assert set(study.rows) == small - {"cmp_photos", "dense_ulearn_videos"}
    assert study.seeds == (0, 1, 2)
    (budget,) = study.budgets
    assert set(study.expected[budget]) <= {*study.rows, *study.tasks}, "a name of the past"


ON_REAL_DATA = sorted(set(options("studies")) - {"toy"})


def test_shipped_studies_say_which_folders_they_need():
    assert ON_REAL_DATA == ["cmp_tables", "corrflow_tables", "mosi_tables", "real_small"]
    for name in ON_REAL_DATA:
        with pytest.raises(UserError, match=rf"^study={name}: where is .*Add roots={{.*:/path}}"):
            read_study(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_REAL_DATA)
def test_shipped_studies_compose_with_their_folders(tmp_path, name):
    with pytest.raises(UserError) as told:
        read_study(name)
    roots = dict.fromkeys(re.findall(r"(\w+):/path", str(told.value)), str(tmp_path))
    study = read_study(name, roots=roots, seeds=[0])
    chains = cells_of(study, tmp_path)
    asked = {cell.row for chain in chains for cell in chain if cell.task}
    assert set(study.rows) <= asked, "every row has a task that it fits"


def test_cells_are_trainings_and_what_follows_them(tmp_path):
    study = read_study(study_file(tmp_path, references={"toy_actions": ["r3d8"]}))
    chains = cells_of(study, tmp_path)
    names = [[cell.name for cell in chain] for chain in chains]
    assert names == [
        ["r3d8, random, seed 0, toy_actions"],
        ["r3d8, random, seed 1, toy_actions"],
        ["mosi, seed 0", "mosi, seed 0, toy_actions"],
        ["mosi, seed 1", "mosi, seed 1, toy_actions"],
    ]
    first, second = chains[2]
    assert first.folder != chains[3][0].folder
    command = command_of(second)
    assert command[2] == "selfsup_motion.evaluate"
    assert f'checkpoint="{first.folder}"' in command
    assert command_of(first)[-1] == "resume=auto"
    assert not any("resume" in word for word in command)


def test_a_cell_whose_settings_change_is_another_one(tmp_path):
    file = study_file(tmp_path, tasks={})
    before, again, changed = (
        cells_of(read_study(file, overrides=more), tmp_path)[0][0].folder
        for more in ((), (), ("trainer.max_steps=5",))
    )
    assert before == again != changed


def test_every_budget_has_rows_of_its_own(tmp_path):
    budgets = {"short": ["trainer.max_steps=2"], "long": ["trainer.max_steps=4"]}
    file = study_file(tmp_path, budgets=budgets, budget="short", seeds=[0], tasks={})
    (chain,) = cells_of(read_study(file), tmp_path)
    assert (chain[0].row, chain[0].steps) == ("mosi", 2)
    longer = read_study(file, overrides=["trainer.max_steps=3"])
    assert cells_of(longer, tmp_path)[0][0].steps == 3, "the command line has the last word"
    both = [chain[0] for chain in cells_of(read_study(file, budget=["short", "long"]), tmp_path)]
    assert [(cell.row, cell.recipe, cell.steps) for cell in both] == [
        ("mosi, short", "mosi", 2),
        ("mosi, long", "mosi", 4),
    ]


def test_a_task_may_be_asked_in_several_ways_and_of_some_rows_only(tmp_path):
    lists = tmp_path / "lists, of mine"
    lists.mkdir()
    study = read_study(
        study_file(
            tmp_path,
            seeds=[0],
            tasks={"toy_actions": [], "short": {"task": "toy_actions", "overrides": [
                "task.views.clips=1"]}},
            rows=[{"name": "half", "experiment": "mosi", "tasks": ["short"],
                   "overrides": ["data.lists=[${roots.lists}/a.txt,b.txt]"]}],
            roots={"lists": "a folder"},
        ),
        rows=["half"], roots={"lists": str(lists)},
    )  # fmt: skip
    assert study.rows["half"][1] == (f'data.lists=["{lists}/a.txt","b.txt"]',)
    study = replace(study, rows={"half": ("mosi", ())})
    ((training, evaluation),) = cells_of(study, tmp_path)
    assert (training.name, evaluation.name) == ("half, seed 0", "half, seed 0, short")
    assert evaluation.overrides[:2] == ("task=toy_actions", "task.views.clips=1")


def test_a_task_may_be_asked_of_some_rows_only(tmp_path):
    study = read_study(study_file(tmp_path, seeds=[0], experiments=["mosi", "ablation/mosi_no_*"],
                                  only={"toy_actions": ["mosi"]}))  # fmt: skip
    lengths = {chain[0].row: len(chain) for chain in cells_of(study, tmp_path)}
    assert lengths == {"mosi": 2, "ablation/mosi_no_mask": 1}


def test_plan_tells_costs_that_were_measured_and_those_that_are_expected(tmp_path):
    file = study_file(tmp_path, budgets={"short": []}, budget="short",
                      expected={"short": {"mosi": 20, "toy_actions": 7}})  # fmt: skip
    study = read_study(file)
    chains = cells_of(study, tmp_path)
    assert [(line.cells, line.left) for line in plan(study, chains)] == [(2, 40), (2, 14)]
    finished(chains[0][0], 1.0, seconds=30.0)
    training, evaluation = plan(study, chains)
    assert (training.finished, training.left, training.is_measured) == (1, 30.0, True)
    assert total([training, evaluation]) == (44.0, 0)
    unknown = plan(read_study(study_file(tmp_path, seeds=[5])), cells_of(
        read_study(study_file(tmp_path, seeds=[5])), tmp_path))  # fmt: skip
    assert total(unknown) == (0.0, 2)


def test_study_asks_for_the_folders_of_the_cells_that_are_wanted(tmp_path):
    file = study_file(
        tmp_path,
        seeds=[0],
        overrides=["data=videos", "data.root=${roots.clips}"],
        tasks={"davis2017": ["data.root=${roots.davis}"], "toy_actions": []},
        encoders={"toy_actions": {"supervised": "${roots.weights}"}},
        roots={"clips": "videos", "davis": "DAVIS as downloaded", "weights": "a file of weights"},
    )
    with pytest.raises(
        UserError, match=r"where is clips \(videos\), davis \(DAVIS as down"
    ) as told:
        read_study(file)
    assert "Add roots={clips:/path,davis:/path}" in str(told.value)
    with pytest.raises(UserError, match=r"roots.clips=.*no: there is no such file or folder."):
        read_study(file, tasks=["toy_actions"], roots={"clips": str(tmp_path / "no")})
    with pytest.raises(UserError, match=r"roots.clip: the study asks for no such folder, did you"):
        read_study(file, tasks=["toy_actions"], roots={"clip": str(tmp_path)})
    study = read_study(file, tasks=["toy_actions"], roots={"clips": str(tmp_path)})
    assert study.training == ("data=videos", f'data.root="{tmp_path}"')
    assert study.notes == ("supervised is left out: roots.weights is not set (a file of weights).",)
    assert [cell.name for chain in cells_of(study, tmp_path) for cell in chain] == [
        "mosi, seed 0",
        "mosi, seed 0, toy_actions",
    ]


def test_encoders_of_clips_are_not_asked_about_images(tmp_path):
    study = read_study(study_file(tmp_path, tasks={"davis2017": ["data=toy"]}, seeds=[0]))
    assert [len(chain) for chain in cells_of(study, tmp_path)] == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiments": ["cpm"]}, "there is no experiment cpm, did you mean cmp?"),
        ({"experiments": ["x*"]}, "no experiment is like x*."),
        ({"tasks": {"davis2107": []}}, "there is no task davis2107, did you mean davis2017?"),
        ({"references": {"davis2017": []}}, "references.davis2017: the study has no such task"),
        ({"references": {"toy_actions": ["r3d9"]}}, "there is no encoder r3d9, did you mean r3d"),
        ({"rows": [{"name": "mosi", "experiment": "cmp"}]}, "two rows are called mosi"),
        ({"rows": [{"name": "a"}]}, "rows: expected {name: …"),
        ({"tasks": {"a": {"of": "toy_actions"}}}, "tasks.a: expected {task: …"),
        ({"rows": [{"name": "a", "experiment": "cmp", "tasks": ["b"]}]}, "has no task b"),
        ({"only": {"toy_actions": ["cmp*"]}}, "only.toy_actions: the study has no row like cmp*."),
        ({"only": {"b": ["mosi"]}}, "only.b: the study has no such task."),
        ({"budget": "tiny"}, "there is no budget tiny"),
        ({"seed": [0]}, "unknown key seed, did you mean seeds?"),
        ({"seeds": [1, 1]}, "a seed is named twice"),
        ({"encoders": {"toy_actions": ["cmp"]}}, "encoders.toy_actions: expected {name of"),
        ({"overrides": ["data.root=${roots.x}"]}, "roots.x is used, but roots does not describe"),
        ({"seeds": ["a"]}, "seeds must be a list of whole numbers"),
        ({"tasks": ["toy_actions"]}, "tasks must be a mapping"),
        ({"overrides": ["trainer.max_stepz=1"]}, "row mosi: Unknown key trainer.max_stepz: did"),
    ],
)
def test_mistake_in_a_study_is_told_in_a_sentence(tmp_path, changes, message):
    with pytest.raises(UserError) as told:
        cells_of(read_study(study_file(tmp_path, **changes)), tmp_path)
    assert message in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "What is compared? Add study=<name>"),
        (["study=toi"], "study=toi: there is no such study, did you mean toy?"),
        (["study=no.yaml"], "study=no.yaml: there is no such file."),
        (["study=toy", "encoders=[cmp]"], "study and encoders are both given"),
        (["study=toy", "tasks=[davis2016]"], "tasks: it has no davis2016, did you mean davis2017?"),
        (["study=toy", "rows=[cpm]"], "rows: it has no cpm, did you mean cmp?"),
        (["study=toy", "against=cmp"], "against: a study says that itself"),
        (["encoders=[cmp]", "tasks=[davis2017]", "budget=small"], "budget=small: it is of a study"),
        (["study=toy", "jobs=0"], "jobs=0: expected at least 1."),
        (["encoders=[cmp]"], "encoders: on which tasks?"),
        (["encoders=[cmp]", "tasks=[davis]"], "tasks: there is no task davis, did you mean davis"),
        (["encoders=[no]", "tasks=[davis2017]"], "no: there is no such checkpoint or run folder"),
        (["encoders=[cmp,cmp]", "tasks=[davis2017]"], "one of them is named twice"),
    ],
)
def test_mistake_on_the_command_line_is_told(command, capsys, arguments, message):
    assert command("compare", *arguments) == 2
    assert message in capsys.readouterr().err


def test_the_row_with_the_smallest_error_is_the_first(results):
    study, chains = results
    for chain in chains:
        file = chain[1].folder / "summary.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "lower_is_better": True}))
    (table,) = tables(study, read_results(chains))
    assert [row.name for row in table.rows] == ["raw_color (of the task)", "worse", "better"]
    assert table.lower_is_better


def test_table_has_means_spreads_and_paired_differences(results):
    study, chains = results
    (table,) = tables(study, read_results(chains))
    better, worse, raw = table.rows
    assert (better.name, worse.name, raw.name) == ("better", "worse", "raw_color (of the task)")
    assert better.mean == pytest.approx(0.7)
    assert better.spread == pytest.approx(0.2)
    assert better.difference == pytest.approx(0.2)
    assert better.interval == pytest.approx((0.1, 0.3), abs=0.01)
    assert (worse.difference, worse.interval) == (None, None)
    assert raw.difference == pytest.approx(0.3 - 0.5)
    assert (better.samples, better.cpu_seconds, better.memory_mb) == (200, 20.0, 100.0)
    assert validation(read_results(chains))[0] == ("better", "val/loss", 1.0, 2.0, 3)


def test_interval_of_equal_differences_is_a_point():
    assert interval([0.25, 0.25, 0.25]) == (0.25, 0.25)
    low, high = interval([-1.0, 1.0, 0.0, 0.5])
    assert -1 <= low < 0.125 < high <= 1


def test_report_is_whole_without_a_network_and_names_what_failed(results, tmp_path):
    study, chains = results
    failed = {"mast, seed 0": "killed by the system."}
    files = write_report(study, read_results(chains), failed, tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert "data:image/png;base64," in page
    named = re.findall(r"(?:src|href)=\"?([^\" >]*)", page)
    assert named
    assert all(name.startswith("data:image/png;base64,") for name in named)
    text = (tmp_path / "out/report.md").read_text()
    assert "| better | 0.700 ± 0.200 | 3 | +0.200 | +0.100 to +0.300 | 200 | 20 | 100 |" in text
    assert "GPU s" not in text, "no GPU was used"
    assert "Failed: mast, seed 0: killed by the system." in text
    assert (tmp_path / "out/t.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "out/table.csv").read_text().splitlines()) == 4
    assert all(file.is_file() for file in files)


def test_too_few_seeds_are_told_apart(results, tmp_path):
    study, chains = results
    write_report(study, read_results(chains[:4]), {}, tmp_path / "out")
    assert "| (+0.150) | (+0.100 to +0.200) |" in (tmp_path / "out/report.md").read_text()
    assert "<td class=weak>" in (tmp_path / "out/report.html").read_text()


def test_numbers_without_support_are_grey(results, tmp_path):
    """A row that has not learned, and a difference that may be none."""
    study, chains = results
    for chain in chains[1::2]:  # worse: now sometimes better, and no better than before training
        file = chain[0].folder / "summary.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "untrained": {"val/loss": 1}}))
        file = chain[1].folder / "summary.json"
        score = 0.9 if chain[0].seed == 0 else 0.4
        file.write_text(json.dumps({**json.loads(file.read_text()), "metrics": {"score": score}}))
    (table,) = tables(study, read_results(chains))
    better, worse, _ = table.rows
    assert (better.has_learned, better.has_support) == (True, False)
    assert (worse.has_learned, worse.difference) == (False, None)
    write_report(study, read_results(chains), {}, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    assert "| better | 0.700 ± 0.200 | 3 | (+0.133) | -0.400 to +0.500 |" in text
    assert "| worse | (0.567 ± 0.289) | 3 |" in text


def test_curves_are_over_budgets_and_over_the_samples_of_trainings(results, tmp_path):
    study, chains = results
    for chain in chains:
        told = "step,val/loss\n25,1.5\n30,\n50,1.0\n"
        (chain[0].folder / "metrics.csv").write_text(told)
        for index, cell in enumerate(chain):  # better and worse are budgets of one recipe
            chain[index] = replace(cell, recipe="cmp")
        if chain[0].row == "worse":
            file = chain[0].folder / "summary.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), "steps": 25}))
    found = read_results(chains)
    (training,) = of_training(found)
    assert training.title == "B: val/loss during training"
    assert len(of_training([*found, replace(found[0], method="C")])) == 2
    assert training.lines["better"] == [(0, 2.0, 0.0), (100, 1.5, 0.0), (200, 1.0, 0.0)]
    (budgets,) = over_budgets(tables(study, found))
    assert budgets.lines == {"cmp": [
        (100, pytest.approx(0.5), pytest.approx(0.1)),
        (200, pytest.approx(0.7), pytest.approx(0.2)),
    ]}  # fmt: skip
    assert budgets.levels == {"raw_color (of the task)": 0.3}
    write_report(study, found, {}, tmp_path / "out")
    assert "![t_budgets](t_budgets.png)" in (tmp_path / "out/report.md").read_text()
    assert (tmp_path / "out/training_B_val_loss.png").read_bytes()[:4] == b"\x89PNG"


def test_rows_are_shown_side_by_side_for_the_same_inputs(results):
    study, chains = results
    for chain in chains[:2]:
        for name in ("a", "b", chain[0].row):  # one that others do not have
            file = chain[1].folder / "overlays" / f"{name}.mp4"
            file.parent.mkdir(exist_ok=True)
            with film(file, 12) as made:
                for _ in range(4):
                    made.add(np.full((48, 64, 3), 200 if chain[0].row == "worse" else 40, np.uint8))
    found = read_results(chains)
    (table,) = tables(study, found)
    assert side_by_side(table, []) is None
    picture = cv2.imdecode(np.frombuffer(side_by_side(table, found), np.uint8), 1)
    rows = [picture[y : y + 72, 210:306].mean() for y in (22, 98)]
    assert rows == pytest.approx([40, 200], abs=4), "better is above worse"
    assert picture.shape[0] == 22 + 2 * 76


def test_finished_cells_are_not_run_again(results, tmp_path):
    _, chains = results
    outcome = Runner(tmp_path, jobs=2, retry=False, tell=print).run(chains)
    assert len(outcome.before) == 12
    assert not outcome.finished
    assert not (tmp_path / "logs").exists()


def test_failed_cell_is_told_and_only_tried_again_on_request(tmp_path):
    first = Cell(
        "a, seed 0", "train", "a", 0, None, ("experiment=nope",), "k", tmp_path / "cells/a"
    )
    chain = [first, made(tmp_path, "a", 0, "t")]
    told = []
    outcome = Runner(tmp_path, jobs=1, retry=False, tell=told.append).run([chain])
    assert outcome.failed["a, seed 0"].startswith("experiment=nope: there is no such experiment")
    assert outcome.left == ["a, seed 0, t"]
    assert "nope" in (tmp_path / "logs/a.log").read_text()

    outcome = Runner(tmp_path, jobs=1, retry=False, tell=told.append).run([chain])
    assert "retry=true tries it again" in told[-1]
    assert outcome.failed
    finished(first, 1.0)  # somebody has run it
    finished(chain[1], 0.5)
    outcome = Runner(tmp_path, jobs=1, retry=False, tell=told.append).run([chain])
    assert (outcome.failed, len(outcome.before)) == ({}, 2)
    assert json.loads((tmp_path / "failed.json").read_text()) == {}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            "killed by the system, most probably for want of memory; use fewer jobs.",
        ),
        (
            "raise SystemExit('torch.OutOfMemoryError: CUDA out of memory.')",
            "out of memory (torch.Out",
        ),
        ("raise MemoryError", "out of memory (MemoryError)."),
    ],
)
def test_cell_without_memory_is_told_and_the_others_stay(
    results, tmp_path, monkeypatch, script, reason
):
    _, chains = results
    greedy = made(tmp_path, "greedy", 0)
    (tmp_path / "greedy_cell.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(running, "command_of", lambda _: [sys.executable, "-m", "greedy_cell"])
    outcome = Runner(tmp_path, jobs=1, retry=False, tell=print).run([[greedy], *chains])
    assert outcome.failed["greedy, seed 0, None"].startswith(reason)
    assert len(outcome.before) == 12
    assert len(read_results(chains)) == 12


def test_interrupted_report_leaves_the_earlier_one_whole(results, tmp_path, monkeypatch):
    study, chains = results
    write_report(study, read_results(chains[:4]), {}, tmp_path / "out")
    before = (tmp_path / "out/report.html").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(report, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_report(study, read_results(chains), {}, tmp_path / "out")
    assert (tmp_path / "out/report.html").read_text() == before
    write_report(study, read_results(chains), {}, tmp_path / "out")
    assert (tmp_path / "out/report.html").read_text() != before
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def interrupted(*_):
    raise KeyboardInterrupt


def test_cell_is_a_fork_that_is_asked_to_save(tmp_path, monkeypatch):
    """It has imported what is slow to import, a session and an exit status of its own."""
    (tmp_path / "saving_cell.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('saved'))\n"
        "print(*sys.argv[1:], 'colorsys' in sys.modules, os.getsid(0) == os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    log = tmp_path / "log"
    cell = starter(tmp_path, {}, 1)([sys.executable, "-m", "saving_cell", "a b", "c"], log)
    with pytest.raises(subprocess.TimeoutExpired):
        cell.wait(0.01)
    end = time.monotonic() + PATIENCE
    while not log.exists() or "True" not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    cell.end()
    assert cell.wait(PATIENCE) == 1
    assert log.read_text() == "a b c True True\nsaved\n"


@pytest.mark.slow
def test_cells_run_as_jobs_of_submitit(tmp_path):
    """As processes that submitit starts here; a job that is ended asks its command to save."""
    pytest.importorskip("submitit")
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf

    start = starter(tmp_path, vars(LocalQueueConf(timeout_min=5)), 1)
    log = tmp_path / "log"
    told = start([sys.executable, "-c", "print('as a job'); raise SystemExit(3)"], log)
    assert told.wait(PATIENCE) == 3
    assert log.read_text() == "as a job\n"
    assert list(tmp_path.glob("submitit/*"))

    saves = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit('saved'))\n"
    going = start(
        [sys.executable, "-c", f"{saves}print('begun', flush=True)\ntime.sleep(600)"], log
    )
    end = time.monotonic() + PATIENCE
    while "begun" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.1)
    going.end()
    assert going.wait(PATIENCE) != 0
    assert "saved" in log.read_text()


def test_launchers_of_a_single_command_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"JoblibLauncher cannot run the cells of a study; leave"):
        starter(tmp_path, {"_target_": "hydra_plugins.hydra_joblib_launcher.x.JoblibLauncher"}, 1)


@pytest.mark.slow
def test_killed_study_goes_on_and_ends_with_a_report(tmp_path):
    """Both trainings, stopped on the way, killed on the way, and then to the end."""
    steps = ["trainer=cpu", "trainer.max_steps=4", "trainer.val_check_interval=4",
             "trainer.limit_val_batches=1", "data.num_workers=0"]  # fmt: skip
    small = ["data.actions.train.source.num_videos=24", "data.actions.test.source.num_videos=16",
             "task.views.clips=1", "task.few_shot=null", "device=cpu"]  # fmt: skip
    file = study_file(tmp_path, overrides=steps, tasks={"toy_actions": small})
    command = [sys.executable, "-m", "selfsup_motion.compare", f"study={file}", "output=out"]

    def run(until=None, number=signal.SIGTERM):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + PATIENCE
        while until and time.monotonic() < end and not list(tmp_path.glob(until)):
            time.sleep(0.2)
        if until:
            process.send_signal(number)
        return process.wait(PATIENCE), process.stderr.read()

    assert run("out/cells/mosi-train-seed0-*/config.yaml")[0] == 128 + signal.SIGTERM
    assert (tmp_path / "out/report.md").exists()
    run("out/cells/mosi-toy_actions-seed0-*/summary.json", signal.SIGKILL)
    (first,) = tmp_path.glob("out/cells/mosi-train-seed0-*/summary.json")
    written = first.stat().st_mtime_ns
    status, told = run()
    assert status == 0, told
    assert first.stat().st_mtime_ns == written, "what is finished is not run again"
    text = (tmp_path / "out/report.md").read_text()
    assert "4 cells are finished" in text
    assert "## toy_actions" in text
