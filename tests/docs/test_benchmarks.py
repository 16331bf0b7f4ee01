"""The harness of the benchmarks, and the page that it writes."""

import json
import os
import sys

import numpy as np
import pytest
from documents import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import bench
    import measuring
    import page
    import plots  # noqa: F401 (page.write takes it from here)
    import targets
finally:
    del sys.path[0]


def allocate(mib, value=1.0):
    """A form that fills an array and returns a number."""

    def make():
        def call():
            return float(np.ones(mib << 17).sum() > 0) * value

        return call

    return make


@pytest.mark.slow
def test_forms_run_in_processes_of_their_own_and_their_memory_is_seen():
    pids = {name: (lambda: lambda: float(os.getpid())) for name in "ab"}
    apart = measuring.measure(measuring.Comparison("pids", pids, repeats=1, agree=None), "cpu")
    seen = {form["value"] for form in apart["forms"].values()}
    assert len(seen) == 2
    assert os.getpid() not in seen

    forms = {"small": allocate(8), "large": allocate(64)}
    found = measuring.measure(measuring.Comparison("memory", forms, repeats=3), "cpu")
    small, large = found["forms"].values()
    assert len(small["cpu"]) == len(large["wall"]) == 3
    assert 60 < large["mib"] < 90
    assert large["mib"] - small["mib"] > 40


def test_quick_forms_are_called_until_their_share_is_used_up_and_slow_ones_three_times():
    assert [measuring.another([5.0] * n, 4, 3, 9) for n in range(4)] == [True, True, True, False]
    assert measuring.another([1.0] * 3, 4, 3, 9)
    assert not measuring.another([1.0] * 4, 4, 3, 9)
    assert not measuring.another([0.0] * 9, 4, 3, 9)


@pytest.mark.slow
def test_seconds_bound_the_calls_but_three_are_made_and_the_first_counts_if_it_is_no_warm_up():
    forms = {"one": lambda: lambda: None, "other": lambda: lambda: None}

    def calls(seconds, **settings):
        comparison = measuring.Comparison("nothing", forms, **settings)
        found = measuring.measure(comparison, "cpu", seconds=seconds)["forms"]
        return [len(form["wall"]) for form in found.values()]

    assert calls(0) == [3, 3]
    assert calls(600, repeats=5) == [5, 5]
    assert calls(600, repeats=1, warm_up=False) == [1, 1]


@pytest.mark.slow
def test_forms_that_disagree_or_fail_end_the_measurement():
    forms = {"right": allocate(1), "wrong": allocate(1, 1.1)}
    with pytest.raises(RuntimeError, match=r"sum: wrong gives 1\.1, not 1\.0"):
        measuring.measure(measuring.Comparison("sum", forms, repeats=1), "cpu")
    broken = {"right": allocate(1), "broken": lambda: lambda: 1 / 0}
    with pytest.raises(RuntimeError, match=r"sum, broken:\n(.|\n)*ZeroDivisionError"):
        measuring.measure(measuring.Comparison("sum", broken, repeats=1), "cpu")


def part(**seconds):
    """What is stored of a part with one comparison."""
    forms = {
        name: {"cpu": [s, s], "wall": [s, s], "mib": 10 * s, "value": None}
        for name, s in seconds.items()
    }
    comparison = {"name": "batch 1", "unit": "call", "clock": "cpu", "forms": forms}
    machine = {"": "a processor, 2 cores"}
    return {"machine": machine, "date": "2026-01-01", "load": 0.5, "comparisons": [comparison]}


def test_the_page_has_tables_targets_and_what_was_written_by_hand(tmp_path, monkeypatch):
    for name, place in (("RESULTS", "results"), ("PAGE", "page.md"), ("REMARKS", "remarks.md")):
        monkeypatch.setattr(page, name, tmp_path / place)
    (tmp_path / "remarks.md").write_text("top\n\n## flow_loss\n\nBy hand.\n", encoding="utf-8")
    (tmp_path / "results" / "cpu").mkdir(parents=True)
    stored = tmp_path / "results" / "cpu" / "flow_loss.json"
    for tiles, verdict in ((1.0, "6.0 | met"), (2.0, "3.0 | not met")):
        stored.write_text(json.dumps(part(direct=6.0, tiles=tiles)), encoding="utf-8")
        page.write({"flow_loss": "The loss"})
        text = (tmp_path / "page.md").read_text(encoding="utf-8")
        assert f"| ≥ 4 | {verdict} |" in text
        assert f"| tiles | {tiles:.0f} s | {tiles:.0f} s | 2 | ± 0% |" in text
        assert text.index("### The loss") < text.index("By hand.") < text.index("## GPU")
    assert text.count("| not measured |") == len(targets.TARGETS) - 1


def test_the_page_in_the_documentation_is_that_of_the_results(tmp_path, monkeypatch):
    before = page.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    (tmp_path / "pictures").mkdir()
    page.write(bench.TITLES)
    assert (tmp_path / "benchmarks.md").read_text(encoding="utf-8") == before, "bench.py --page"


def test_all_parts_together_take_less_than_a_quarter_of_an_hour_and_five_minutes_on_a_gpu():
    assert sum(bench.planned("cpu").values()) < 15 * 60
    assert sum(bench.planned("cuda").values()) <= 5 * 60
    for name in bench.PARTS:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
    assert f"together{sum(bench.planned('cpu').values()):13} s" in bench.plan(bench.planned("cpu"))


def test_a_part_that_fails_or_hangs_does_not_lose_the_others(monkeypatch, capsys):
    commands = {"broken": ["false"], "late": ["sleep", "60"], "good": ["true"]}
    limits = {"broken": 60, "late": 0.3, "good": 60}
    run_part, written = bench.run_part, []
    monkeypatch.setattr(
        bench, "run_part", lambda line, _: run_part(commands[line[2]], limits[line[2]])
    )
    monkeypatch.setattr(page, "write", lambda titles: written.append(titles))
    wrong = bench.measure_all(dict.fromkeys(commands, 7), "cpu")
    assert wrong == [
        "broken was not measured: its process ended with 1; its message is above.",
        "late was not measured: it was stopped after 0 seconds.",
    ]
    assert len(written) == 1
    told = capsys.readouterr().out
    assert "== good: 3 of 3, 7 s planned, 7 s left" in told
    assert "planned 7; 0 s left" in told


def test_a_step_of_every_method_is_measured():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import steps
    finally:
        del sys.path[0]
    methods = {folder.name for folder in (ROOT / "src/selfsup_motion/methods").glob("[a-z]*/")}
    measured = {name.split("_")[0] for name in steps.TOY} | set(steps.TOY)
    assert methods - {"parts"} <= measured
    names = [comparison.name for comparison in steps.comparisons("cpu") if not comparison.extra]
    assert all(any(f"={name}`" in title for title in names) for name in steps.TOY)
