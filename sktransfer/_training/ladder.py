"""The ladder: how deep and how fast to fine-tune, chosen by images that are held out.

Each rung is a stage that goes on from the head. It is trained on a part of the images, and
judged by the others at several points of the straight way from the head's weights to its own
(M. Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", 2022), each with the head as it
is there, and with a head that is solved on what the network is there. The next rung is tried
if this one was better. What was best is done again on all images.

Better is what has less loss by a standard error, and would have less if one image more judged
whose class is another one. Where hardly any image is misclassified, training makes a network
ever surer, and few images do not show what that costs where it errs.

Two halves of the images judge in turn, unless there are so many that a tenth judges as well.
Where images are so few that three folds judge, which is twice the work, only the first rung
is tried.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from sktransfer._training.epochs import Examples
from sktransfer._training.folds import trained_again
from sktransfer._training.result import Result, certain_gain, merged
from sktransfer._training.run import Run
from sktransfer._training.stages import outputs_for, solved_again

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the way from the head's weights to a rung's


@dataclass(frozen=True)
class Point:
    """A network on the way to a rung's.

    Attributes
    ----------
    share : float
        Of the way from the head's weights to the rung's.
    solves_head : bool
        Whether its head is solved again.
    """

    share: float
    solves_head: bool


@dataclass(frozen=True)
class Trial:
    """A head that was trained on some of the images, and the others, which judge.

    Attributes
    ----------
    run : Run
    some, judges : Examples
    head : Result
    """

    run: Run
    some: Examples
    judges: Examples
    head: Result


@dataclass(frozen=True)
class Choice:
    """A stage, a point on the way to its weights, and how that was judged.

    Attributes
    ----------
    stage : SolvedStage or TrainedStage
    results : list of Result
        Of each trial.
    point : Point
    losses : ndarray
        Of each image that judges.
    loss_of_error : float
        Of one image more, which it judges as surely as these, and wrongly.
    """

    stage: object
    results: list
    point: Point
    losses: np.ndarray
    loss_of_error: float

    def gain_over(self, other):
        """How much less its loss is, less one standard error; -inf if an error undoes it."""
        total = (other.losses - self.losses).sum() + other.loss_of_error - self.loss_of_error
        # Nor is it more than nothing where training diverged.
        return certain_gain(self.losses, other.losses) if total > 0 else -np.inf


def climb(run, stages, examples, pairs, task):
    """Try one rung after the other, and do what is best on all images.

    Parameters
    ----------
    run : Run
    stages : list of SolvedStage or TrainedStage
        The head's, and the rungs.
    examples : Examples
    pairs : list of (Examples, Examples)
        To train on, and to judge by.
    task : Task

    Returns
    -------
    result : Result
    """
    head, *rungs = stages
    trials = _trials_of(run, head, pairs, task)
    heads = [trial.head for trial in trials]
    found = merged(heads)
    if any(result.weights is None for result in heads):  # it diverged
        return found
    errors = np.mean([_error_of(trial) for trial in trials])
    best = Choice(head, heads, Point(0.0, False), found.epochs[-1].losses, errors)
    for rung in rungs:
        choices = _tried(rung, trials, task)
        found = replace(found, epochs=found.epochs + _epochs_of(choices[0]))
        gains = [one.gain_over(best) for one in choices]
        if max(gains) <= 0:
            break
        best = choices[np.argmax(gains)]
    last = max(i for i, epoch in enumerate(found.epochs) if epoch.stage == best.stage.number)
    found = replace(found, best_epoch=last)
    if trials[0].some is examples:  # others judged
        made = replace(_as_it_is(best, trials[0]), epochs=found.epochs, best_epoch=last)
    else:
        kept = [] if best.stage is head else [replace(best.stage, share=best.point.share)]
        made = trained_again(run, [head, *kept], examples, found, task)
    solves_head = best.point.solves_head and made.share > 0
    return _with_solved_head(made, run, examples) if solves_head else made


def plan(rungs, examples, pairs):
    """A sentence on how much work it is to climb, at most."""
    tried = sum(rung.epochs for rung in rungs)
    passes = tried * sum(len(some) for some, _ in pairs) / len(examples)
    if pairs[0][0] is not examples:
        passes += max(rung.epochs for rung in rungs)
    return f"Fine-tuning: at most {passes:.0f} passes over {len(examples):,} images"


def _trials_of(run, head, pairs, task):
    """The head, trained on each of the parts."""
    subtask = task.begin(f"stage-{head.number}", len(pairs))
    trials = []
    for i, (some, judges) in enumerate(pairs):
        part = run.without_stopping(f"fold {i + 1}/{len(pairs)}, " if len(pairs) > 1 else "")
        fold = subtask.begin(f"fold-{i}", head.n_epochs, some.positions)
        result = head.run(part, Result(), some, judges, fold)
        fold.end(lambda part=part, result=result: part.attributes(result))
        trials.append(Trial(part, some, judges, result))
    subtask.end()
    return trials


def _tried(rung, trials, task):
    """A rung as one choice for each point on the way to its weights."""
    subtask = task.begin(f"stage-{rung.number}", len(trials))
    results = []
    for i, trial in enumerate(trials):
        fold = subtask.begin(f"fold-{i}", rung.n_epochs, trial.some.positions)
        results.append(rung.run(trial.run, trial.head, trial.some, trial.judges, fold))
        fold.end(lambda run=trial.run, result=results[-1]: run.attributes(result))
    subtask.end()
    heads = (False, True) if trials[0].head.head_strength is not None else (False,)
    points = [Point(*of) for of in itertools.product(SHARES, heads)]
    judged = [_judged(points, *pair) for pair in zip(trials, results, strict=True)]
    losses = np.concatenate([losses for losses, _ in judged], axis=1)
    errors = np.mean([errors for _, errors in judged], axis=0)
    return [Choice(rung, results, *of) for of in zip(points, losses, errors, strict=True)]


def _error_of(trial):
    """The loss of one image more, which the head of a trial judges wrongly."""
    run, judges, head = trial.run, trial.judges, trial.head
    with run.suffix(head.suffix) as suffix:
        suffix.set_weights(head.weights)
        outputs = outputs_for(judges, run, head.suffix, suffix)
    return run.target.loss_of_error(outputs, judges.y)


def _judged(points, trial, result):
    """Losses of the images that judge, (n_points, n_judges), and of an error, (n_points,)."""
    run, judges, spec = trial.run, trial.judges, result.suffix
    losses, errors = np.full((len(points), len(judges)), np.nan), np.zeros(len(points))
    if result.kept == trial.head.kept:  # rolled back, since its loss is not a number
        return losses, errors
    with run.suffix(spec) as suffix:
        start = _start(suffix, trial)
        for i, point in enumerate(points):
            weights = start.towards(result.weights, point.share)
            if point.solves_head:
                weights = solved_again(weights, trial.some, run, spec, suffix)
            suffix.set_weights(weights)
            outputs = outputs_for(judges, run, spec, suffix)
            losses[i], _ = run.measure(outputs, judges)
            errors[i] = run.target.loss_of_error(outputs, judges.y)
    return losses, errors


def _start(suffix, trial):
    """The weights that a rung begins with, of all layers that it trains."""
    suffix.set_weights(trial.head.weights)
    return suffix.get_weights()


def _as_it_is(best, trial):
    """The result of a trial with the best share of the way to its weights."""
    [result] = best.results
    if best.stage.number == 0:
        return result
    run = trial.run
    with run.suffix(result.suffix) as suffix:
        weights = _start(suffix, trial).towards(result.weights, best.point.share)
    return replace(result, weights=weights, share=best.point.share)


def _with_solved_head(result, run, examples):
    """The result of a rung with its head solved again."""
    spec = result.suffix
    with run.suffix(spec) as suffix:
        weights = solved_again(result.weights, examples, run, spec, suffix)
    return replace(result, weights=weights)


def _epochs_of(choice):
    """Its own epochs, without those of the head."""
    epochs = merged(choice.results).epochs
    return tuple(epoch for epoch in epochs if epoch.stage == choice.stage.number)
