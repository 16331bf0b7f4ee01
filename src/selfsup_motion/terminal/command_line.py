"""What every command line entry shares: errors become one sentence and an exit status."""

import errno
import io
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from selfsup_motion.errors import UserError
from selfsup_motion.settings.arguments import folders, readable, split
from selfsup_motion.settings.completion import completing
from selfsup_motion.settings.groups import register_help, use_folders
from selfsup_motion.settings.resolvers import register_resolvers
from selfsup_motion.terminal.ranks import is_follower, lost_peer
from selfsup_motion.text.names import register_handler

_FIRST_SPEAKS = 3.0  # seconds
_FIRST = {
    "train": "experiment",
    "evaluate": "task",
    "compare": "study",
    "export": "checkpoint",
    "prepare": "prepare",
    "animate": "image",
    "annotate": "image",
    "propagate": "video",
    "activation": "video",
    "fit_colors": "data",
    "studio": "checkpoint",
}
"""The key that each command is told first."""
_WAITED_FOR = ("animate", "annotate", "propagate", "activation", "studio")
"""Commands that run beside other programs of the same person."""


class Interrupted(BaseException):
    """A signal ended the run.

    Attributes:
        signum: the signal.
        saved: whether `last.ckpt` was written for it.
        message: what to tell.
    """

    def __init__(
        self, signum: int, *, saved: bool = False, message: str = "Stopped before the first step."
    ) -> None:
        super().__init__(message)
        self.signum = signum
        self.saved = saved
        self.message = message


def run(main: Callable[[], object], config_name: str = "train") -> None:
    """Run a `hydra.main` function; a user's mistake prints one sentence and exits with status 2.

    Errors of the program itself keep their traceback, and so does everything when the environment
    variable HYDRA_FULL_ERROR is 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be of any bytes
            stream.reconfigure(errors=register_handler())
    if config_name in _WAITED_FOR:
        # threads that wait for each other by spinning took six times as long on busy cores; read
        # when torch is imported
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    register_resolvers()
    register_help(config_name)
    if not {"", os.getcwd()} & set(sys.path):  # `python -m` has it; so that `my_lab.py` is found
        sys.path.append(os.getcwd())
    try:
        _read_arguments(_FIRST[config_name])
    except UserError as error:
        _leave(str(error), 2)
    if os.environ.get("HYDRA_FULL_ERROR", "0") == "1":
        with completing():
            main()
        return
    # without this Hydra prints the exception itself and exits with status 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with completing():
            main()
    except (HydraException, OmegaConfBaseException) as error:
        from selfsup_motion.settings.diagnose import explain

        _leave(explain(error, sys.argv[1:], config_name), 2)
    except Interrupted as stop:
        # the first process tells; it takes other statuses of its helpers for their death
        _leave(stop.message, 0 if is_follower() else 128 + stop.signum)
    except ValueError as error:
        if not str(error).startswith("Config group override"):
            raise
        _leave(
            "A group takes one of its options, a list of them, or null for none (see --help).", 2
        )
    except KeyboardInterrupt:
        _leave("Stopped.", 130)
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def plain(main: Callable[[], object]) -> None:
    """Run a command that composes no config; a user's mistake ends it as in `run`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=register_handler())
    try:
        main()
    except UserError as error:
        _leave(sentence(error), 2)
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _leave("Stopped.", 130)


def job(train: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """Run one job, whose mistakes Hydra would announce in its own words otherwise."""
    try:
        return train(cfg)
    except UserError as error:
        _leave(_signed(sentence(error)), 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: ".removeprefix("file:") if error.filename else ""
        _leave(_signed(f"{where}no space is left on the disk; free some and continue."), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _leave(_signed(_reason(error)), 2)
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        # the one that is gone has told why; the first process ends those it has started
        _leave(_signed("another rank has ended, so this one ends too."), 1)


def _read_arguments(first: str) -> None:
    """Put the command line the way Hydra reads it, also for processes that get it from this one."""
    if conf := os.environ.get("SELFSUP_MOTION_CONF"):
        os.environ["SELFSUP_MOTION_CONF"] = os.path.expanduser(conf)
    flags, _ = split(sys.argv[1:])
    use_folders(folders(flags))
    sys.argv[1:] = readable(sys.argv[1:], first)


def _reason(error: Exception) -> str:
    """What a reference in the config that computes (`${steps:…}`) found wrong, or else what Hydra
    says."""
    behind: BaseException | None = error
    for _ in range(4):  # of a chain that may bite its own tail
        if isinstance(behind, UserError):
            return sentence(behind)
        behind = behind and (behind.__cause__ or behind.__context__)
    from selfsup_motion.settings.diagnose import dangling

    text = " ".join(str(error).split())
    return dangling(text) or text


def sentence(error: UserError) -> str:
    """The message of a user's error, also of one that crossed from a loader's worker process.

    PyTorch re-raises those with the worker's whole traceback as their text.
    """
    text = str(error).strip()
    if text.startswith("Caught ") and "Traceback" in text:
        name = type(error).__name__
        text = text.rpartition(f"{name}: ")[2]
    return text


def _signed(text: str) -> str:
    """Says which rank speaks; waits a little if the first one may have the same to say, and then
    ends this process before it has spoken."""
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    if rank == 0:
        return text
    time.sleep(_FIRST_SPEAKS)
    return f"Rank {rank}: {text}"


def _leave(text: str, status: int) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    sys.exit(status)
