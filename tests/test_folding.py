import keras
import numpy as np
import pytest
from architectures import smallest_size
from networks import network, relative_error

from sktransfer._networks.build import unpack
from sktransfer._networks.folding import Prefix, foldable_norms
from sktransfer._networks.info import Cut
from sktransfer._networks.preprocessing import ARITHMETIC

layers = keras.layers


def stirred(model):
    """With BatchNorm as after training: no scale one, no mean zero, no bias zero."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        low = 0.5 if isinstance(layer, layers.BatchNormalization) else -0.5
        layer.set_weights([rng.uniform(low, 1.5, w.shape) for w in layer.get_weights()])
    return model


def whole(model, precision="float32"):
    prefix = Prefix(model, frozenset(foldable_norms(model)), ARITHMETIC[None], "float32")
    return prefix.from_pixels(precision)


def norms_of(model):
    return {
        part for part in model._flatten_layers() if isinstance(part, layers.BatchNormalization)
    }


def agrees(model):
    batch = np.random.default_rng(1).uniform(-1, 1, (2, 12, 12, 3)).astype(np.float32)
    got, expected = (
        keras.ops.convert_to_numpy(m(batch, training=False)) for m in (whole(model), model)
    )
    return relative_error(got, expected) < 1e-5


CONVOLUTIONS = {
    "full": lambda **options: layers.Conv2D(4, 3, strides=2, **options),
    "depthwise": lambda **options: layers.DepthwiseConv2D(3, depth_multiplier=2, **options),
    "separable": lambda **options: layers.SeparableConv2D(4, 3, depth_multiplier=2, **options),
}
NORMS = ({}, {"scale": False}, {"center": False, "epsilon": 0.1})
EACH_PAIR = [  # of convolution, use_bias and norm
    (convolution, (i + j) % 2 == 0, norm)
    for i, convolution in enumerate(CONVOLUTIONS)
    for j, norm in enumerate(NORMS)
]


@pytest.mark.parametrize(("convolution", "use_bias", "norm"), EACH_PAIR)
def test_batch_norm_becomes_part_of_the_convolution_below(convolution, use_bias, norm):
    below = [keras.Input((12, 12, 3)), CONVOLUTIONS[convolution](use_bias=use_bias)]
    x = keras.Sequential([*below, layers.BatchNormalization(**norm), layers.ReLU()])
    model = stirred(keras.Model(x.inputs[0], x.outputs[0]))
    before = model.get_weights()
    assert len(norms_of(model)) == 1
    assert not norms_of(whole(model))
    assert agrees(model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_stays_where_something_else_sees_the_convolution():
    inputs = keras.Input((12, 12, 3))
    activated = layers.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    after_relu = layers.BatchNormalization()(activated)
    twice = layers.Conv2D(3, 3, padding="same")
    shared = layers.BatchNormalization()(twice(twice(after_relu)))
    seen = layers.Conv2D(3, 3, padding="same")(shared)
    sum_ = layers.Add()([layers.BatchNormalization()(seen), seen])
    same = layers.BatchNormalization()
    again = same(layers.Conv2D(3, 3)(same(layers.Conv2D(3, 3, padding="same")(sum_))))
    model = stirred(keras.Model(inputs, again))
    assert foldable_norms(model) == {}
    assert len(norms_of(whole(model))) == 4
    assert agrees(model)


CHOSEN = ("conv_pw_3", "conv_pw_3_bn", "conv_dw_5", "conv_pw_7_relu")


@pytest.mark.parametrize(
    ("name", "chosen", "n_drawn"),
    [
        ("mobilenet", CHOSEN, 1),
        ("mobilenet_v2", (), 3),
        pytest.param("xception", (), 4, marks=pytest.mark.slow),
    ],
)
def test_any_cuts_together_give_the_bits_that_each_gives_alone(name, chosen, n_drawn):
    """Those right at a convolution into which a BatchNorm is folded elsewhere as well."""
    size = smallest_size(name)
    frozen = network(name, weights=None, size=size)
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (4, *size, 3)).astype(np.float32)
    single = [i for i, layer in enumerate(frozen.info.layers) if layer.shape]
    cuts = [frozen.info.cut_at(layer) for layer in chosen]
    cuts += [Cut(int(i)) for i in rng.choice(single, n_drawn, replace=False)]
    together = frozen.rows(batch, cuts)
    for cut, rows in zip(cuts, together, strict=True):
        [alone] = frozen.rows(batch, [cut])
        np.testing.assert_array_equal(alone, rows)
    if chosen:
        plain = unpack(frozen.pack())
        outputs = [plain.get_layer(layer).output for layer in chosen]
        expected = keras.Model(plain.input, outputs)(batch, training=False)
        for rows, wanted in zip(together[: len(chosen)], expected, strict=True):
            assert relative_error(rows, wanted) < 1e-5


def test_what_is_folded_does_not_depend_on_the_cuts():
    """A convolution that something above the cut sees as well is not folded into below."""
    inputs = keras.Input((12, 12, 3))
    seen = layers.Conv2D(3, 3, padding="same")(inputs)
    normed = layers.BatchNormalization()(seen)
    model = stirred(keras.Model(inputs, layers.Add()([normed, seen])))
    frozen = network(model)
    cut = frozen.info.cut_at(normed._keras_history.operation.name)
    end = frozen.info.cut_at(None)
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 12, 12, 3)).astype(np.float32)
    [alone], (together, _) = frozen.rows(batch, [cut]), frozen.rows(batch, [cut, end])
    np.testing.assert_array_equal(alone, together)


def test_layers_within_layers_are_as_precise_as_asked():
    inner = keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(8, 3)])
    model = stirred(keras.Sequential([keras.Input((12, 12, 3)), layers.Rescaling(0.5), inner]))
    model = keras.Model(model.inputs[0], model.outputs[0])
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 12, 12, 3)).astype(np.float32)
    in_half_precision = whole(model, "bfloat16")
    exact, lean = (keras.ops.cast(m(batch), "float32") for m in (model, in_half_precision))
    assert 1e-4 < relative_error(lean, exact) < 1e-2
