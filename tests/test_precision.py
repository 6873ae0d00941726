import pickle
import warnings

import numpy as np
import pytest
from networks import relative_error

from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
from sktransfer._networks.precision import CPU, has_bfloat16

KERAS_OWN = "__array__ implementation"  # which pytest ignores, of Keras' variables under JAX
SLOW_HERE = CPU.is_file() and not has_bfloat16(CPU.read_text())


def transform(X, **parameters):
    return PretrainedFeatureTransformer(**parameters).fit_transform(X)


def features(X, **parameters):
    """In bfloat16 and in float32, and the warnings of the former."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lean = transform(X, **parameters, precision="bfloat16")
    exact = transform(X, **parameters)
    messages = [str(warning.message) for warning in caught]
    return lean, exact, [message for message in messages if KERAS_OWN not in message]


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_features_are_float32_and_nearly_the_same(digits, pooling):
    how = {"backbone": "tiny", "input_range": (0, 16), "pooling": pooling}
    lean, exact, caught = features(digits[0][:20], **how)
    assert lean.dtype == np.float32
    assert 1e-4 < relative_error(lean, exact) < 0.01
    again = features(digits[0][5:15], **how)[0]  # looked up
    np.testing.assert_array_equal(again, lean[5:15])
    assert len(caught) == SLOW_HERE
    assert all("no bfloat16 arithmetic" in message for message in caught)


@pytest.mark.filterwarnings("ignore:this CPU has no bfloat16:UserWarning")
@pytest.mark.parametrize(
    "backbone", [pytest.param("resnet50", marks=pytest.mark.slow), "vgg16"]
)
def test_the_error_on_deep_networks_is_below_a_hundredth(backbone, photographs):
    how = {"backbone": backbone, "weights": None, "input_size": (64, 64)}
    lean, exact, _ = features(photographs[0][::600], **how)
    assert relative_error(lean, exact) < 0.01


@pytest.mark.filterwarnings("ignore:this CPU has no bfloat16:UserWarning")
def test_a_classifier_keeps_to_its_precision(digits):
    X, y = digits[0][:40], digits[1][:40] % 2
    classifier = FineTunedConvNetClassifier(
        "tiny",
        input_range=(0, 16),
        precision="bfloat16",
        head_epochs=2,
        fine_tune_epochs=1,
        early_stopping=False,
        random_state=0,
    ).fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    logits = classifier.decision_function(X)
    np.testing.assert_array_equal(again.decision_function(X), logits)
    classifier.set_params(precision="float32")  # as any parameter, of the next fit only
    np.testing.assert_array_equal(classifier.decision_function(X), logits)
    exact = classifier.fit(X, y).decision_function(X)
    assert 0 < np.abs(exact - logits).max() < 0.1 * np.abs(exact).max()


@pytest.mark.filterwarnings("ignore:this CPU has no bfloat16:UserWarning")
def test_layers_are_trained_in_bfloat16_and_their_weights_kept_in_float32(digits):
    X, y = digits[0][:40], digits[1][:40] % 2
    whole = {"unfreeze": "all", "early_stopping": False, "head_C": 1.0, "random_state": 0}
    lean, exact = (
        FineTunedConvNetClassifier(
            "tiny", input_range=(0, 16), precision=precision, fine_tune_epochs=3, **whole
        ).fit(X, y)
        for precision in ("bfloat16", "float32")
    )
    assert {weight.dtype for weight in lean.model_.weights} == {"float32"}
    losses = [each.history_["loss"] for each in (lean, exact)]
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert losses[0][-1] != losses[1][-1]  # nothing is frozen: it is training that differs
    assert np.abs(lean.predict_proba(X) - exact.predict_proba(X)).max() < 0.05


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\nbugs\t: a", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni\n", False),
        ("", False),
    ],
)
def test_what_linux_says_of_a_cpu(described, expected):
    assert has_bfloat16(described) == expected
