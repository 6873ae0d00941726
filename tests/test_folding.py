import keras
import numpy as np
import pytest
from test_backbones import spec
from test_frozen import relative_error

from sktransfer._networks.folding import foldable_norms, folded
from sktransfer._networks.frozen import load

layers = keras.layers


def stirred(model):
    """With BatchNorm as after training: no scale one, no mean zero, no bias zero."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        low = 0.5 if isinstance(layer, layers.BatchNormalization) else -0.5
        layer.set_weights([rng.uniform(low, 1.5, w.shape) for w in layer.get_weights()])
    return model


def whole(model):
    return folded(model, foldable_norms(model), "float32")


def norms_of(model):
    return [a for a in model.layers if isinstance(a, layers.BatchNormalization)]


def agrees(model):
    batch = np.random.default_rng(1).uniform(-1, 1, (2, 12, 12, 3)).astype(np.float32)
    got, expected = (np.asarray(m(batch, training=False)) for m in (whole(model), model))
    return relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("norm", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "convolution",
    [
        lambda **options: layers.Conv2D(4, 3, strides=2, **options),
        lambda **options: layers.DepthwiseConv2D(3, depth_multiplier=2, **options),
        lambda **options: layers.SeparableConv2D(4, 3, depth_multiplier=2, **options),
    ],
)
def test_batch_norm_becomes_part_of_the_convolution_below(convolution, use_bias, norm):
    below = [keras.Input((12, 12, 3)), convolution(use_bias=use_bias)]
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


def test_what_a_convolution_itself_makes_can_be_asked_for():
    network = load(spec("mobilenet", weights=None, input_size=(32, 32)))
    names = [layer["name"] for layer in network.facts["layers"]]
    chosen = "conv_pw_3", "conv_pw_3_bn", "conv_dw_5", "conv_pw_13_relu"
    cuts = [(names.index(name), None) for name in chosen]
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    together = network.rows(batch, cuts)
    for name, cut, rows in zip(chosen, cuts, together, strict=True):
        [alone] = network.rows(batch, [cut])
        np.testing.assert_array_equal(alone, rows)
        plain = keras.Model(network._model.input, network._model.get_layer(name).output)
        assert relative_error(rows, plain.predict(batch, verbose=0)) < 1e-5


@pytest.mark.parametrize(
    "name", ["mobilenet", "mobilenet_v2", pytest.param("xception", marks=pytest.mark.slow)]
)
def test_any_cuts_together_give_the_bits_that_each_gives_alone(name):
    side = 71 if name == "xception" else 32
    network = load(spec(name, weights=None, input_size=(side, side)))
    single = [i for i, layer in enumerate(network.facts["layers"]) if layer["shape"]]
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    cuts = [(int(i), None) for i in rng.choice(single, 4, replace=False)]
    together = network.rows(batch, cuts)
    for cut, rows in zip(cuts, together, strict=True):
        [alone] = network.rows(batch, [cut])
        np.testing.assert_array_equal(alone, rows)


def test_what_is_folded_does_not_depend_on_the_cuts():
    """A convolution that something above the cut sees as well is not folded into below."""
    inputs = keras.Input((12, 12, 3))
    seen = layers.Conv2D(3, 3, padding="same")(inputs)
    normed = layers.BatchNormalization()(seen)
    model = stirred(keras.Model(inputs, layers.Add()([normed, seen])))
    network = load(spec(model, preprocessing=None))
    names = [layer["name"] for layer in network.facts["layers"]]
    cut, end = (
        (names.index(normed._keras_history.operation.name), None),
        (len(names) - 1, None),
    )
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 12, 12, 3)).astype(np.float32)
    [alone], (together, _) = network.rows(batch, [cut]), network.rows(batch, [cut, end])
    np.testing.assert_array_equal(alone, together)


def test_layers_within_layers_are_as_precise_as_asked():
    inner = keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(8, 3)])
    model = stirred(keras.Sequential([keras.Input((12, 12, 3)), layers.Rescaling(0.5), inner]))
    model = keras.Model(model.inputs[0], model.outputs[0])
    batch = np.random.default_rng(0).uniform(-1, 1, (4, 12, 12, 3)).astype(np.float32)
    exact, lean = (
        np.asarray(m(batch), np.float32) for m in (model, folded(model, (), "bfloat16"))
    )
    assert 1e-4 < relative_error(lean, exact) < 1e-2
