"""Bars on standard error: what is being done, how fast, and how long it still takes."""

import functools
import importlib.util
import sys
import time
from contextlib import contextmanager

BAR_WIDTH = 16  # all columns together fit into 80 characters


def say(verbose, text):
    """A line on standard error, or nothing unless `verbose`."""
    if verbose:
        print(text, file=sys.stderr)


@contextmanager
def progress_bar(verbose, title, total, text=""):
    """A bar while something is done, or nothing unless `verbose`.

    Parameters
    ----------
    verbose : int
    title, text : str
        Beside the bar, to the left and to the right.
    total : int or None
        Number of steps; None if the end is not known.

    Yields
    ------
    advance : callable
        (number of steps done since the last call, text or None as before) → None
    """
    if not verbose:
        yield lambda steps, text=None: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    # What is printed meanwhile to a standard output that is a file stays there.
    shared = sys.stdout.isatty()
    with Progress(*columns, console=_console(), redirect_stdout=shared) as progress:
        task = progress.add_task(title, total=total, text=text)

        def advance(steps, text=None):
            progress.update(task, advance=steps)
            if text is not None:
                progress.update(task, text=text)

        yield advance
        done = progress.tasks[task].completed
        progress.update(task, total=done, completed=done)  # it may have ended early
        if progress.console.is_jupyter:  # where rich shows no end, but an empty output
            progress.refresh()
            progress.console.quiet = True


def _console():
    """Standard error: a notebook without widgets is written to as a file is."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_jupyter:
        return console
    has_widgets = importlib.util.find_spec("ipywidgets") is not None
    if not has_widgets:
        _advise_widgets()
    # No terminal, which rich takes it for: kernels of Jupyter set FORCE_COLOR.
    return Console(stderr=True, force_jupyter=has_widgets, force_terminal=False)


@functools.cache  # once is enough
def _advise_widgets():
    print('For bars that move: pip install "sktransfer[notebook]"', file=sys.stderr)


@contextmanager
def images_bar(verbose, title, n_images, n_found=None, unit="images"):
    """A bar over images that are computed, beside those that were found in the cache.

    The rate and the time left are those of images that are computed.

    Yields
    ------
    advance : callable
        (number of images computed since the last call) → None
    """
    started, done = time.monotonic(), 0

    def text():
        found = n_found or 0
        parts = [f"{found + done:,}/{found + n_images:,} {unit}"]
        if n_found is not None:
            parts.append(f"{n_found:,} cached")
        if done:
            parts.append(f"{done / max(time.monotonic() - started, 1e-9):,.1f}/s")
        return ", ".join(parts)

    with progress_bar(verbose, title, n_images, text()) as show:

        def advance(n=1):
            nonlocal done
            done += n
            show(n, text())

        yield advance
