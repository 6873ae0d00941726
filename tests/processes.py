"""Processes of their own, forked from a server that has Keras imported and no network used.

Starting one takes a moment. They have the environment that the tests had when the first of
them was started: give them the folder of their cache.
"""

import faulthandler
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

SERVER = multiprocessing.get_context("forkserver")
# Keras by our own module, which sets how TensorFlow computes before it is loaded.
SERVER.set_forkserver_preload(
    ["sktransfer._runtime.keras", "sktransfer._training.fit", "hypothesis.stateful", "pytest"]
)
NOBODY = 65534  # id of the user that owns nothing


def start(target, *arguments):
    """Call a function of a module in a new process, with a connection to this one.

    It is to call `begin` first.

    Returns
    -------
    process : Process
        Which has begun with its work.
    connection : Connection
    """
    ours, theirs = SERVER.Pipe()
    process = SERVER.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    assert receive(ours) == "started"
    return process, ours


def begin(connection):
    """Tell the process that started this one that work begins."""
    faulthandler.dump_traceback_later(240, exit=True)  # it hangs, and this is where
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
    connection.send("started")


def receive(connection):
    """What a process sends next."""
    assert connection.poll(300), "it hangs"
    return connection.recv()


def finish(process, connection):
    """Wait for the end of a process; return what it sends before it."""
    result = receive(connection)
    process.join(60)
    assert process.exitcode == 0
    return result


def in_pairs(function, *arguments):
    """As `map`, two calls at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, *arguments))


def drop_rights():
    """Obey the permissions of files from now on, even if started by root.

    What is imported later must be readable by anyone.
    """
    if os.getuid() == 0:
        os.setuid(NOBODY)
