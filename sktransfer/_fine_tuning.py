"""What fine-tuned estimators share: all that is not about what is predicted."""

import copy
import pickle
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted

from sktransfer._base import ImageEstimator
from sktransfer._exceptions import warn
from sktransfer._features.extractor import load_network
from sktransfer._features.reading import ImageReader
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._images.inputs import check_images
from sktransfer._networks.preprocessing import Preprocessing
from sktransfer._runtime.tasks import Task
from sktransfer._training.fitted import FittedNetwork, SuffixSpec, from_state, to_state
from sktransfer._training.heads import Head
from sktransfer._training.summary import Summary, summarize
from sktransfer._training.unfreezing import depths_of, is_ladder


class FineTunedConvNet(ImageEstimator):
    """What fine-tuned estimators share: parameters, training, predictions, state.

    A child has `_learn` (y → a target of `_training.targets`, and y as that encodes it) and
    `_target` (that target again, of a fitted estimator), and calls `_fit`.

    Parameters
    ----------
    conv_filters : tuple of int, default=()
        The head begins with a 3 × 3 convolution with relu for each of these numbers of
        filters.

    pooling : {"auto", "avg", "max", "cls"} or None, default="auto"
        How the head turns positions into features. If the network makes tokens, those that
        stand for a part of the image count as positions.

        - ``"avg"`` or ``"max"``: the mean or the maximum over all positions.
        - ``"cls"``: the class token, of a vision transformer that has one.
        - None: all positions, flattened.
        - ``"auto"``: flattened where that gives at most 2,048 features, else the class token
          where there is one, else the mean.

    hidden_units : tuple of int, default=()
        The head has a dense layer with relu and dropout for each of these numbers of units.

    dropout : float, default=0.2
        Fraction that is dropped after each hidden layer of the head, or before its last layer
        if it has no hidden layer.

    unfreeze : "auto", int, float, str or tuple of them, default="auto"
        How much of the network is trained after the head.

        - ``"auto"``: held-out images decide. Half of the layers that have a kernel are
          trained, from the top. Four points on the straight way from the head's weights to the
          trained ones are compared; the last is its end. At each, a head without hidden layers
          is tried as it is, and solved again, on unaltered images. Taken is what gains most
          over the head alone, less one standard error of the gain, if anything is left, and
          if the gain outweighs one more misclassified image. Then the whole network is tried
          in the same way, unless three folds judge (see `validation_fraction`). What was best
          is done again on all images. With ``early_stopping=False``, it is half of the layers,
          to the end.
        - 0: nothing.
        - An int: this number of top layers that have a kernel.
        - A float: this fraction of the layers that have a kernel, from the top. ``1`` is one
          layer, ``1.0`` is all.
        - A name: from that layer up, or from the first layer of that block (``"block5"``).
        - ``"all"``: the whole network.
        - A tuple of these: several stages.

        BatchNorm layers are never trained. A block of a vision transformer is one layer.

    augmentation : ImageAugmentation, "default" or None, default="default"
        How views of training images are drawn.

        - An `ImageAugmentation`: as it says.
        - ``"default"``: as ``ImageAugmentation()`` says.
        - None: training images stay unaltered.

        Validation and prediction use unaltered images.

    augmentation_views : int or None, default=8
        Number of views of each image, used in turn over all epochs. None draws a new view in
        every epoch and keeps none in the cache. A head without hidden layers is solved on the
        unaltered images and all these views at once (if None, on `head_epochs` views). If they
        do not fit into scikit-learn's ``working_memory`` (`sklearn.set_config`, 1024 MiB by
        default) at 12 bytes for each feature, it is solved on fewer.

    head_epochs : int, default=20
        Largest number of epochs of a head with hidden layers. A head without is trained in
        epochs too if not even the unaltered images fit into ``working_memory``.

    fine_tune_epochs : int or None, default=None
        Largest number of epochs of each stage of fine-tuning. None makes 200 steps, in 10
        epochs at least and 15 at most.

    head_learning_rate : float, default=1e-3
        Highest learning rate of a head that is trained in epochs. The rate rises over the
        first fifth of the epochs and falls to zero like half a cosine over all of them. A
        ``LearningRateScheduler`` in `keras_callbacks` replaces that.

    fine_tune_learning_rate : float, default=1e-4
        Highest learning rate of each stage of fine-tuning. It rises and falls in the same way.

    optimizer : str, dict or keras.optimizers.Optimizer, default="adam"
        A name, what `keras.optimizers.serialize` returns, or an instance, which is copied.
        Each stage begins with a new one and sets its learning rate. Averages of weights
        (``use_ema``) become the weights at the end of a stage. They have an effect only with
        ``early_stopping=False``.

    batch_size : int, default=16
        Number of images in a training step.

    validation_fraction : float, default=0.1
        Share of the images that is held out for early stopping; of a classifier drawn by
        class, at least one image a class. If fewer than 50 images would be held out, three
        folds are used instead, so that all images judge. With ``unfreeze="auto"``, two folds
        are used if it would be 50 to 299.

    early_stopping : bool, default=True
        Whether to stop a stage when the validation loss no longer improves, and take the
        weights of its best epoch.

        - With ``unfreeze="auto"``, each stage runs all epochs, and no earlier one is kept.
        - A stage is kept only if its loss is lower than that of the stages before by more than
          one standard error of the difference. Else it is rolled back.
        - If only a head without hidden layers is left, it is solved again on all images.
        - With three folds, each fold runs all epochs. Then all images are trained on for the
          number of epochs that is best over all folds, by the same rule.
        - False trains on all images for all epochs.

    n_iter_no_change : int, default=5
        A stage stops after this number of epochs without improvement.

    random_state : int, RandomState instance or None, default=None
        Seed of the validation set, the first weights of the head, the order of images and
        dropout. Views have a seed of their own, in `augmentation`.

    keras_callbacks : list of keras.callbacks.Callback or None, default=None
        Copied for each stage. Those that cannot be pickled are left out when a fitted
        estimator is stored, with a warning. Their model is the trained upper part of the
        network. Weights that they set at the end of a stage have an effect only with
        ``early_stopping=False``; `best_epoch_` is the last epoch then.

    Attributes
    ----------
    history_ : dict of list
        One entry for each epoch: ``loss`` and a metric (``accuracy``; ``subset_accuracy`` of
        several labels; ``r2`` of numbers); the same of held-out images (``val_loss`` and, for
        instance, ``val_accuracy``); ``stage`` (0 is the head's, which has a single entry if
        it was solved) and ``kept`` (False for stages of which nothing is kept). With folds,
        means over them.

    n_iter_ : int
        Number of epochs, over all stages.

    best_epoch_ : int
        The epoch whose weights are kept, counted from 0 over all stages. With
        ``unfreeze="auto"``, the last one of the stage that is kept.

    fine_tuned_share_ : float
        Where the weights that are kept lie on the straight way from those before the last kept
        stage to those at its end. 1 is the end, 0 if only the head is trained. A part of the
        way is taken only with ``unfreeze="auto"``.

    head_losses_ : dict of float or None
        The cross-validated loss of each strength of a head without hidden layers. None if the
        strength was given, or the head was trained in epochs.

    head_views_ : tuple of int
        Numbers of the views that a head without hidden layers was solved on; 0 is the
        unaltered image. Empty if the head was trained in epochs.

    model_ : keras.Model
        The whole network, from RGB pixels from 0 to 255 at its input size to probabilities,
        or to numbers of a regressor, as `to_keras` returns it. A new one each time.

    n_features_in_ : int
        Number of values in one row of X; 1 for paths and other single objects.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X; defined only when X has string column names.
    """

    _parameter_constraints = {  # noqa: RUF012, as scikit-learn does
        **ImageEstimator._parameter_constraints,
        "conv_filters": ["array-like"],
        "pooling": [StrOptions({"auto", "avg", "cls", "max"}), None],
        "hidden_units": ["array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "unfreeze": [Integral, Real, str, tuple, list],
        "augmentation": [StrOptions({"default"}), ImageAugmentation, None],
        "augmentation_views": [Interval(Integral, 1, None, closed="left"), None],
        "head_epochs": [Interval(Integral, 1, None, closed="left")],
        "fine_tune_epochs": [Interval(Integral, 0, None, closed="left"), None],
        "head_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "fine_tune_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "optimizer": "no_validation",  # Keras does
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "early_stopping": ["boolean"],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "keras_callbacks": [list, None],
    }

    def _fit(self, X, y, sample_weight, X_val, y_val, head_strength):
        """Train; return the `Result`."""
        from sktransfer._training.epochs import Examples
        from sktransfer._training.fit import fit

        vars(self).pop("_fitted", None)  # a fit that fails leaves nothing of the last one
        self._check_callbacks()
        sources = check_images(self, X, reset=True)
        target, codes, weights = self._check_targets(len(sources), y, sample_weight)
        source = self._source()
        reader = self._reader(source)
        augmentation = self.augmentation
        augmentation = ImageAugmentation() if augmentation == "default" else augmentation
        network = load_network(source)
        reader = reader.for_network(network.info)
        network.info.warn_of_top("cut it: keras.Model(m.input, m.get_layer({below}).output)")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        stages = self._stages(network.info, target, len(codes))
        cuts = list(dict.fromkeys(stage.suffix.cut for stage in stages))
        extractor = self._extractor(
            source, network.info, cuts, reader, self.precision, augmentation
        )
        images = self._images(extractor, sources, "X")
        good = images.good()
        if len(good) < len(images):  # as if the others had not been passed
            y = _safe_indexing(y, good)
            if sample_weight is not None:
                sample_weight = _safe_indexing(sample_weight, good)
            target, codes, weights = self._check_targets(len(good), y, sample_weight)
            stages = self._stages(network.info, target, len(good))
        examples = Examples(images.without_bad(), np.arange(len(good)), codes, weights)
        validation = self._validation(extractor, target, X_val, y_val)
        run = self._run(extractor, network, target, reader, seed, head_strength)
        begin = partial(Task.root, self, (X, y, sample_weight), "fit")
        result, task = fit(run, stages, examples, validation, begin)
        if result.weights is None:
            raise ValueError(
                "training diverged: the loss is not a number; lower the learning rates"
            )
        self.history_ = result.history()
        self.n_iter_ = len(result.epochs)
        self.best_epoch_ = result.best_epoch
        self.fine_tuned_share_ = result.share
        self.head_losses_ = result.head_losses
        self.head_views_ = result.head_views
        self._fitted = run.fitted(result.weights, result.suffix)
        task.end(dict)
        return result

    def summary(self) -> Summary:
        """What each stage of training looks up, runs and trains, layer by layer.

        It goes by the parameters, and so needs the network that `backbone` names, of a
        stored estimator too. Stage 0 trains the head. Before `fit` it tells what the
        parameters come to. A layer is ``"cached"`` in a stage if it lies below the stage's
        cut, where it runs once for each view of an image, ``"frozen"`` if it runs in every
        step unchanged, and ``"trained"`` else.

        Returns
        -------
        summary : Summary
            Prints as a table. Its attributes: ``layers``, each with ``name``, ``shape``
            (without the batch), ``parameters`` (their number; of the head None before
            `fit`) and ``stages`` (a tuple of those words); and for each stage ``cuts`` (the
            layer whose output is looked up), ``trained_parameters`` (their number),
            ``cached_fractions`` (the share of multiplications below the cut) and, after
            `fit`, ``kept`` (whether the stage was, or was rolled back; None if it was not
            tried).

        Warns
        -----
        UserWarning
            A cut leaves almost nothing to cache: no layer near below the first trainable
            one has an output that all the rest depends on, as in NASNet.

        Raises
        ------
        BackboneError
            There is no such backbone, weights file, or layer to unfreeze.

        Examples
        --------
        >>> from sktransfer import FineTunedConvNetClassifier
        >>> summary = FineTunedConvNetClassifier("tiny", unfreeze=(1, 3)).summary()
        >>> summary.cuts
        ('block3_pool', 'block3_conv1', 'block2_conv1')
        >>> summary.layers[-3].name, summary.layers[-3].stages
        ('block3_conv2', ('cached', 'trained', 'trained'))
        """
        info = self._info(self._source())
        depths = self._depths(info)
        if not hasattr(self, "_fitted"):
            return summarize(info, depths)
        kept = dict(zip(self.history_["stage"], self.history_["kept"], strict=True))
        n_parameters = sum(array.size for array in self._fitted.weights.head)
        return summarize(info, depths, n_parameters, kept)

    @property
    def model_(self) -> Any:
        """The whole network as a new Keras model, as `to_keras` returns it.

        Raises
        ------
        NotFittedError
            It is not fitted.
        ValueError
            `preprocessing` is a function.
        """
        check_is_fitted(self)
        from sktransfer._training.suffix import whole_model

        return whole_model(self._fitted, self._target())

    def _check_callbacks(self):
        for callback in self.keras_callbacks or []:
            try:
                copy.deepcopy(callback)
            except Exception as error:  # an object can fail in any way
                raise ValueError(
                    f"keras_callbacks has a {type(callback).__name__} that cannot be copied, "
                    f"as is done for each stage ({error}): let it open what it holds in "
                    "on_train_begin"
                ) from error

    def _check_targets(self, n, y, sample_weight):
        """The target, y as it encodes it, and a weight for each of n images."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the "
                "target y is None."
            )
        if _num_samples(y) != n:
            raise ValueError(f"X has {n} images and y {_num_samples(y)} values")
        weights = _check_sample_weight(
            sample_weight, np.empty(n), dtype=np.float32, copy=True, ensure_non_negative=True
        )
        target, codes = self._learn(y, weights)
        weights *= target.weights_of(codes)
        target.check(codes, weights)
        return target, codes, weights

    def _images(self, extractor, sources, name):
        """Images to train on or to judge by, those that are bad noted or refused."""
        images = extractor.identify(sources, name, verbose=self.verbose)
        if self.on_error == "raise":
            extractor.refuse_bad(images)
        else:
            extractor.find_bad(images)
            if not len(images.good()):
                images.raise_if_bad()
            images.warn_of_bad("They are left out.")
        return images

    def _validation(self, extractor, target, X, y):
        """Images of the user's own to judge by, or None."""
        from sktransfer._training.epochs import Examples

        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val go together, and one of them is missing")
        sources = check_images(self, X, reset=False)
        codes = target.encode(y, "y_val")
        if len(codes) != len(sources):
            raise ValueError(f"X_val has {len(sources)} images and y_val {len(codes)} values")
        if not len(sources):
            raise ValueError("X_val has 0 images: a minimum of 1 is required, or leave it out")
        images = self._images(extractor, sources, "X_val")
        codes = codes[images.good()]
        weights = target.weights_of(codes)
        return Examples(images.without_bad(), np.arange(len(codes)), codes, weights)

    def _depths(self, info):
        """How much of the network each stage trains."""
        depths = depths_of(self.unfreeze, info)
        if is_ladder(self.unfreeze) and not self.early_stopping:
            return depths[:2]  # nothing judges the others
        return depths

    def _stages(self, info, target, n_images):
        """The stages of training."""
        from sktransfer._training.stages import TrainedStage, epochs_for

        head = Head.on(
            info.layers[info.output],
            self.pooling,
            conv_filters=tuple(int(n) for n in self.conv_filters),
            hidden_units=tuple(int(n) for n in self.hidden_units),
            dropout=float(self.dropout),
            n_outputs=target.n_outputs,
        )
        top, *depths = self._depths(info)
        cut = replace(top.cut, pooling=head.cut_pooling)
        suffix = SuffixSpec(cut, None, head)
        stages = [TrainedStage(0, suffix, self.head_epochs, self.head_learning_rate)]
        epochs, rate = self.fine_tune_epochs, self.fine_tune_learning_rate
        if epochs is None:
            epochs = epochs_for(n_images, self.batch_size)
        for number, depth in enumerate(depths, 1):
            suffix = SuffixSpec(depth.cut, depth.first_trainable, head)
            stages.append(TrainedStage(number, suffix, epochs, rate))
        return stages

    def _run(self, extractor, network, target, reader, seed, head_strength):
        """What all stages work with."""
        from sktransfer._training.run import Run, Settings

        settings = Settings(
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            augmentation_views=self.augmentation_views,
            augmented=self.augmentation is not None,
            head_strength=head_strength,
            climbs=is_ladder(self.unfreeze) and self.early_stopping,
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            n_iter_no_change=self.n_iter_no_change,
            callbacks=self.keras_callbacks or [],
            seed=seed,
            verbose=int(self.verbose),
        )
        blank = FittedNetwork(
            base=replace(network.pack(), converter=None),  # as the reader says below
            weights=None,
            suffix=None,
            preprocessing=reader.preprocessing.how,
            resizing=reader.resizing,
            input_size=network.info.input_size,
            input_range=reader.input_range,
            precision=self.precision,
        )
        return Run(extractor, network, target, settings, blank)

    def _outputs(self, X, on_error):
        """What the network makes of images, and the target that knows what it means."""
        check_is_fitted(self)
        from sktransfer._training.fit import predict_outputs

        sources = check_images(self, X, reset=False)
        fitted, target = self._fitted, self._target()
        source = fitted.source()
        reader = ImageReader(
            fitted.input_range,
            self.max_image_pixels,
            Preprocessing(fitted.preprocessing),
            fitted.resizing,
        )
        cuts = [fitted.suffix.cut]
        extractor = self._extractor(source, self._info(source), cuts, reader, fitted.precision)
        images = extractor.identify(sources)
        if on_error == "raise":
            extractor.refuse_bad(images)
        verbose = max(self.verbose - 1, 0)
        outputs = predict_outputs(fitted, target, extractor, images, self.optimizer, verbose)
        if on_error == "raise":
            images.raise_if_bad()
        images.warn_of_bad("Their outputs are NaN.")
        if not np.isfinite(outputs[images.good()]).all():
            raise ValueError(
                "the network makes NaN or infinity of images: its training diverged; fit it "
                "again with lower learning rates"
            )
        outputs[list(images.bad)] = np.nan
        return outputs, target

    def __getstate__(self):
        state = super().__getstate__()
        if "_fitted" in state:
            state["_fitted"] = to_state(state["_fitted"])
            state["keras_callbacks"] = self._callbacks_to_store()
        return state

    def _callbacks_to_store(self):
        """Those that pickle takes: the others must not cost a trained network."""
        kept = []
        for callback in self.keras_callbacks or []:
            try:
                pickle.dumps(callback)
                kept.append(callback)
            except Exception as error:  # an object can fail in any way
                name = type(callback).__name__
                warn(f"keras_callbacks has a {name} that is not stored: {error}")
        return kept or None

    def _restore(self, state):
        if "_fitted" in state:
            state = {**state, "_fitted": from_state(state["_fitted"])}
        super()._restore(state)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_fitted")
