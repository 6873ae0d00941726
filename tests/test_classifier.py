import copy
import pickle
import random
import threading

import joblib
import keras
import numpy as np
import pandas as pd
import processes
import pytest
from classifiers import SIZE, classifier, five_to_nine, pixels_of
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict

from sktransfer import (
    BackboneError,
    ImageAugmentation,
    InvalidImagesError,
    InvalidStateError,
    PretrainedFeatureTransformer,
    VersionWarning,
)
from sktransfer._networks.source import source_of


@pytest.fixture(scope="module")
def sevens(digits):
    """80 images of five classes to train on, 40 to test."""
    X, y = five_to_nine(digits, 120)
    return X[:80], y[:80], X[80:], y[80:]


OWN = {"input_size": None, "preprocessing": "rescale"}  # with a backbone of one's own


def test_strings_numbers_and_two_classes(sevens):
    X, y, X_test, _ = sevens
    names = np.array(["five", "six", "seven", "eight", "nine"])
    for labels in (y, names[y - 5], y == 7):
        fitted = classifier(unfreeze=1).fit(X, labels)
        np.testing.assert_array_equal(fitted.classes_, np.unique(labels))
        probabilities = fitted.predict_proba(X_test)
        assert probabilities.shape == (40, len(fitted.classes_))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        predicted = fitted.predict(X_test)
        np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], predicted)
        assert fitted.decision_function(X_test).shape == (
            (40,) if len(fitted.classes_) == 2 else probabilities.shape
        )


def test_fine_tuning_learns(sevens):
    X, y, X_test, y_test = sevens
    recipe = {"input_size": None, "head_C": None, "fine_tune_learning_rate": 1e-4}
    fitted = classifier(fine_tune_epochs=5, **recipe).fit(X, y)
    assert fitted.score(X_test, y_test) > 0.9


@pytest.mark.parametrize(
    "head",
    [
        {"pooling": "avg"},
        {"pooling": "max", "hidden_units": (8,)},
        {"pooling": None, "hidden_units": (16,), "dropout": 0.5},
        {"pooling": None, "hidden_units": (16, 8), "conv_filters": (4,)},
    ],
)
def test_heads(sevens, head):
    X, y, _, _ = sevens
    fitted = classifier(unfreeze=1, **head).fit(X, y)
    model = fitted.model_
    kinds = [type(layer).__name__ for layer in model.layers if layer.name[:5] != "block"]
    assert kinds.count("Conv2D") == len(head.get("conv_filters", ()))
    assert kinds.count("Dense") == 1 + len(head.get("hidden_units", ()))
    same_size = classifier(unfreeze=1, **head).fit(X, y)
    np.testing.assert_array_equal(
        same_size.decision_function(X[:8]), fitted.decision_function(X[:8])
    )


@pytest.mark.parametrize("unfreeze", [0, 1, 3, "block2", (1, 3), (3, 1), "all"])
def test_frozen_means_frozen_and_the_whole_model_predicts(sevens, unfreeze):
    X, y, X_test, _ = sevens
    features = {"backbone": "tiny", "input_range": (0, 16), "input_size": SIZE}
    before = PretrainedFeatureTransformer(**features).fit_transform(X_test)
    fitted = classifier(unfreeze=unfreeze, fine_tune_learning_rate=1e-3).fit(X, y)
    model = fitted.model_
    source = source_of("tiny", size=SIZE).build().model
    published = {layer.name: layer.get_weights() for layer in source.layers}
    trained = {layer.name: layer.get_weights() for layer in model.layers}
    free = {layer.name for layer in fitted.summary().layers if "trained" in layer.stages}
    for name in (name for name in published if "conv" in name):
        same = all(
            np.array_equal(a, b) for a, b in zip(published[name], trained[name], strict=True)
        )
        assert same == (name not in free), name
    again = PretrainedFeatureTransformer(**features, cache_dir=None)
    np.testing.assert_array_equal(again.fit_transform(X_test), before)
    expected = model.predict_on_batch(pixels_of(X_test))
    np.testing.assert_allclose(fitted.predict_proba(X_test), expected, atol=1e-4)


