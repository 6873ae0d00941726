"""The estimators of this package within any other: wherever a pickle of it would hold them."""

import io
import pickle

from sktransfer._base import ImageEstimator


def nested_estimators(estimator):
    """The estimators of this package that are in an estimator, or that it is itself."""
    return _Taken(estimator).found


def copied(estimator, replace):
    """A copy of an estimator, each of this package in it replaced by what a function makes."""
    taken = _Taken(estimator)
    replaced = [replace(found) for found in taken.found]
    return _Given(taken.pickled, replaced).load()


class _Taken(pickle.Pickler):
    """A pickle of an estimator without the estimators of this package that are in it."""

    def __init__(self, estimator):
        self._file, self.found, self._positions = io.BytesIO(), [], {}
        super().__init__(self._file, protocol=pickle.HIGHEST_PROTOCOL)
        self.dump(estimator)
        self.pickled = self._file.getvalue()

    def persistent_id(self, part):
        if not isinstance(part, ImageEstimator):
            return None
        if id(part) not in self._positions:
            self._positions[id(part)] = len(self.found)
            self.found.append(part)
        return self._positions[id(part)]


class _Given(pickle.Unpickler):
    """Such a pickle with others in their places."""

    def __init__(self, pickled, estimators):
        super().__init__(io.BytesIO(pickled))
        self._estimators = estimators

    def persistent_load(self, position):
        return self._estimators[position]
