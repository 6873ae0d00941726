"""Other ways to put a network into scikit-learn: ``python -m benchmarks.wrappers [quick]``.

Prints ratios (the other way's time / ours), medians of interleaved rounds with their range:

- a search over four strengths of a logistic regression by five folds, on frozen features:
  `Pipeline(memory=joblib.Memory(...))` with a step that calls Keras, against
  `PretrainedFeatureTransformer`, both from an empty cache. What such a memory keeps are the
  features of each training fold as a whole; those that are to be predicted, it never keeps;
- three-fold cross-validation of a dense head on a frozen network, ten epochs, without
  augmentation: the classifiers of `keras.wrappers` and of scikeras, which run the whole
  network in every epoch, against `FineTunedConvNetClassifier` from an empty cache. A wrapper
  is left out, saying so, where it is not installed or does not work.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import contextlib
import io
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks._timing import chosen, compare, show, timed
from benchmarks.extraction import MOBILENET
from benchmarks.plain import plain_loop
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer

STRENGTHS = {"classify__C": [0.001, 0.01, 0.1, 1.0]}
EPOCHS, FOLDS, UNITS = 10, 3, 1024


def base():
    import keras

    return keras.applications.MobileNet(
        alpha=0.75, input_shape=(224, 224, 3), include_top=False, weights="imagenet"
    )


def averaged_features(paths):
    """Of the tutorials' loop; the network is built at the first call."""
    import keras

    if not hasattr(averaged_features, "network"):
        averaged_features.network = base()
    preprocess = keras.applications.mobilenet.preprocess_input
    features = plain_loop(averaged_features.network, preprocess, paths, (224, 224))
    return features.mean(axis=(1, 2))


def search_on_features(paths, y, rounds):
    def search(features, **options):
        steps = [("features", features), ("scale", StandardScaler())]
        steps.append(("classify", LogisticRegression()))
        GridSearchCV(Pipeline(steps, **options), STRENGTHS, cv=5).fit(paths, y)

    def with_memory():
        with tempfile.TemporaryDirectory() as folder:
            memory = joblib.Memory(folder, verbose=0)
            search(FunctionTransformer(averaged_features), memory=memory)

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            search(PretrainedFeatureTransformer(**MOBILENET, pooling="avg", cache_dir=folder))

    averaged_features(paths[:20])
    ours()
    yield compare(
        f"search, 4 strengths × 5 folds on frozen features, {len(paths)} photographs",
        "`Pipeline(memory=joblib.Memory(…))` around Keras",
        timed(with_memory),
        timed(ours),
        rounds,
    )


def dense_head_on_frozen_base(loss):
    """A compiled Keras model that takes flattened pixels: both refuse images as such."""
    import keras

    frozen = base()
    frozen.trainable = False
    inputs = keras.Input((224 * 224 * 3,))
    x = keras.layers.Reshape((224, 224, 3))(inputs)
    x = keras.applications.mobilenet.preprocess_input(x)
    x = keras.layers.GlobalAveragePooling2D()(frozen(x, training=False))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(UNITS, activation="relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.RMSprop(1e-3), loss)
    return model


def wrapped_by_keras():
    from keras.wrappers import SKLearnClassifier

    def build(X, y):
        return dense_head_on_frozen_base("categorical_crossentropy")

    return SKLearnClassifier(build)


def wrapped_by_scikeras():
    from scikeras.wrappers import KerasClassifier

    def build():
        return dense_head_on_frozen_base("sparse_categorical_crossentropy")

    return KerasClassifier(build, verbose=0)


def wrapped_networks(paths, y, rounds):
    import keras

    def load(path):
        image = keras.utils.load_img(path, target_size=(224, 224))
        return keras.utils.img_to_array(image).ravel()

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            classifier = FineTunedConvNetClassifier(
                **MOBILENET,
                pooling="avg",
                hidden_units=(UNITS,),
                dropout=0.5,
                unfreeze=0,
                augmentation=None,
                head_epochs=EPOCHS,
                batch_size=20,
                early_stopping=False,
                random_state=0,
                cache_dir=folder,
            )
            cross_val_score(classifier, paths, y, cv=FOLDS)

    ours()
    for name, make in (
        ("`keras.wrappers.SKLearnClassifier`", wrapped_by_keras),
        ("`scikeras.wrappers.KerasClassifier`", wrapped_by_scikeras),
    ):

        def plain(make=make):
            X = np.stack([load(path) for path in paths])
            training = {"epochs": EPOCHS, "batch_size": 20, "verbose": 0}
            with contextlib.redirect_stdout(io.StringIO()):  # bars that cannot be turned off
                cross_val_score(make(), X, y, cv=FOLDS, params=training)

        try:
            few = np.stack([load(path) for path in paths[:4]])
            make().fit(few, np.arange(4) % 2, verbose=0)
        except Exception as error:
            print(f"{name} is left out: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        yield compare(
            f"dense head, 10 epochs, {FOLDS} folds, {len(paths)} photographs",
            name,
            timed(plain),
            timed(ours),
            rounds,
        )


def comparisons(quick):
    rounds = 1 if quick else 3
    paths, y = chosen(60 if quick else 100)
    yield from search_on_features(paths, y, rounds)
    yield from wrapped_networks(paths, y, rounds)


if __name__ == "__main__":
    show(comparisons(quick="quick" in sys.argv))