def test_batch_normalization_stays_as_it_is(sevens, tmp_path):
    X, y = sevens[0][:32], sevens[1][:32]
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(8, 3, activation="relu", name="low")(inputs)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    hidden = keras.layers.Conv2D(8, 3, activation="relu", name="high")(hidden)
    keras.Model(inputs, hidden).save(tmp_path / "mine.keras")
    source = keras.saving.load_model(tmp_path / "mine.keras")
    fitted = classifier(
        backbone=tmp_path / "mine.keras",
        **OWN,
        unfreeze="all",
        fine_tune_learning_rate=1e-2,
    ).fit(X, y)
    for a, b in zip(
        source.get_layer("norm").get_weights(),
        fitted.model_.get_layer("norm").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(
        source.get_layer("low").get_weights()[0],
        fitted.model_.get_layer("low").get_weights()[0],
    )


def test_a_network_that_was_frozen_by_its_user_is_unfrozen(sevens):
    X, y = sevens[0][:32], sevens[1][:32]
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="only")(inputs))
    network.trainable = False
    fitted = classifier(backbone=network, **OWN, unfreeze=1, fine_tune_epochs=1).fit(X, y)
    assert fitted.summary().layers[1].stages == ("cached", "trained")
    kernels = [model.get_layer("only").get_weights()[0] for model in (network, fitted.model_)]
    assert not np.array_equal(*kernels)
    assert not network.trainable


@pytest.mark.parametrize("pooling", ["auto", "avg"])
def test_networks_that_pool_or_drop_out_themselves(sevens, pooling):
    X, y, X_test, _ = sevens
    layers = [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.GlobalAveragePooling2D(),
    ]
    own = {"backbone": keras.Sequential(layers), "pooling": pooling, **OWN}
    fits = [classifier(unfreeze=1, **own).fit(X[:32], y[:32]) for _ in range(2)]
    logits = [fitted.decision_function(X_test) for fitted in fits]
    np.testing.assert_array_equal(*logits)  # the same draws, by a suffix used again


def test_the_same_seed_gives_the_same_bits_alone_or_in_a_search(sevens):
    X, y, X_test, _ = sevens
    alone = classifier().fit(X, y).decision_function(X_test)
    search = GridSearchCV(classifier(), {"unfreeze": [3, 1]}, cv=2).fit(X, y)
    again = classifier().fit(X, y).decision_function(X_test)
    np.testing.assert_array_equal(alone, again)
    best = search.best_estimator_.decision_function(X_test)
    direct = classifier(**search.best_params_).fit(X, y).decision_function(X_test)
    np.testing.assert_array_equal(best, direct)
    other = classifier(random_state=1).fit(X, y).decision_function(X_test)
    assert not np.array_equal(alone, other)


def test_a_fit_leaves_no_trace_in_global_state(sevens):
    X, y, _, _ = sevens
    random.seed(3)
    before = (
        random.getstate(),
        np.random.get_state(legacy=False),  # noqa: NPY002
        keras.config.dtype_policy().name,
    )
    classifier().fit(X, y)
    assert random.getstate() == before[0]
    np.testing.assert_equal(np.random.get_state(legacy=False), before[1])  # noqa: NPY002
    assert keras.config.dtype_policy().name == before[2]


def test_each_view_goes_through_the_prefix_once(sevens):
    X, y, _, _ = sevens
    misses = classifier().cache_info().misses
    GridSearchCV(classifier(early_stopping=False), {"unfreeze": [0, 3]}, cv=2).fit(X, y)
    # 80 images in 2 augmented views and, to be predicted, unaltered; for each cut anew.
    assert classifier().cache_info().misses - misses <= 80 * 3 * 2
    misses = classifier().cache_info().misses
    classifier(early_stopping=False).fit(X, y)
    assert classifier().cache_info().misses == misses


@pytest.mark.parametrize(
    "parameters",
    [
        {"augmentation": None},
        {"augmentation_views": None},
        {"cache_dir": None},
        {"augmentation": ImageAugmentation(horizontal_flip=True)},
    ],
)
def test_views_may_be_none_fresh_or_not_kept(sevens, parameters):
    X, y, X_test, y_test = sevens
    assert classifier(head_epochs=5, **parameters).fit(X, y).score(X_test, y_test) > 0.8


