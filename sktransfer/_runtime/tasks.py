"""The tasks of a fit, as scikit-learn's callbacks follow them."""

from contextlib import contextmanager

from sklearn.utils import _safe_indexing

from sktransfer._runtime.progress import images_bar

MOST_PARTS = 100  # of a long task, since callbacks remember each


class Task:
    """A task of a fit, from its beginning on.

    Data and fitted estimators are made only for callbacks that ask for them.

    Parameters
    ----------
    estimator : estimator that supports callbacks
    context : sklearn.callback.CallbackContext
    data : tuple
        X, y and the sample weights, as `fit` was given them.
    rows : ndarray of int or None
        Those that this task trains on; None is all.
    """

    def __init__(self, estimator, context, data, rows=None):
        self._estimator, self._context = estimator, context
        self._data, self._rows = data, rows
        context.call_on_fit_task_begin(estimator=estimator, **self._arguments())

    @classmethod
    def root(cls, estimator, data, name, n_subtasks):
        """The task that a method of an estimator is."""
        context = estimator._init_callback_context(name, max_subtasks=n_subtasks)
        return cls(estimator, context, data)

    def begin(self, name, n_subtasks=0, rows=None):
        """Begin a task that is part of this one, on the same images or on some."""
        context = self._context.subcontext(name, max_subtasks=n_subtasks)
        return Task(self._estimator, context, self._data, self._rows if rows is None else rows)

    def end(self, fitted=None):
        """End this task; return whether a callback asks to stop what it is a step of.

        Parameters
        ----------
        fitted : callable or None
            () → attributes that make a copy of the estimator predict as if the fit had
            stopped here, or None where it could not.
        """

        def attributes():
            values = None if fitted is None else fitted()
            return None if values is None else {"verbose": 0, **values}

        return self._context.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=attributes,
            **self._arguments(),
        )

    @contextmanager
    def parts(self, name, total):
        """A subtask of so many equal steps, of which callbacks see a hundred at most.

        Yields
        ------
        advance : callable
            (number of steps done since the last call) → None
        """
        n_parts = min(total, MOST_PARTS)
        subtask = self.begin(name, n_parts)
        done = told = 0

        def advance(n=1):
            nonlocal done, told
            done += n
            while told < done * n_parts // total:
                subtask.begin("images").end()
                told += 1

        yield advance
        subtask.end()

    def _arguments(self):
        X, y, weights = self._data

        def metadata():
            return None if weights is None else {"sample_weight": self._some(weights)}

        return {"X": lambda: self._some(X), "y": lambda: self._some(y), "metadata": metadata}

    def _some(self, values):
        if values is None or self._rows is None:
            return values
        return _safe_indexing(values, self._rows)


def watch_extraction(verbose, task=None):
    """What `Extractor` is watched by: a bar if `verbose`, and a part of a task if any."""

    @contextmanager
    def watch(n_missing, n_found, unit):
        with images_bar(verbose, "Features", n_missing, n_found, unit) as show:
            if task is None:
                yield show
                return
            with task.parts("extract-features", n_missing) as tell:

                def advance():
                    show()
                    tell()

                yield advance

    return watch
