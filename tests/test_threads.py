import subprocess
import sys
import threading
from queue import SimpleQueue

import pytest

from sktransfer._runtime.threads import Workers


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("counting")]


def test_tasks_are_shared_by_threads_that_end():
    both = threading.Barrier(2, timeout=30)  # which no thread passes alone
    with Workers(2, "counting") as workers:
        tasks = [workers.submit(lambda i: (both.wait(), i)[1], i) for i in range(10)]
        assert [task.result() for task in tasks] == list(range(10))
        assert len(threads()) == 2
    assert threads() == []


def test_what_a_task_raises_is_raised_where_its_result_is_asked_for():
    with Workers(1, "counting") as workers:
        fails, works = workers.submit(int, "no number"), workers.submit(int, "7")
        with pytest.raises(ValueError, match="no number"):
            fails.result()
        assert works.result() == 7


def test_tasks_that_are_not_begun_are_dropped():
    begun, go_on, done = SimpleQueue(), SimpleQueue(), []

    def task(i):
        begun.put(i)
        go_on.get(timeout=30)
        done.append(i)

    with Workers(1, "counting") as workers:
        for i in range(3):
            workers.submit(task, i)
        assert begun.get(timeout=30) == 0
        threading.Timer(0.1, go_on.put, [None]).start()
    assert done == [0]


# A timer interrupts at any moment, but for that in which a thread starts: Python's own locks
# may be in disorder then.
INTERRUPTS = """
import faulthandler, random, signal, sys
from sktransfer._runtime.threads import Workers
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupts = 0
for _ in range(int(sys.argv[1])):
    faulthandler.dump_traceback_later(60, exit=True)  # it hangs, and this is where
    try:
        with Workers(2, "counting") as workers:
            for _ in range(2):
                workers.submit(int, "7").result()
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002), 1)
            while True:
                tasks = [workers.submit(int, "7") for _ in range(5)]
                assert [task.result() for task in tasks] == [7] * 5
    except KeyboardInterrupt:
        interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
print(interrupts)
"""


@pytest.mark.parametrize("rounds", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_moment_leaves_nothing_waiting(rounds):
    command = [sys.executable, "-c", INTERRUPTS, str(rounds)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == f"{rounds}\n", result.stderr