def test_pixels_are_no_rows_to_keep(sevens, tmp_path):
    """Where all layers are trained, nothing is frozen, and nothing worth keeping."""
    X, y, X_test, _ = sevens
    fitted = classifier(unfreeze="all", early_stopping=False).fit(X, y)
    kept = fitted.cache_info().bytes
    fitted.predict(X_test)
    assert fitted.cache_info().bytes == kept
    misses = fitted.cache_info().misses
    with pytest.raises(InvalidImagesError, match="row 20"):
        fitted.predict([*X_test[:20], tmp_path / "missing.png"])
    assert fitted.cache_info().misses == misses  # found before anything was computed


def test_not_keeping_rows_changes_no_bit(sevens):
    X, y, X_test, _ = sevens
    kept = classifier().fit(X, y).decision_function(X_test)
    not_kept = classifier(cache_dir=None).fit(X, y).decision_function(X_test)
    np.testing.assert_array_equal(kept, not_kept)


def test_history_and_early_stopping(sevens):
    X, y, X_val, y_val = sevens
    own = {"X_val": X_val, "y_val": y_val}
    fitted = classifier(unfreeze=(1, 3), early_stopping=True, hidden_units=(16,))
    fitted.set_params(fine_tune_learning_rate=1e-3)
    history = fitted.fit(X, y, **own).history_
    figures = {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert set(history) == {*figures, "stage", "kept"}
    assert history["stage"] == [0] * 3 + [1] * 2 + [2] * 2
    assert fitted.n_iter_ == 7
    assert history["kept"] == [True] * 7
    assert fitted.best_epoch_ == np.argmin(history["val_loss"]) == 6
    assert fitted.head_C_ is None
    assert fitted.head_views_ == ()
    spoiled = fitted.set_params(fine_tune_learning_rate=1.0).fit(X, y, **own)
    assert spoiled.best_epoch_ < 3
    assert spoiled.history_["kept"] == [stage == 0 for stage in spoiled.history_["stage"]]
    assert spoiled.summary().kept == (True, False, False)
    assert str(spoiled.summary()).splitlines()[-1].split() == ["kept", "yes", "no", "no"]
    impatient = classifier(early_stopping=True, n_iter_no_change=1, fine_tune_epochs=8)
    impatient.set_params(fine_tune_learning_rate=3e-3).fit(X, y, **own)
    assert impatient.history_["stage"].count(1) < 8
    patient = classifier().fit(X, y)
    assert "val_loss" not in patient.history_
    assert patient.history_["stage"] == [0, 1, 1]
    assert patient.best_epoch_ == patient.n_iter_ - 1 == 2


class LearningRates(keras.callbacks.Callback):
    """Notes the rate of each epoch, in a list that copies share."""

    noted = []  # noqa: RUF012

    def on_epoch_begin(self, epoch, logs=None):
        self.noted.append(
            float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        )


def test_the_learning_rate_rises_and_falls(sevens):
    X, y, _, _ = sevens
    LearningRates.noted.clear()
    classifier(
        unfreeze=1,
        fine_tune_epochs=10,
        fine_tune_learning_rate=1e-3,
        keras_callbacks=[LearningRates()],
    ).fit(X, y)
    half_cosine = (1 + np.cos(np.pi * (np.arange(10) + 0.5) / 10)) / 2
    expected = 1e-3 * np.minimum([0.5, *[1] * 9], 1) * half_cosine
    np.testing.assert_allclose(LearningRates.noted, expected, rtol=1e-5)


def test_few_images_are_judged_in_folds(sevens):
    X, y, _, _ = sevens
    LearningRates.noted.clear()
    fitted = classifier(
        early_stopping=True,
        fine_tune_epochs=5,
        fine_tune_learning_rate=1e-3,
        dropout=0.0,
        keras_callbacks=[LearningRates()],
    ).fit(X, y)
    assert fitted.history_["stage"] == [0] + [1] * 5
    assert fitted.history_["kept"] == [True] * 6
    best = fitted.best_epoch_
    assert best == np.argmin(fitted.history_["val_loss"]) > 0
    # Three folds of five epochs; then, on all images, so many as were best, at the same rates.
    assert LearningRates.noted[15:] == LearningRates.noted[:best]


def test_a_stage_is_kept_if_better_by_a_standard_error(sevens):
    X, y, X_val, y_val = sevens

    def losses(fitted):
        chosen = np.arange(len(y_val)), y_val - 5
        return -log_softmax(fitted.decision_function(X_val), axis=1)[chosen]

    before, seen = losses(classifier(unfreeze=0).fit(X, y)), set()
    for rate in (1e-5, 1e-3, 1e-1):
        recipe = classifier(fine_tune_epochs=1, fine_tune_learning_rate=rate)
        gains = before - losses(recipe.fit(X, y))
        better = gains.mean() > gains.std() / np.sqrt(len(gains))
        recipe.set_params(early_stopping=True).fit(X, y, X_val=X_val, y_val=y_val)
        assert recipe.history_["kept"] == [True, better]
        np.testing.assert_allclose(losses(recipe), before - better * gains, atol=1e-6)
        seen.add(bool(better))
    assert seen == {True, False}


def test_a_stage_that_diverges_is_rolled_back_and_said(sevens):
    X, y, X_test, _ = sevens
    # The loss overflows by the biases alone: a relu may make zeros of what is no number.
    with pytest.warns(ConvergenceWarning, match="stage 1 was rolled back"):
        diverged = classifier(fine_tune_learning_rate=3e38).fit(X, y)
    assert diverged.history_["kept"] == [True, False, False]
    assert np.isfinite(diverged.decision_function(X_test)).all()
    away = {"optimizer": "sgd", "head_learning_rate": 1e30, "hidden_units": (8,)}
    with (
        pytest.warns(ConvergenceWarning, match="stage 0 was rolled back"),
        pytest.raises(ValueError, match="training diverged"),
    ):
        classifier(unfreeze=0, **away).fit(X, y)


@pytest.mark.parametrize("validation_fraction", [0.1, 0.7])
def test_where_fine_tuning_fails_the_head_of_all_images_stays(sevens, validation_fraction):
    X, y, _, _ = sevens
    fitted = classifier(
        early_stopping=True,
        validation_fraction=validation_fraction,
        fine_tune_learning_rate=0.1,
    ).fit(X, y)
    assert fitted.history_["stage"] == [0, 1, 1]
    assert fitted.best_epoch_ == 0
    assert fitted.history_["kept"] == [True, False, False]
    head_alone = classifier(unfreeze=0).fit(X, y)
    np.testing.assert_array_equal(fitted.decision_function(X), head_alone.decision_function(X))


def test_a_callback_may_use_other_classifiers_of_the_same_kind(sevens):
    X, y, X_test, _ = sevens
    other = classifier(fine_tune_learning_rate=1e-3).fit(X, y[::-1])
    expected = other.decision_function(X_test)
    seen = []

    class Compare(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return self

        def on_epoch_end(self, epoch, logs=None):
            seen.append(other.decision_function(X_test))
            classifier(fine_tune_learning_rate=1e-3).fit(X[:60], y[:60])

    recipe = {"unfreeze": 3, "fine_tune_learning_rate": 1e-3, "early_stopping": False}
    alone = classifier(**recipe).fit(X, y).decision_function(X_test)
    watched = classifier(keras_callbacks=[Compare()], **recipe).fit(X, y)
    np.testing.assert_array_equal(watched.decision_function(X_test), alone)
    assert seen
    assert all(np.array_equal(logits, expected) for logits in seen)


def test_weights_that_keras_puts_back_or_averages_count(sevens):
    X, y, X_val, y_val = sevens
    away = [
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        keras.callbacks.LearningRateScheduler(lambda epoch, _: 1e-4 if epoch == 0 else 1.0),
    ]
    recipe = {
        "early_stopping": False,
        "optimizer": "sgd",
        "fine_tune_epochs": 4,
        "unfreeze": 1,
    }
    fitted = classifier(keras_callbacks=away, **recipe).fit(X, y, X_val=X_val, y_val=y_val)
    assert fitted.history_["val_loss"][-1] > 2 * fitted.history_["val_loss"][1]
    assert fitted.score(X_val, y_val) > 0.9
    recipe["fine_tune_learning_rate"] = 1e-2
    logits = [
        classifier(**{**recipe, "optimizer": optimizer}).fit(X, y).decision_function(X_val)
        for optimizer in (keras.optimizers.SGD(), keras.optimizers.SGD(use_ema=True))
    ]
    assert not np.array_equal(*logits)


def test_predictions_that_are_no_numbers_are_refused(sevens):
    X, y, _, _ = sevens
    one_step = {"batch_size": 80, "fine_tune_epochs": 1, "early_stopping": False}
    diverged = classifier(fine_tune_learning_rate=3e9, unfreeze=3, **one_step).fit(X, y)
    for predict in (diverged.predict, diverged.predict_proba, diverged.decision_function):
        with pytest.raises(ValueError, match="diverged"):
            predict(X)


def test_validation_images_of_ones_own(sevens):
    X, y, X_val, y_val = sevens
    fitted = classifier(early_stopping=True).fit(X, y, X_val=X_val, y_val=y_val)
    logits = fitted.decision_function(X_val)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), y_val - 5]
    best = fitted.history_["val_loss"][fitted.best_epoch_]
    assert losses.mean() == pytest.approx(best, rel=1e-4)
    with pytest.raises(ValueError, match=r"labels that y does not have: \[\d+\]"):
        classifier().fit(X, y, X_val=X_val, y_val=y_val + 1)
    with pytest.raises(ValueError, match="X_val has 0 images"):
        classifier().fit(X, y, X_val=[], y_val=[])
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_proba([]).shape == (0, 5)
    with pytest.raises(ValueError, match="go together"):
        classifier().fit(X, y, y_val=y_val)


