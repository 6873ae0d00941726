"""A fitted classifier in one file without pickle, for models that come from others.

The container is safetensors, with JSON as its metadata. Reading it makes arrays and plain
values of a closed set of kinds; nothing in it can name a function to call.
"""

import hashlib
import inspect
import json
import os
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sktransfer._classifier import FineTunedConvNetClassifier
from sktransfer._exceptions import InvalidStateError
from sktransfer._features.segments import write_durably
from sktransfer._images.augmentation import ImageAugmentation
from sktransfer._networks.foreign import foreign_code
from sktransfer._training.fitted import check_format, from_state, to_state

# Where and how loudly to run is for who loads the model to say.
NOT_SAVED = {"cache_dir", "engine", "n_jobs", "verbose", "keras_callbacks"}
MAX_ITEM_BYTES = 1 << 16  # of a label in a file that anyone may have written
REMEDIES = {
    "backbone": "save the network as a .keras file and set backbone to its path",
    "optimizer": "set it to keras.optimizers.serialize(optimizer)",
}


def save_classifier(classifier, path):
    """Save a fitted `FineTunedConvNetClassifier` without pickle, for others to load.

    Parameters
    ----------
    classifier : FineTunedConvNetClassifier
        A fitted one. All parameters and attributes are saved but `cache_dir`, `engine`,
        `n_jobs`, `verbose` and `keras_callbacks`.
    path : path
        Of the file, which is replaced if it is there. It is one of safetensors: arrays, and
        JSON as metadata.

    Raises
    ------
    TypeError
        A parameter is no plain value: a Keras model or optimizer, a `RandomState` or a
        function. Or the network has layers that are not Keras' own, or run code that their
        configuration names. `joblib.dump` stores these, for those who trust you.

    See Also
    --------
    load_classifier : Load it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTunedConvNetClassifier, load_classifier, save_classifier
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = FineTunedConvNetClassifier(
    ...     "tiny", image_shape=(8, 8), input_range=(0, 16), unfreeze=0, random_state=0
    ... ).fit(X[:100], y[:100])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "digits.safetensors"
    ...     save_classifier(classifier, path)
    ...     loaded = load_classifier(path)
    >>> bool((loaded.predict(X) == classifier.predict(X)).all())
    True
    """
    from safetensors.numpy import save

    if not isinstance(classifier, FineTunedConvNetClassifier):
        raise TypeError(
            "save_classifier saves a FineTunedConvNetClassifier, "
            f"not a {type(classifier).__name__}"
        )
    check_is_fitted(classifier)
    state = to_state(classifier._fitted)
    arrays = state.pop("arrays")
    foreign = foreign_code([json.loads(state["config"]), classifier.optimizer])
    if foreign is not None:
        raise TypeError(f"the network cannot be saved without pickle: {foreign}")
    parameters = classifier.get_params(deep=False)
    attributes = {
        name: vars(classifier)[name] for name in vars(classifier) if _is_fitted(name)
    }
    text = json.dumps(
        {
            "format": state.pop("format"),
            "parameters": _all_to_plain(parameters, NOT_SAVED),
            "attributes": _all_to_plain(attributes),
            "network": _all_to_plain(state),
        }
    )
    metadata = {"sktransfer": text, "sha256": _sha256(text)}
    path = Path(path).absolute()
    write_durably(path.parent, path.name, save(arrays, metadata))


def load_classifier(path):
    """Load a classifier that `save_classifier` saved; no code in the file can be executed.

    Parameters
    ----------
    path : path

    Returns
    -------
    classifier : FineTunedConvNetClassifier
        Fitted. Its `cache_dir`, `engine`, `n_jobs`, `verbose` and `keras_callbacks` are the
        defaults.

    Raises
    ------
    InvalidStateError
        The file is none of `save_classifier`, of a newer format, or damaged; or its network
        has layers that are not Keras' own, or run code that their configuration names. A
        checksum shows damage, not who wrote the file.
    OSError
        There is no such file, or it cannot be read.

    Warns
    -----
    VersionWarning
        It was saved with other versions of the libraries.

    See Also
    --------
    save_classifier : Save it; with an example.
    """
    try:
        metadata, arrays = _read(path)
        text = metadata["sktransfer"]
        if _sha256(text) != metadata["sha256"]:
            raise InvalidStateError(f"the metadata of {os.fspath(path)!r} were changed")
        saved = json.loads(text)
        check_format(saved)
        parameters, attributes, network = (
            _all_from_plain(saved[part]) for part in ("parameters", "attributes", "network")
        )
        _check_names(parameters, attributes)
        foreign = foreign_code([json.loads(network["config"]), parameters.get("optimizer")])
        if foreign is not None:
            raise InvalidStateError(f"{os.fspath(path)!r} is not safe to load: {foreign}")
        classifier = FineTunedConvNetClassifier(**parameters)
        vars(classifier).update(attributes)
        classifier._fitted = from_state(
            {**network, "format": saved["format"], "arrays": arrays}
        )
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        if isinstance(error, InvalidStateError):
            raise
        raise InvalidStateError(
            f"{os.fspath(path)!r} holds no classifier that save_classifier saved: {error!r}"
        ) from error
    return classifier


def _read(path):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InvalidStateError(f"{os.fspath(path)!r} is damaged: {error}") from error


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _is_fitted(name):
    """Whether an attribute of the classifier is one that `fit` sets for users."""
    return name.endswith("_") and not name.startswith("_")


def _check_names(parameters, attributes):
    known = inspect.signature(FineTunedConvNetClassifier).parameters.keys() - NOT_SAVED
    unknown = parameters.keys() - known
    unknown |= {name for name in attributes if not _is_fitted(name)}
    if unknown:
        raise InvalidStateError(f"unknown names: {', '.join(sorted(unknown))}")


def _all_to_plain(values, left_out=()):
    plain = {}
    for name, value in values.items():
        if name in left_out:
            continue
        try:
            plain[name] = _to_plain(value)
        except TypeError as error:
            remedy = REMEDIES.get(name, "joblib.dump stores it, for those who trust you")
            raise TypeError(
                f"{name}={value!r:.80} cannot be saved without pickle, as {error}: {remedy}"
            ) from None
    return plain


def _to_plain(value):
    """A value as JSON takes it, from which `_from_plain` makes the same one."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": _to_plain(list(value))}
    if isinstance(value, dict):
        return {"dict": [[_to_plain(key), _to_plain(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufUO":
        dtype = "str" if value.dtype.kind == "U" else value.dtype.str
        return {"array": _to_plain(value.tolist()), "dtype": dtype}
    if isinstance(value, ImageAugmentation):
        return {"ImageAugmentation": _to_plain(value.get_params())}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def _all_from_plain(values):
    return {name: _from_plain(value) for name, value in values.items()}


def _from_plain(value):
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.itemsize > MAX_ITEM_BYTES:
            raise ValueError(f"an array of {dtype}")
        return np.array(value["array"], dtype=dtype)
    [(kind, content)] = value.items()
    content = _from_plain(content)
    made_by = {"tuple": tuple, "dict": dict, "ImageAugmentation": _augmentation}
    return made_by[kind](content)


def _augmentation(parameters):
    return ImageAugmentation(**parameters)
