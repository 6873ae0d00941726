"""What is predicted of images: one class, several labels, or numbers.

A task has a `word`, a `measure` (what `score` is), `tuned` (the estimator that fine-tunes),
`frozen` (one for frozen features) and `names` (of the columns of y, where predictions show
them), and says what it was given and what came of it.
"""

from collections import Counter

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    mean_absolute_error,
    r2_score,
)
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier

from sktransfer import FineTunedConvNetClassifier, FineTunedConvNetRegressor


class Classes:
    """One class for each image."""

    word, measure, tuned = "classes", "accuracy", FineTunedConvNetClassifier
    score = staticmethod(accuracy_score)

    def __init__(self, names):
        self.names = None

    def frozen(self):
        return LogisticRegression(C=0.01, max_iter=1000)

    def encoded(self, values):
        if values.shape[1] > 1:
            raise ValueError("one class for each image is one column beside that of the files")
        return values[:, 0]

    def check(self, y, fewest):
        counts = Counter(y.tolist())
        if len(counts) < 2 or min(counts.values()) < fewest:
            raise ValueError(
                f"two or more classes are needed (of a folder, its sub-folders), of {fewest} "
                f"or more images each that can be read; there are {dict(counts)}"
            )

    def strata(self, y):
        return y

    def folds(self, y, seed):
        n_folds = min(5, min(Counter(y).values()))
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed)

    def print_counts(self, y):
        counts = ", ".join(f"{n} {label}" for label, n in sorted(Counter(y).items()))
        print("images:", counts, flush=True)

    def print_result(self, y, predicted):
        labels = sorted(set(y))
        names = [str(label) for label in labels]
        width = max(map(len, [*names, "10000"])) + 2
        print("true \\ predicted".ljust(18) + "".join(name.rjust(width) for name in names))
        matrix = confusion_matrix(y, predicted, labels=labels)
        for name, row in zip(names, matrix, strict=True):
            print(name.ljust(18) + "".join(str(n).rjust(width) for n in row))


class _Columns:
    """What tasks have in common whose y can have several columns."""

    def __init__(self, names):
        self.names = names

    def check(self, y, fewest):
        if len(y) < fewest:
            raise ValueError(f"{fewest} or more images are needed; there are {len(y)}")

    def strata(self, y):
        return None

    def folds(self, y, seed):
        return KFold(min(5, len(y)), shuffle=True, random_state=seed)


class Labels(_Columns):
    """Any number of labels for each image."""

    word, measure, tuned = "labels", "all labels right", FineTunedConvNetClassifier
    score = staticmethod(accuracy_score)

    def frozen(self):
        return MultiOutputClassifier(LogisticRegression(C=0.01, max_iter=1000))

    def encoded(self, values):
        numbers = _as_numbers(values)
        if not np.isin(numbers, (0, 1)).all():
            raise ValueError("a column for each label has 0 and 1, and this one other values")
        return numbers.astype(int)

    def print_counts(self, y):
        counts = zip(y.sum(axis=0), self.names, strict=True)
        told = ", ".join(f"{n} {name}" for n, name in counts)
        print(f"images: {len(y)}, of which {told}", flush=True)

    def print_result(self, y, predicted):
        names = [str(name) for name in self.names]
        print(classification_report(y, predicted, target_names=names, zero_division=0))


class Numbers(_Columns):
    """Numbers for each image."""

    word, measure, tuned = "numbers", "R2", FineTunedConvNetRegressor
    score = staticmethod(r2_score)

    def frozen(self):
        return RidgeCV(np.logspace(-1, 5, 13))

    def encoded(self, values):
        numbers = _as_numbers(values)
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers

    def print_counts(self, y):
        columns = zip(self.names, y.reshape(len(y), -1).T, strict=True)
        told = [
            f"{name} from {column.min():g} to {column.max():g}" for name, column in columns
        ]
        print(f"images: {len(y)}, {', '.join(told)}", flush=True)

    def print_result(self, y, predicted):
        errors = np.atleast_1d(mean_absolute_error(y, predicted, multioutput="raw_values"))
        for name, error in zip(self.names, errors, strict=True):
            print(f"{name}: mean absolute error {error:.4g}")


TASKS = {task.word: task for task in (Classes, Labels, Numbers)}


def _as_numbers(values):
    try:
        return values.astype(float)
    except ValueError as error:
        raise ValueError(f"only classes can be text, and one column of it: {error}") from error