def test_weights_of_classes_count_for_validation_images_too(sevens):
    X, y, X_val, y_val = sevens
    weights = {5: 1.0, 6: 1.0} | {label: 0.0 for label in np.unique(y) if label > 6}
    fitted = classifier(class_weight=weights).fit(X, y, X_val=X_val, y_val=y_val)
    counted = np.isin(y_val, (5, 6))
    right = fitted.predict(X_val[counted]) == y_val[counted]
    shown = fitted.history_["val_accuracy"][fitted.best_epoch_]
    assert right.mean() == pytest.approx(shown)


def test_weights_of_classes_and_images(sevens):
    X, y, X_test, _ = sevens
    target = y == 7
    plain = classifier(unfreeze=1).fit(X, target).predict_proba(X_test)[:, 1]
    by_class = classifier(unfreeze=1, class_weight={False: 1, True: 20}).fit(X, target)
    weights = np.where(target, 20.0, 1.0)
    by_image = classifier(unfreeze=1).fit(X, target, sample_weight=weights)
    assert by_class.predict_proba(X_test)[:, 1].mean() > plain.mean()
    np.testing.assert_allclose(
        by_image.predict_proba(X_test), by_class.predict_proba(X_test), rtol=1e-5
    )
    balanced = (
        classifier(unfreeze=1, class_weight="balanced")
        .fit(X, target)
        .predict_proba(X_test)[:, 1]
    )
    assert balanced.mean() > plain.mean()


