"""Code that a Keras configuration only names: it may change, or do harm, unseen.

KerasHub's layers are as trusted as Keras' own.
"""

import json

from sktransfer._exceptions import InvalidStateError

# Keras' classes that run code, or read files, that their configuration names.
RUNNING = {
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
}
READING = ("Converter", "Preprocessor", "Tokenizer")  # ends of names of KerasHub's
TRUSTED = ("keras.", "keras_hub.")
DATA = {  # in configurations, but no classes
    "__bytes__",
    "__ellipsis__",
    "__keras_tensor__",
    "__numpy__",
    "__slice__",
    "__tensor__",
}


def foreign_code(config):
    """What a Keras configuration names beside layers of Keras' own, as a sentence, or None."""
    if isinstance(config, dict):
        name, module = config.get("class_name"), config.get("module")
        if name is not None and name not in DATA:
            own = isinstance(module, str) and f"{module}.".startswith(TRUSTED)
            if not own or not _is_own_name(config.get("registered_name") or ""):
                return f"{module}.{name} is not Keras' own"
            if name in RUNNING or name.endswith(READING):
                return f"Keras' {name} runs code or reads files that its configuration names"
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        return next(filter(None, map(foreign_code, config)), None)
    return None


def _is_own_name(registered):
    return ">" not in registered or registered.startswith("keras_hub>")


def refuse_foreign(state):
    """Refuse an estimator's state whose networks or optimizer name code.

    Parameters
    ----------
    state : dict
        As an estimator's ``__getstate__`` returns it.

    Raises
    ------
    InvalidStateError
        They do.
    """
    networks = (state.get("_fitted"), state.get("backbone"))
    try:
        configs = [json.loads(n["config"]) for n in networks if isinstance(n, dict)]
        found = foreign_code([*configs, state.get("optimizer")])
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise InvalidStateError(f"the stored network cannot be read: {error!r}") from error
    if found is not None:
        raise InvalidStateError(
            f"the stored model is not safe to load: {found}. If you trust who made it, ask "
            "for it as a joblib file"
        )
