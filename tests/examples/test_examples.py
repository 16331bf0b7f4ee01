"""The scripts in `examples/` run as they stand, in an empty folder."""

import ast
import runpy
from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
NOTEBOOK = next(file for file in EXAMPLES if file.stem == "train_in_a_notebook")


def run(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(folder)
    return runpy.run_path(str(file))


def test_a_method_is_trained_saved_loaded_and_used_in_ten_lines(tmp_path, monkeypatch, capsys):
    tree = ast.parse(NOTEBOOK.read_text(encoding="utf-8"))
    lines = [s for s in tree.body if not isinstance(s, ast.Import | ast.ImportFrom)]
    assert sum(s.end_lineno - s.lineno + 1 for s in lines) <= 10
    names = run(NOTEBOOK, tmp_path, monkeypatch)
    assert names["trainer"].global_step == 20
    assert names["flow"].shape == (2, 128, 128)
    assert (tmp_path / "cmp.ckpt").is_file()
    assert "flow (2, 128, 128), features of 128 channels" in capsys.readouterr().out


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.stem)
def test_what_an_example_imports_is_there(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in EXAMPLES if f != NOTEBOOK], ids=lambda f: f.stem)
def test_example_runs(file, tmp_path, monkeypatch, capsys):
    run(file, tmp_path, monkeypatch)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.stem)
def test_example_is_a_notebook_that_says_what_it_is_about(file):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert text.count("\n# %%\n") >= 2