def test_searches_and_meta_estimators(sevens):
    X, y, X_test, _ = sevens
    grid = {"unfreeze": [0, 3, "block2_conv1", (1, 3)]}
    search = GridSearchCV(classifier(fine_tune_epochs=1), grid, cv=2).fit(X, y)
    assert search.cv_results_["mean_test_score"].shape == (4,)
    assert search.cv_results_["mean_test_score"].min() > 0.2
    grid = {"augmentation__rotation_range": [0, 20]}
    quick = {"head_epochs": 2, "unfreeze": 0}
    augmented = classifier(augmentation=ImageAugmentation(), **quick)
    assert GridSearchCV(augmented, grid, cv=2).fit(X, y).best_score_ > 0.2
    calibrated = CalibratedClassifierCV(classifier(**quick), cv=2).fit(X, y)
    assert calibrated.predict_proba(X_test).shape == (40, 5)
    forms = X.reshape(80, 64), {"image_shape": (8, 8)}
    voting = VotingClassifier(
        [
            ("net", classifier(**quick, **forms[1])),
            ("pixels", LogisticRegression(max_iter=2000)),
        ],
        voting="soft",
    )
    assert voting.fit(forms[0], y).predict(X_test.reshape(40, 64)).shape == (40,)
    assert cross_val_predict(classifier(**quick), X, y, cv=2).shape == (80,)


