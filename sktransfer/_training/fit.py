"""A fit: stage after stage, and how far to go, by held-out images, by folds, or to the end."""

import math

import numpy as np

from sktransfer._features.extractor import load_network
from sktransfer._runtime.progress import images_bar, say
from sktransfer._runtime.tasks import watch_extraction
from sktransfer._training.folds import fit_by_folds, trained_again
from sktransfer._training.ladder import climb, plan
from sktransfer._training.solving import views_within_memory
from sktransfer._training.stages import SolvedStage, train
from sktransfer._training.suffix import PREDICT_BATCH, fresh_optimizer, predicting

FEWEST_JUDGES = 50  # where a split would hold out fewer images than this …
FOLDS = 3  # … so many folds judge by all of them
FEWEST_FOR_LADDER = 300  # where a split would hold out fewer images than this for a ladder …
HALVES = 2  # … two halves judge each other: as much work, and many more judges


def fit(run, stages, examples, validation, begin):
    """Train, and find out how far by a validation set, a split, folds, or not at all.

    Parameters
    ----------
    run : Run
    stages : list of TrainedStage
        The first one trains the head alone. It is solved instead where that can be done.
    examples, validation : Examples
        To train on, and of the user's own to judge by, or None.
    begin : callable
        Number of subtasks, at most → the `Task` that this is.

    Returns
    -------
    result : Result
    task : Task
        Not ended yet.
    """
    fresh_optimizer(run.settings.optimizer)  # or an error, before anything is computed
    stages = [_solved_if_possible(stages[0], run, len(examples)), *stages[1:]]
    trials = _trials(run, stages, examples, validation)
    climbs = run.settings.climbs and len(stages) > 1
    if climbs and len(trials) == FOLDS:
        stages = stages[:2]  # three folds are twice the work
    if climbs:
        say(run.settings.verbose, plan(stages[1:], examples, trials))
    pools = _pools(run, stages, examples, trials)
    may_run_again = bool(trials) and validation is None
    in_folds = len(trials) > 1 and not climbs
    n_trainings = len(trials) if in_folds else len(stages)
    task = begin(len(pools) + n_trainings + may_run_again)
    _fill_cache(run, pools, task)
    if not trials:
        return train(stages, run, examples, None, task), task
    if climbs:
        return climb(run, stages, examples, trials, task), task
    if in_folds:
        return fit_by_folds(run, stages, examples, trials, task), task
    result = train(stages, run, *trials[0], task)
    if may_run_again and isinstance(stages[0], SolvedStage) and result.kept == (0,):
        result = trained_again(run, stages[:1], examples, result, task)
    return result, task


def _solved_if_possible(stage, run, n_images):
    """A head without hidden layers as a `SolvedStage`, if its rows fit into memory."""
    if not stage.suffix.head.is_linear:
        return stage
    views = (0,)
    if run.settings.augmented:
        views += run.settings.views(run.settings.augmentation_views or stage.epochs)
    n_features = math.prod(run.network.info.row_shape(stage.suffix.cut))
    views = views_within_memory(views, n_images, n_features)
    return SolvedStage(stage.number, stage.suffix, views) if views else stage


def _trials(run, stages, examples, validation):
    """Pairs of examples to train on and to judge by: none, one, or a few folds.

    Raises
    ------
    ValueError
        There are too few images of a class.
    """
    if validation is not None:
        return [(examples, validation)]
    only_solved = len(stages) == 1 and isinstance(stages[0], SolvedStage)
    if not run.settings.early_stopping or only_solved:
        return []
    settings, target = run.settings, run.target
    held_out = math.ceil(settings.validation_fraction * len(examples))
    n_judges, n_folds = target.n_held_out(held_out), 0
    if n_judges < FEWEST_JUDGES:
        n_folds = FOLDS
    elif settings.climbs and n_judges < FEWEST_FOR_LADDER:
        n_folds = HALVES
    pairs = target.folds(examples.y, n_folds, settings.seed) if n_folds else []
    pairs = pairs or [target.split(examples.y, held_out, settings.seed)]
    return [(examples.take(some), examples.take(others)) for some, others in pairs]


def _pools(run, stages, examples, trials):
    """Images, numbers of views and positions that are needed, to train on and to judge by."""
    settings = run.settings
    fresh = settings.augmented and settings.augmentation_views is None
    solved = stages[0].views if isinstance(stages[0], SolvedStage) else ()
    epochs = sum(1 if isinstance(stage, SolvedStage) else stage.epochs for stage in stages)
    views = dict.fromkeys((*solved, *settings.views(epochs)))
    views = tuple(view for view in views if view == 0 or not fresh)
    pools = [(examples.images, views, examples.positions)]
    if trials:
        images = trials[0][1].images
        if images is not examples.images or 0 not in views:
            positions = np.concatenate([judges.positions for _, judges in trials])
            pools.append((images, (0,), positions))
    return pools


def _fill_cache(run, pools, task):
    """Compute what the cache lacks, at all cuts in one pass over the images."""
    for images, numbers, positions in pools:
        watch = watch_extraction(run.settings.verbose, task)
        run.extractor.fill(images, numbers, positions, watch)
        images.raise_if_bad()


def predict_outputs(fitted, target, extractor, images, optimizer, verbose):
    """The outputs of a fitted network for images, on rows at its cut."""
    outputs = np.empty((len(images), target.n_outputs), dtype=np.float32)
    network, spec = load_network(fitted.source()), fitted.suffix
    alone = len(images) == 1 and not extractor.keeps
    with (
        predicting(network, fitted, target, optimizer) as suffix,
        images_bar(verbose, "Predicting", len(images)) as advance,
    ):
        for start in range(0, len(images), PREDICT_BATCH):
            chosen = range(start, min(start + PREDICT_BATCH, len(images)))
            [rows] = extractor.rows(images, [(i, 0) for i in chosen], [spec.cut])
            outputs_of = suffix.outputs_of_one if alone else suffix.outputs
            outputs[start : chosen.stop] = outputs_of(rows)
            advance(len(chosen))
    return outputs
