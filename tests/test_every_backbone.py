"""Every architecture of `keras.applications`, by its smallest member, at every depth."""

import pickle
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from test_backbones import spec

from sktransfer import FineTunedConvNetClassifier
from sktransfer._networks import frozen as _frozen
from sktransfer._networks import tiny as _tiny
from sktransfer._networks.facts import position_of
from sktransfer._networks.source import FAMILIES
from sktransfer._training.unfreezing import depths_of

# The smallest member of each, and a block near its top to be unfrozen.
ARCHITECTURES = {
    "convnext_tiny": "convnext_tiny_stage_3_block_2",
    "densenet121": "conv5_block15",
    "efficientnet_b0": "block6d",
    "efficientnet_v2_b0": "block6g",
    "inception_resnet_v2": "block8_9",
    "inception_v3": "mixed9",
    "mobilenet": "conv_dw_12",
    "mobilenet_v2": "block_15",
    "mobilenet_v3_small": "expanded_conv_9",
    "nasnet_mobile": "normal_concat_11",
    "resnet50": "conv5_block3",
    "resnet50_v2": "conv5_block3",
    "tiny": "block3",
    "vgg16": "block5",
    "vgg19": "block5",
    "xception": "block13",
}
SMALLEST = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}  # 32 pixels else
SLOW = {  # to build, most of them; VGG19 is VGG16's like
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet_v2",
    "nasnet_mobile",
    "resnet50",
    "resnet50_v2",
    "vgg19",
    "xception",
}
QUICK_TO_TRAIN = {"tiny"}
NASNETS_CUT = "ignore:stage . trains from .*'stem_bn1'. 2% of the work:UserWarning"


def with_slow(slow):
    marks = [pytest.mark.slow]
    return [pytest.param(name, marks=marks if name in slow else []) for name in ARCHITECTURES]


def each_backbone(slow=SLOW):
    return pytest.mark.parametrize("backbone", with_slow(slow), indirect=True, scope="module")


@pytest.fixture(scope="module")
def backbone(request, tmp_path_factory):
    """A network by its name, and the same by plain Keras, both from one file of weights."""
    name, size = request.param, SMALLEST.get(request.param, 32)
    plain = plain_keras(name, size)
    randomize(plain)
    settle(plain, spec(name).preprocess(pictures(16, (size, size), seed=0)))
    weights = tmp_path_factory.mktemp(name) / "random.weights.h5"
    plain.save_weights(weights)
    plain.load_weights(weights)  # from which Normalization derives what it computes with
    parameters = {"weights": weights, "input_size": (size, size)}
    network = _frozen.load(spec(name, **parameters))
    return SimpleNamespace(name=name, plain=plain, parameters=parameters, network=network)


def plain_keras(name, size):
    if name == "tiny":
        return _tiny.build((size, size, 3))
    constructor = getattr(keras.applications, FAMILIES[name].constructor)
    return constructor(include_top=False, weights=None, input_shape=(size, size, 3))


def randomize(model):
    """Give all scales, shifts and statistics values that no new network has.

    Shifts are positive: random networks whose rectifiers are half closed multiply errors of
    rounding by a hundred and more.
    """
    ranges = {"gamma": (0.5, 1.5), "variance": (0.5, 1.5), "beta": (1, 2)}
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            low, high = ranges.get(weight.name.removeprefix("moving_"), (-0.2, 0.2))
            weight.assign(rng.uniform(low, high, weight.shape))