def test_callbacks_are_copied_and_see_the_suffix(sevens):
    X, y, _, _ = sevens

    class Count(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            type(self).epochs += 1
            assert "block1_conv1" not in {layer.name for layer in self.model.layers}

    callback = Count()
    fitted = classifier(keras_callbacks=[callback], hidden_units=(8,)).fit(X, y)
    assert Count.epochs == fitted.n_iter_
    assert callback.model is None


def test_callbacks_that_cannot_be_copied_or_stored_do_not_cost_a_training(sevens, cache):
    X, y, X_test, _ = sevens
    locked = keras.callbacks.Callback()
    locked.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"a Callback that cannot be copied.*on_train_begin"):
        classifier(keras_callbacks=[locked]).fit(X, y)
    assert not cache.exists()  # nothing was computed
    epochs = []
    anonymous = keras.callbacks.LambdaCallback(on_epoch_end=lambda *epoch: epochs.append(1))
    named = keras.callbacks.TerminateOnNaN()
    fitted = classifier(keras_callbacks=[anonymous, named]).fit(X, y)
    assert epochs
    with pytest.warns(UserWarning, match="a LambdaCallback that is not stored: ") as caught:
        stored = pickle.loads(pickle.dumps(fitted))
    assert len(caught) == 1
    assert [type(one).__name__ for one in stored.keras_callbacks] == ["TerminateOnNaN"]
    np.testing.assert_array_equal(stored.predict(X_test), fitted.predict(X_test))


def test_a_callback_that_stops_a_stage_keeps_what_was_trained(sevens):
    X, y, X_test, _ = sevens
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=1)
    recipe = {"fine_tune_learning_rate": 1e-3, "fine_tune_epochs": 4}
    stopped = classifier(keras_callbacks=[stop], **recipe).fit(X, y)
    assert stopped.history_["stage"] == [0, 1, 1]
    assert stopped.history_["kept"] == [True] * 3
    assert stopped.best_epoch_ == 2
    head_alone = classifier(unfreeze=0).fit(X, y)
    assert not np.array_equal(
        stopped.decision_function(X_test), head_alone.decision_function(X_test)
    )
    judged = classifier(keras_callbacks=[stop], early_stopping=True, **recipe).fit(X, y)
    assert len(judged.history_["val_loss"]) == judged.n_iter_ == 3


def test_optimizers_by_name_configuration_and_instance(sevens):
    X, y, X_test, _ = sevens
    sgd = keras.optimizers.SGD(0.5, momentum=0.9)
    before = copy.deepcopy(sgd.get_config())
    by_instance = classifier(optimizer=sgd).fit(X, y).decision_function(X_test)
    config = keras.optimizers.serialize(sgd)
    by_config = classifier(optimizer=config).fit(X, y).decision_function(X_test)
    np.testing.assert_array_equal(by_instance, by_config)
    assert sgd.get_config() == before
    assert not sgd.built


def test_what_cannot_be_learned_is_refused_before_training(sevens):
    X, y, _, _ = sevens
    misses = classifier().cache_info().misses
    judged = {"early_stopping": True}
    for parameters, labels, error, message in (
        ({}, np.zeros(80), ValueError, "one class"),
        ({}, np.where(y == 5, np.nan, y), ValueError, "NaN"),
        (judged, np.where(np.arange(80) == 0, 99, y), ValueError, "least populated"),
        ({}, y[:10], ValueError, "80 images and y 10"),
        ({"unfreeze": 9}, y, BackboneError, "6 layers with kernels"),
        ({"unfreeze": "block4"}, y, BackboneError, "nearest"),
        ({"augmentation_views": 0}, y, ValueError, "augmentation_views"),
        ({"class_weight": {5: 1, 6: 0, 7: 0, 8: 0, 9: 0}}, y, ValueError, "one class"),
        ({"optimizer": None}, y, ValueError, "optimizer=None"),
        ({"optimizer": keras.optimizers.Adam}, y, ValueError, "optimizer=<class"),
        ({"optimizer": "adamant"}, y, ValueError, "optimizer='adamant'"),
        ({"optimizer": {"a": 1}}, y, ValueError, "optimizer={'a': 1}"),
        ({"class_weight": dict.fromkeys(range(5, 10), -1)}, y, ValueError, "class_weight"),
        ({"class_weight": dict.fromkeys(range(5, 10), np.nan)}, y, ValueError, "class_weight"),
    ):
        with pytest.raises(error, match=message):
            classifier(**parameters).fit(X, labels)
    with pytest.raises(InvalidImagesError, match="row 1"):
        classifier().fit([X[0], "missing.png"], [0, 1])
    with pytest.raises(ValueError, match="Negative"):
        classifier().fit(X, y, sample_weight=np.full(80, -1))
    texts = y.astype(str).astype(object)
    with pytest.raises(ValueError, match=r"y_val has labels that y does not have: \[None\]"):
        classifier().fit(X, texts, X_val=X, y_val=np.where(y == 5, None, texts))
    assert classifier().cache_info().misses == misses


