"""How far to go by folds: train on each, then, as far as is best over all, on all images."""

from dataclasses import replace

import numpy as np

from sktransfer._training.result import merged
from sktransfer._training.stages import SolvedStage, train


def fit_by_folds(run, stages, examples, trials, task):
    """Train on each fold, then, as far as is best over all folds, on all examples."""
    results = []
    for i, (some, judges) in enumerate(trials):
        fold = run.without_stopping(f"fold {i + 1}/{len(trials)}, ")
        subtask = task.begin(f"fold-{i}", len(stages), some.positions)
        result = train(stages, fold, some, judges, subtask)
        subtask.end(lambda fold=fold, result=result: fold.attributes(result))
        results.append(result)
    found = merged(results)
    for stage in stages:
        best = _best_epoch(found, stage)
        if best is not None and found.is_improved_by(found.epochs[best]):
            found = replace(found, best_epoch=best)
    if found.best_epoch is None:
        return found
    return trained_again(run, _up_to_best(stages, found), examples, found, task)


def trained_again(run, stages, examples, found, task):
    """What training on all examples makes, with the history of what was found out before."""
    final = run.without_stopping("all images, ")
    subtask = task.begin("refit", len(stages))
    result = train(stages, final, examples, None, subtask)
    subtask.end(lambda: final.attributes(result))
    return replace(result, epochs=found.epochs, best_epoch=found.best_epoch)


def _best_epoch(result, stage):
    """The epoch of a stage whose validation loss is the least."""
    places = [i for i, epoch in enumerate(result.epochs) if epoch.stage == stage.number]
    losses = np.array([result.epochs[i].logs["val_loss"] for i in places])
    return places[np.nanargmin(losses)] if np.isfinite(losses).any() else None


def _up_to_best(stages, result):
    """The stages as far as the best epoch."""
    best = result.epochs[result.best_epoch]
    *earlier, last = stages[: best.stage + 1]
    if not isinstance(last, SolvedStage):
        last = replace(last, stop_after=best.number + 1)
    return [*earlier, last]
