"""Work in a thread of its own: its result, its error, and that it holds nobody up."""

import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from skill.background import begin, is_done

REQUEST = ContextVar("request", default="")


def test_work_gives_its_result_from_a_thread_of_that_name_in_the_context_of_the_caller():
    REQUEST.set("one")
    work = begin(lambda: (threading.current_thread().name, REQUEST.get()), name="reply")
    assert work.result(30) == ("reply", "one")


def test_what_the_work_raises_is_raised_where_its_result_is_wanted():
    """A TimeoutError, too, which is not the same as work that is late."""

    def fails():
        raise TimeoutError("of the work")

    work = begin(fails, name="reply")
    assert is_done(work, 30)
    with pytest.raises(TimeoutError, match="of the work"):
        work.result()


def test_nobody_waits_for_late_work_and_it_goes_on():
    release = threading.Event()
    work = begin(lambda: release.wait(30), name="reply")
    assert not is_done(work, 0.0)
    release.set()
    assert work.result(30) is True


def test_a_process_ends_although_its_work_does_not():
    """Python joins the threads of concurrent.futures' executors at exit."""
    code = (
        "import threading; from skill.background import begin; "
        "begin(threading.Event().wait, name='hangs'); print('the end')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout.split()) == (0, [b"the", b"end"])
