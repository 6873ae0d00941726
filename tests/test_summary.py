from dataclasses import replace

import keras
import pytest
from infos import SIZES, built_info, stored, stored_info, versions

from sktransfer import FineTunedConvNetClassifier
from sktransfer._training.summary import summarize
from sktransfer._training.unfreezing import depths_of


def test_it_tells_what_is_cached_frozen_and_trained():
    summary = FineTunedConvNetClassifier("tiny", unfreeze=(1, 3)).summary()
    states = {layer.name: layer.stages for layer in summary.layers}
    assert states["block1_conv1"] == ("cached",) * 3
    assert states["block2_conv2"] == ("cached", "cached", "trained")
    assert states["block2_pool"] == ("cached", "cached", "frozen")
    assert states["block3_conv2"] == ("cached", "trained", "trained")
    assert states["head"] == ("trained",) * 3
    assert summary.cuts == ("block3_pool", "block3_conv1", "block2_conv1")
    assert summary.trained_parameters == (0, 20784, 20784 + 13872 + 9248)
    assert summary.kept == ()
    assert summary.cached_fractions[0] == 1 > summary.cached_fractions[1] > 0.5
    nothing = FineTunedConvNetClassifier("tiny", unfreeze="all").summary()
    assert nothing.cached_fractions[1] == 0
    assert {layer.stages[1] for layer in nothing.layers} == {"trained", "frozen"}


def test_its_table_holds_each_layer_and_number():
    summary = FineTunedConvNetClassifier("tiny", unfreeze=1).summary()
    lines = str(summary).splitlines()
    assert repr(summary) == str(summary)
    for layer in summary.layers:
        assert any(line.startswith(layer.name) for line in lines)
    [line] = [line for line in lines if line.startswith("block3_conv2")]
    assert line.split() == [
        "block3_conv2",
        "8",
        "×",
        "8",
        "×",
        "48",
        "20,784",
        "cached",
        "trained",
    ]
    [line] = [line for line in lines if line.startswith("parameters trained")]
    assert line.split()[-1] == "20,784"


def test_a_fitted_head_is_counted(digits):
    X, y = digits
    classifier = FineTunedConvNetClassifier(
        "tiny", input_range=(0, 16), hidden_units=(7,), unfreeze=0, head_epochs=1
    )
    assert classifier.summary().layers[-1].parameters is None
    summary = classifier.fit(X[:40], y[:40]).summary()
    head = 4 * 4 * 48 * 7 + 7 + 7 * 10 + 10
    assert summary.layers[-1].parameters == head
    assert summary.trained_parameters == (head,)
    assert summary.kept == (True,)


@pytest.mark.parametrize(
    ("name", "millions"), [("vgg16", 15347), ("mobilenet", 568), ("resnet50", 3858)]
)
def test_multiplications_are_those_of_the_papers(name, millions):
    macs = sum(layer.macs for layer in stored_info(name).layers) / 1e6
    assert macs == pytest.approx(millions, rel=0.01)


QUICK_TO_BUILD = ("mobilenet", "tiny", "vgg16")
EACH_STORED = [
    pytest.param(name, marks=[] if name in QUICK_TO_BUILD else pytest.mark.slow)
    for name in SIZES
]


@pytest.mark.parametrize("name", EACH_STORED)
def test_stored_infos_are_those_of_the_networks(name):
    known, built = stored_info(name), built_info(name)
    if stored(name)["versions"] != versions():
        known = replace(known, fingerprint=built.fingerprint)
    assert built == known


def test_a_cut_that_leaves_almost_nothing_to_cache_is_warned_of():
    inputs = keras.Input((16, 16, 3))
    hidden = inputs
    for i in range(3):
        hidden = keras.layers.Conv2D(8, 3, padding="same", name=f"conv{i}")(hidden)
    hidden = keras.layers.Concatenate()([inputs, hidden])  # past all cuts
    outputs = keras.layers.Conv2D(4, 3, name="last")(hidden)
    classifier = FineTunedConvNetClassifier(
        keras.Model(inputs, outputs), preprocessing=None, unfreeze="conv2"
    )
    with pytest.warns(UserWarning, match=r"stage 1 trains from 'conv2' on.*0% of the work"):
        classifier.summary()
    info = stored_info("tiny")
    summarize(info, depths_of("all", info))  # as asked for: no warning
