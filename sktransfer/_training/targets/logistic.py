"""How strongly logistic regression is penalised, where the data choose."""

import numpy as np

from sktransfer._training.targets.strengths import StrengthChoice

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # of `head_C`, when it is chosen …
FOLDS = 5  # … by so many folds …
LONE_STRENGTH = 1e-1  # … which a class of a single image does not allow


def strength_by_folds(target, rows, y, weights, seed):
    """The losses of inverse strengths on held-out rows."""
    folds = target.folds(y, FOLDS, seed)
    if not folds:
        return StrengthChoice.without_losses(LONE_STRENGTH)
    losses = np.empty((len(STRENGTHS), len(rows)))
    for train, test in folds:
        model = target.linear_model(STRENGTHS[0], warm_start=True)
        for i, C in enumerate(STRENGTHS):
            model.set_params(C=C)
            model.fit(rows[train], y[train], sample_weight=weights[train])
            outputs = model.decision_function(rows[test]).reshape(len(test), -1)
            losses[i, test] = target.losses(outputs, y[test])
    return StrengthChoice.by(STRENGTHS, losses @ weights / weights.sum())
