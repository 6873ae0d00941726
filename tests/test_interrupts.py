"""Interrupts that wait for the end of a block."""

import signal
import threading

import pytest

from sktransfer._runtime.interrupts import held_back


@pytest.fixture(autouse=True)
def handler():
    """What a shell's "&" leaves ignored is handled here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def done():
    """What was done, in order."""
    return []


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_until_the_block_is_over(done, handler):
    def run():
        with held_back():
            interrupt()
            done.append("block")
        done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert done == ["block"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_waits_until_the_function_is_over(done):
    @held_back()
    def run(value):
        interrupt()
        done.append(value)

    for value in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(value)
    assert done == [1, 2]


def test_a_second_interrupt_does_not_wait(done, handler):
    @held_back()
    def run():
        interrupt()
        done.append("after the first")
        interrupt()
        done.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert done == ["after the first"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_within_blocks_waits_for_the_outer_one(done):
    @held_back()
    def run():
        with held_back():
            interrupt()
        done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert done == ["outer"]


def test_an_interrupt_is_raised_although_the_block_failed(handler):
    @held_back()
    def run():
        interrupt()
        raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert isinstance(caught.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_handler_of_a_program_is_called_with_what_it_would_have_been(done):
    signal.signal(signal.SIGINT, lambda number, frame: done.append((number, frame.f_code)))
    with held_back():
        interrupt()
        assert not done
    assert done == [(signal.SIGINT, interrupt.__code__)]


@pytest.mark.parametrize("setting", [signal.SIG_IGN, signal.SIG_DFL])
def test_what_is_not_handled_in_python_stays_as_it_is(setting):
    signal.signal(signal.SIGINT, setting)
    with held_back():
        assert signal.getsignal(signal.SIGINT) is setting
    assert signal.getsignal(signal.SIGINT) is setting


def test_other_threads_hold_nothing_back(done, handler):
    @held_back()
    def run():
        done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [handler]
