"""What every test may use."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from selfsup_motion.settings.groups import use_folders

CHECKOUT = Path(__file__).resolve().parents[1]

# how fast examples are is a matter of the machine
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


LONG = ("e2e", "docs", "web", "examples", "apps", "devices")
"""Folders of files that take long: they run first, so that at the end no process is left alone with
one. Makefile tells pytest-xdist to keep this order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, see `LONG`."""
    places = {CHECKOUT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.parent, len(places)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Whatever ran before, a test can fork its process into ranks."""
    if "torch" in sys.modules:
        _start_autograd()


@functools.cache
def _start_autograd() -> None:
    """Have autograd start its threads now, while there is no device.

    The first backward pass of a process starts one for each device. A program that was exported or
    compiled, and tensors that only say they are on a GPU, make PyTorch believe in one, and a
    process with such a thread can no longer be forked.
    """
    import torch

    torch.ones((), requires_grad=True).backward()  # type: ignore[no-untyped-call]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape names of files that are not UTF-8 in what a test has logged: pytest-xdist would end
    its worker process over them."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference data beside the checkout; without it the test is skipped."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder


@pytest.fixture(scope="session")
def cmp_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of `experiment=cmp_animate` with a slim, untrained network."""
    import torch
    from omegaconf import OmegaConf

    from selfsup_motion.settings.build import build
    from selfsup_motion.settings.compose import compose

    cfg = compose(["experiment=cmp_animate", "encoder.width=8", "method.propagation.width=8"])
    torch.manual_seed(0)
    method = build(cfg.method, "method")
    run = tmp_path_factory.mktemp("run")
    (run / "checkpoints").mkdir()
    parts = ("method", "encoder", "view")
    config = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in parts}
    ours = {"version": "0", "experiment": "cmp_animate", "config": config}
    content = {"state_dict": method.state_dict(), "global_step": 1, "selfsup_motion": ours}
    torch.save(content, run / "checkpoints" / "best.ckpt")
    return run


@dataclass(frozen=True)
class Installed:
    """A Python that has the package as a user has it: from a wheel, without the checkout."""

    python: Path
    environment: dict[str, str]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout, built and installed."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("installed")
    build = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    wheels = folder / "wheels"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=CHECKOUT, check=True)
    (wheel,) = wheels.iterdir()
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(packages)], check=True)
    # the dependencies that are installed here, but nothing that a .pth file there points to
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]}
    return Installed(folder / "venv" / "bin" / "python", environment)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`command("evaluate", "task=jhmdb")`: a command line in this process and an empty folder;
    returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *arguments: str) -> int:
        monkeypatch.setattr("sys.argv", [verb, *arguments])
        try:
            import_module(f"selfsup_motion.{verb}").main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture(autouse=True)
def no_own_folders() -> Iterator[None]:
    """Config folders that a command of one test was given are not those of the next."""
    yield
    use_folders([])
