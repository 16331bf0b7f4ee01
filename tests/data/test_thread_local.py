import copy
import os
import pickle
import threading

import pytest

from selfsup_motion.data.loading.thread_local import ThreadLocal


class Holder(ThreadLocal):
    def __init__(self) -> None:
        self.kept = 1

    @property
    def held(self) -> int | None:
        return getattr(self._local, "value", None)

    def hold(self, value: int) -> None:
        self._local.value = value


@pytest.fixture
def holder() -> Holder:
    made = Holder()
    made.hold(5)
    return made


def test_a_thread_keeps_what_it_held_and_another_one_has_nothing(holder):
    seen: list[int | None] = []
    thread = threading.Thread(target=lambda: seen.append(holder.held))
    thread.start()
    thread.join()
    assert seen == [None]
    assert holder.held == 5


@pytest.mark.parametrize("copied", [copy.copy, lambda h: pickle.loads(pickle.dumps(h))])
def test_copies_have_nothing_and_do_not_touch_the_original(holder, copied):
    other = copied(holder)
    assert (other.kept, other.held) == (1, None)
    other.hold(7)
    assert holder.held == 5


def test_a_forked_process_begins_with_nothing(holder):
    child = os.fork()
    if child == 0:
        os._exit(0 if holder.held is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holder.held == 5
