"""KerasHub, which is imported only where a network of it is used."""

from sktransfer._runtime.interrupts import held_back
from sktransfer._runtime.keras import keras  # noqa: F401, with its settings, and before


def _import_keras_hub():
    """KerasHub, or an error that says how to have it."""
    try:
        import keras_hub
    except ModuleNotFoundError as error:
        raise ImportError(
            f"this network is one of KerasHub's, and that cannot be imported ({error}): "
            "pip install 'sktransfer[hub]'"
        ) from error
    return keras_hub


with held_back():
    keras_hub = _import_keras_hub()

__all__ = ["keras_hub"]
