"""The ladder: how deep and how fast to fine-tune, chosen by images that are held out.

Each rung is a stage that goes on from the head. It is trained on a part of the images, and
judged by the others at several points of the straight way from the head's weights to its own
(M. Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", 2022), each with the head as it
is there, and with a head that is solved on what the network is there. The next rung is tried
if this one was better. What was best is done again on all images.

A point is better if its loss is less by more than one standard error, and if it would still be
less with one more image, which is misclassified. Where hardly any image is misclassified,
training only makes a network surer, and few images do not show what that costs where it errs.

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
class Judgement:
    """What images that were held out say of a network.

    Attributes
    ----------
    losses : ndarray
        Of each of them.
    loss_of_error : float
        Of one more image, which is classified as surely as these, but wrongly.
    """

    losses: np.ndarray
    loss_of_error: float

    @classmethod
    def of(cls, outputs, trial):
        """What the images of a trial say of outputs for them."""
        run, judges = trial.run, trial.judges
        losses, _ = run.measure(outputs, judges)
        with np.errstate(invalid="ignore"):  # where training diverged
            return cls(losses, run.target.loss_of_error(outputs, judges.y))

    @classmethod
    def by_all(cls, judgements):
        """What the images of all trials say."""
        losses = np.concatenate([judgement.losses for judgement in judgements])
        return cls(losses, np.mean([judgement.loss_of_error for judgement in judgements]))

    def gain_over(self, other):
        """How much less its loss is, less one standard error; -inf if one error undoes it."""
        total = (other.losses - self.losses).sum() + other.loss_of_error - self.loss_of_error
        # Where training diverged, the total is not a number, and not more than 0.
        return certain_gain(self.losses, other.losses) if total > 0 else -np.inf


@dataclass(frozen=True)
class Choice:
    """A stage, a point on the way to its weights, and how that was judged.

    Attributes
    ----------
    stage : SolvedStage or TrainedStage
    results : list of Result
        Of each trial.
    point : Point
    judgement : Judgement
    """

    stage: object
    results: list
    point: Point
    judgement: Judgement


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
    best = Choice(head, heads, Point(0.0, False), Judgement.by_all([*map(_of_head, trials)]))
    for rung in rungs:
        choices = _tried(rung, trials, task)
        found = replace(found, epochs=found.epochs + _epochs_of(choices[0]))
        gains = [choice.judgement.gain_over(best.judgement) for choice in choices]
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
    judged = [_at_points(points, *pair) for pair in zip(trials, results, strict=True)]
    return [
        Choice(rung, results, point, Judgement.by_all(judgements))
        for point, *judgements in zip(points, *judged, strict=True)
    ]


def _of_head(trial):
    """What the images of a trial say of its head."""
    run, head = trial.run, trial.head
    with run.suffix(head.suffix) as suffix:
        suffix.set_weights(head.weights)
        return Judgement.of(outputs_for(trial.judges, run, head.suffix, suffix), trial)


def _at_points(points, trial, result):
    """What the images of a trial say of each point on the way to its result."""
    run, judges, spec = trial.run, trial.judges, result.suffix
    if result.kept == trial.head.kept:  # rolled back, since its loss is not a number
        return [Judgement(np.full(len(judges), np.nan), np.nan)] * len(points)
    judgements = []
    with run.suffix(spec) as suffix:
        start = _start(suffix, trial)
        for point in points:
            weights = start.towards(result.weights, point.share)
            if point.solves_head:
                weights = solved_again(weights, trial.some, run, spec, suffix)
            suffix.set_weights(weights)
            judgements.append(Judgement.of(outputs_for(judges, run, spec, suffix), trial))
    return judgements


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
