"""Threads that work beside the main one, and do not hang when that is interrupted.

The executors of `concurrent.futures` take locks in Python code, where a Ctrl-C may come after
a lock is taken and before it is noted that it is to be given back: their threads then wait
for it, and the main thread waits for them, for ever. All that is shared here are queues
written in C, whose calls an interrupt comes before or after.
"""

import contextlib
import threading
from collections import deque
from queue import Empty, SimpleQueue


class Workers:
    """A few threads that carry out tasks in the order in which they are submitted.

    As a context: on leaving it, tasks not yet begun are dropped and the others waited for.

    Parameters
    ----------
    number : int
        Of threads, which start as tasks come.
    name : str
        What their names begin with.
    """

    def __init__(self, number, name):
        self._number, self._name = number, name
        self._tasks, self._threads = SimpleQueue(), []

    def submit(self, function, *arguments):
        """Have a function called; return the task, whose result may be asked for."""
        task = _Task(function, arguments)
        self._tasks.put(task)
        if len(self._threads) < self._number:
            thread = threading.Thread(
                target=_work,
                args=(self._tasks,),
                name=f"{self._name}_{len(self._threads)}",
                daemon=True,  # or all would wait for one that an interrupt kept from starting
            )
            thread.start()
            self._threads.append(thread)
        return task

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Empty):
            while True:
                self._tasks.get_nowait()
        self._tasks.put(None)
        for thread in self._threads:
            thread.join()


class _Task:
    """A call that another thread makes."""

    def __init__(self, function, arguments):
        self._function, self._arguments = function, arguments
        self._outcome = SimpleQueue()

    def run(self):
        try:
            self._outcome.put((self._function(*self._arguments), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self):
        """Wait for what the function returns, or raise what it raised; to be called once."""
        value, error = self._outcome.get()
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # which refers to this frame


def behind(items, n):
    """The items of a generator, each when n more have been made."""
    made = deque()
    for item in items:
        made.append(item)
        if len(made) > n:
            yield made.popleft()
    yield from made


def _work(tasks):
    while (task := tasks.get()) is not None:
        task.run()
        del task  # and what it holds, while this thread waits for the next one
    tasks.put(None)  # for the next thread