def test_an_interrupted_fit_leaves_the_process_usable(sevens):
    X, y, X_test, _ = sevens

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    expected = classifier().fit(X, y).decision_function(X_test)
    interrupted = classifier(keras_callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, y)
    with pytest.raises(ValueError, match="not fitted"):
        interrupted.predict(X_test)
    np.testing.assert_array_equal(classifier().fit(X, y).decision_function(X_test), expected)


def predict_elsewhere(connection, path, images):
    """What a stored model predicts where the package's own weights are out of reach."""
    processes.begin(connection)
    from sktransfer._networks import build

    build.tiny = None
    connection.send(joblib.load(path).predict_proba(images))


def test_a_stored_model_needs_neither_network_nor_weights(sevens, tmp_path):
    X, y, X_test, _ = sevens
    fitted = classifier(unfreeze=3, fine_tune_learning_rate=1e-3).fit(X, y)
    joblib.dump(fitted, tmp_path / "model.joblib")
    process = processes.start(predict_elsewhere, tmp_path / "model.joblib", X_test)
    np.testing.assert_array_equal(processes.finish(*process), fitted.predict_proba(X_test))


def test_the_state_is_plain_and_checked(sevens):
    X, y, X_test, _ = sevens
    fitted = classifier().fit(X, y)
    state = fitted.__getstate__()["_fitted"]

    def kinds(value):
        if isinstance(value, dict):
            return set().union(*(kinds(v) for v in value.values()))
        if isinstance(value, (list, tuple)):
            return set().union(*map(kinds, value))
        return {type(value)}

    assert kinds(state) <= {str, int, float, bool, np.ndarray, type(None)}
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).predict(X_test), fitted.predict(X_test)
    )

    def loaded(change):
        changed = copy.deepcopy(fitted.__getstate__())
        change(changed["_fitted"])
        classifier().__setstate__(changed)

    with pytest.raises(InvalidStateError, match="head/0"):
        loaded(lambda state: state["arrays"]["head/0"].__setitem__((0, 0), 7.0))
    with pytest.raises(InvalidStateError, match="missing"):
        loaded(lambda state: state["arrays"].pop("head/1"))
    with pytest.raises(InvalidStateError, match="format 99"):
        loaded(lambda state: state.update(format=99))
    with pytest.warns(VersionWarning, match="keras 2.0"):
        loaded(lambda state: state["versions"].update(keras="2.0"))


def test_a_column_of_a_data_frame(sevens, tmp_path):
    from PIL import Image

    X, y, _, _ = sevens
    paths = []
    for i, image in enumerate(X[:40]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray((image * 15).astype(np.uint8)).save(paths[-1])
    frame = pd.DataFrame({"path": paths})
    fitted = classifier(unfreeze=0).fit(frame, y[:40])
    assert list(fitted.feature_names_in_) == ["path"]
    assert fitted.predict(frame).shape == (40,)


def test_twenty_fits_do_not_leak(sevens):
    import psutil

    X, y, _, _ = sevens
    process = psutil.Process()
    for seed in range(3):
        classifier(random_state=seed).fit(X, y)
    before = process.memory_info().rss
    for seed in range(20):
        classifier(random_state=seed).fit(X, y)
    assert process.memory_info().rss - before < 150e6
