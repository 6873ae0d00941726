"""Saved models: written as joblib or skops, and loaded."""

import joblib
from sklearn.base import is_regressor

from sktransfer import bundle

TRUSTED = [  # classes in a .skops file, besides those that skops itself trusts
    "sktransfer.FineTunedConvNetClassifier",
    "sktransfer.FineTunedConvNetRegressor",
    "sktransfer.ImageAugmentation",
    "sktransfer.PretrainedFeatureTransformer",
]


def save(model, path, names):
    """Save a model that predicts anywhere, silently, with names of its outputs, if any."""
    model = bundle(model)
    verbose = [name for name in model.get_params() if name.split("__")[-1] == "verbose"]
    model.set_params(**dict.fromkeys(verbose, 0))
    if names is not None:
        model.label_names_ = names
    if path.endswith(".skops"):
        _skops().dump(model, path)
    else:
        joblib.dump(model, path)


def load(path):
    """A model that gives probabilities or numbers.

    Raises
    ------
    ValueError
        The file holds none, or cannot be loaded.
    """
    try:
        skops = path.endswith(".skops")
        model = _skops().load(path, trusted=TRUSTED) if skops else joblib.load(path)
    except FileNotFoundError:
        raise ValueError(f"no file {path!r}") from None
    except Exception as error:  # a file can hold anything
        reason = str(error) or type(error).__name__  # an empty file's has no text
        raise ValueError(f"{path!r} is not a saved model: {reason}") from error
    is_model = hasattr(model, "set_params")
    if not (is_model and (is_regressor(model) or hasattr(model, "predict_proba"))):
        raise ValueError(
            f"{path!r} is not a saved model: it holds a {type(model).__name__}, which has no "
            "predict_proba"
        )
    lenient = [name for name in model.get_params() if name.split("__")[-1] == "on_error"]
    return model.set_params(**dict.fromkeys(lenient, "raise"))  # files are named one by one


def _skops():
    try:
        import skops.io
    except ImportError as error:
        raise ValueError(
            "files that end in .skops need skops: pip install 'sktransfer[skops]'; files that "
            "end in .joblib need nothing more"
        ) from error
    return skops.io
