"""Ctrl-C, held back while TensorFlow runs, which is not made for one at any moment.

Its C code turns one interrupt in some hundreds into a SystemError, TypeError or ValueError,
and one that meets the tracing of a function can leave TensorFlow broken for the rest of the
session. What is held back here takes seconds at most: a batch, or building a network.
"""

import contextlib
import signal
import threading


@contextlib.contextmanager
def held_back():
    """Let an interrupt wait until the end of the block, or of the function so decorated.

    A second one does not wait. Where no interrupt would be raised, which is in all threads
    but the main one and where SIGINT is ignored, nothing is changed.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []

    def hold(*signal_and_frame):
        signal.signal(signal.SIGINT, handler)
        came.append(signal_and_frame)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came.pop())