def settle(model, images):
    """Give BatchNorm the statistics of some images: else what comes out is one constant."""
    layers = model._flatten_layers()
    norms = [part for part in layers if isinstance(part, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def pictures(n, size, seed):
    """Images of coarse blocks, which differ in more than noise, as photographs do."""
    blocks = np.random.default_rng(seed).uniform(0, 255, (n, 4, 4, 3)).astype(np.float32)
    height, width = size
    return blocks.repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)[:, :height, :width]


def test_every_module_of_keras_applications_is_tested():
    def modules(names):
        families = [FAMILIES[name] for name in names if name != "tiny"]
        return {getattr(keras.applications, f.constructor).__module__ for f in families}

    assert modules(ARCHITECTURES) == modules(FAMILIES)


@each_backbone()
def test_it_computes_what_plain_keras_computes(backbone):
    network, plain = backbone.network, backbone.plain
    batch = spec(backbone.name).preprocess(pictures(3, network.facts["input_size"], seed=1))
    layers, output = network.facts["layers"], network.facts["output"]
    folded = [i for i in range(len(layers)) if network._is_folded_into(i)]
    some = [i for i in range(len(layers)) if i not in folded]
    some += folded[:: len(folded) // 2 + 1]  # few, since each takes a pass of its own
    tensors = [plain.operations[i].output for i in some]
    expected = keras.Model(plain.input, tensors).predict(batch, verbose=0)
    cuts = [*((i, None) for i in some), (output, "avg")]
    *rows, pooled = network.rows(batch, cuts)
    for i, got, wanted in zip(some, rows, expected, strict=True):
        assert list(got.shape[1:]) == layers[i]["shape"] == list(wanted.shape[1:])
        assert relative_error(got, wanted) < 1e-5, layers[i]["name"]
    last = expected[some.index(output)]
    assert relative_error(last[::-1], last) > 0.01  # it depends on the image
    assert relative_error(pooled, last.mean(axis=(1, 2))) < 1e-5


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


@each_backbone()
def test_every_layer_can_be_cut_at_and_unfrozen_from(backbone):
    facts = backbone.network.facts
    names = [layer["name"] for layer in facts["layers"]]
    assert len(set(names)) == len(names)
    for i, name in enumerate(names):
        assert position_of(facts, name) == i
        (_, output), (first, cut) = depths_of(name, facts)
        assert first == max(i, 1)
        assert cut < first <= output == position_of(facts, None)
    assert facts["below_top"] is None
    assert depths_of(ARCHITECTURES[backbone.name], facts)[1][0] > len(names) / 2


@each_backbone()
def test_numbers_of_parameters_are_those_of_plain_keras(backbone):
    layers, plain = backbone.network.facts["layers"], backbone.plain
    assert sum(layer["parameters"] for layer in layers) == plain.count_params()
    norms = [x for x in plain.layers if isinstance(x, keras.layers.BatchNormalization)]
    plain.trainable = True
    for norm in norms:
        norm.trainable = False
    trainable = sum(int(np.prod(weight.shape)) for weight in plain.trainable_weights)
    assert sum(layer["trainable"] for layer in layers) == trainable


class ChangedLayers(keras.callbacks.Callback):
    """Notes which layers each stage of training changes, in a list that copies share."""

    noted = []  # noqa: RUF012

    def on_train_begin(self, logs=None):
        self.before = {layer.name: layer.get_weights() for layer in self.model.layers}

    def on_train_end(self, logs=None):
        self.noted.append(
            {
                layer.name
                for layer in self.model.layers
                for then, now in zip(self.before[layer.name], layer.get_weights(), strict=True)
                if not np.array_equal(then, now)
            }
        )


def fine_tuned(backbone, unfreeze, **parameters):
    """A classifier fitted to images of blocks, every stage of it kept, and those images."""
    X = pictures(8, backbone.network.facts["input_size"], seed=1)
    classifier = FineTunedConvNetClassifier(
        backbone.name,
        **backbone.parameters,
        **parameters,
        unfreeze=unfreeze,
        augmentation=None,
        head_C=0.1,
        fine_tune_epochs=2,
        fine_tune_learning_rate=1e-4,  # more would close MobileNet's rectifiers
        early_stopping=False,
        random_state=0,
    )
    return classifier.fit(X, np.arange(8) % 2), X


@pytest.mark.filterwarnings(NASNETS_CUT)
@each_backbone(slow=ARCHITECTURES.keys() - QUICK_TO_TRAIN)
def test_each_stage_trains_what_summary_says_and_the_fit_is_stored(backbone):
    ChangedLayers.noted.clear()
    unfreeze = (0, 1, 3, ARCHITECTURES[backbone.name], 0.5, "all")
    classifier, X = fine_tuned(backbone, unfreeze, keras_callbacks=[ChangedLayers()])
    operations = _frozen.load(spec(backbone.name, **backbone.parameters))._model.operations
    layers = classifier.summary().layers[:-1]
    for stage, changed in enumerate(ChangedLayers.noted, 1):
        pairs = zip(operations, layers, strict=True)
        trained = {part.name for part, layer in pairs if layer.stages[stage] == "trained"}
        assert changed & {part.name for part in operations} == trained, stage
    assert len(ChangedLayers.noted) == 5
    logits = classifier.decision_function(X)
    stored = pickle.dumps(classifier)
    _frozen._networks.clear()  # what is loaded stands on its own
    np.testing.assert_array_equal(pickle.loads(stored).decision_function(X), logits)


@pytest.mark.filterwarnings(NASNETS_CUT)
@each_backbone(slow=ARCHITECTURES.keys() - QUICK_TO_TRAIN)
def test_a_fitted_network_is_the_original_but_for_what_was_trained(backbone):
    """To the bit: so is what lies below the cut, and every BatchNorm."""
    classifier, _ = fine_tuned(backbone, ARCHITECTURES[backbone.name])
    layers = classifier.summary().layers[:-1]
    operations = classifier.model_.operations[: len(layers)]
    for layer, now, then in zip(layers, operations, backbone.plain.operations, strict=True):
        assert weights_equal(now, then) == ("trained" not in layer.stages), layer.name
    frozen = _frozen.load(spec(backbone.name, **backbone.parameters))._model
    assert weights_equal(frozen, backbone.plain)


def weights_equal(part, other):
    """To the bit; what has no weights is equal."""
    if not hasattr(part, "get_weights"):
        return not hasattr(other, "get_weights")
    pairs = zip(part.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


TWICE = """
import sys
import numpy as np
from sktransfer import PretrainedFeatureTransformer
X = np.random.default_rng(0).integers(0, 256, (7, 80, 80, 3), dtype=np.uint8)
features = {
    name: PretrainedFeatureTransformer(
        name, weights=None, input_size=(75, 75), cache_dir=None
    ).transform(X)
    for name in sys.argv[2:]
}
np.savez(sys.argv[1], **features)
"""


@pytest.mark.slow
def test_two_processes_without_a_cache_make_the_same_bits(tmp_path):
    files = [tmp_path / "first.npz", tmp_path / "second.npz"]
    for file in files:
        subprocess.run([sys.executable, "-c", TWICE, file, *ARCHITECTURES], check=True)
    first, second = map(np.load, files)
    for name in ARCHITECTURES:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
