"""Every architecture of `keras.applications`, by its smallest member, at every depth."""

import pickle
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from architectures import ARCHITECTURES, smallest_size
from memory import forget_networks
from networks import network, prepared, relative_error

from sktransfer import FineTunedConvNetClassifier
from sktransfer._networks import tiny
from sktransfer._networks.build import unpack
from sktransfer._networks.catalogue import FAMILIES
from sktransfer._networks.folding import foldable_norms
from sktransfer._networks.info import Cut
from sktransfer._networks.source import source_of
from sktransfer._training.unfreezing import depths_of

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
    name, size = request.param, smallest_size(request.param)
    plain = plain_keras(name, size)
    randomize(plain)
    settle(plain, preprocessed(name, pictures(16, size, seed=0)))
    weights = tmp_path_factory.mktemp(name) / "random.weights.h5"
    plain.save_weights(weights)
    plain.load_weights(weights)  # from which Normalization derives what it computes with
    parameters = {"weights": weights, "input_size": size}
    frozen = network(name, weights, size=size)
    return SimpleNamespace(name=name, plain=plain, parameters=parameters, network=frozen)


def plain_keras(name, size):
    if name == "tiny":
        return tiny.build((*size, 3))
    constructor = getattr(keras.applications, FAMILIES[name].constructor)
    return constructor(include_top=False, weights=None, input_shape=(*size, 3))


def preprocessed(name, pixels):
    return prepared(source_of(name).own_preprocessing(), pixels)


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
    plain, info = backbone.plain, backbone.network.info
    batch = preprocessed(backbone.name, pictures(3, info.input_size, seed=1))
    convolutions = foldable_norms(plain)
    folded = [i for i, o in enumerate(plain.operations) if o.name in convolutions]
    some = [i for i in range(len(info.layers)) if i not in folded]
    some += folded[:: len(folded) // 2 + 1]  # few, since each takes a pass of its own
    tensors = [plain.operations[i].output for i in some]
    outputs = keras.Model(plain.input, tensors)(batch, training=False)
    expected = [keras.ops.convert_to_numpy(output) for output in outputs]
    cuts = [*map(Cut, some), info.cut_at(None, "avg")]
    *rows, pooled = backbone.network.rows(batch, cuts)
    for i, got, wanted in zip(some, rows, expected, strict=True):
        assert got.shape[1:] == info.layers[i].shape == wanted.shape[1:]
        assert relative_error(got, wanted) < 1e-5, info.layers[i].name
    last = expected[some.index(info.output)]
    assert relative_error(last[::-1], last) > 0.01  # it depends on the image
    assert relative_error(pooled, last.mean(axis=(1, 2))) < 1e-5


@each_backbone()
def test_every_layer_can_be_cut_at_and_unfrozen_from(backbone):
    info = backbone.network.info
    names = [layer.name for layer in info.layers]
    assert len(set(names)) == len(names)
    for i, name in enumerate(names):
        assert info.cut_at(name) == Cut(i)
        head, depth = depths_of(name, info)
        assert depth.first_trainable == max(i, 1)
        assert depth.cut.position < depth.first_trainable <= info.output
        assert head.cut == info.cut_at(None) == Cut(info.output)
    assert info.below_top is None
    block = ARCHITECTURES[backbone.name]
    assert depths_of(block, info)[1].first_trainable > len(names) / 2


@each_backbone()
def test_numbers_of_parameters_are_those_of_plain_keras(backbone):
    layers, plain = backbone.network.info.layers, backbone.plain
    assert sum(layer.n_parameters for layer in layers) == plain.count_params()
    norms = [x for x in plain.layers if isinstance(x, keras.layers.BatchNormalization)]
    plain.trainable = True
    for norm in norms:
        norm.trainable = False
    trainable = sum(int(np.prod(weight.shape)) for weight in plain.trainable_weights)
    assert sum(layer.n_trainable for layer in layers) == trainable


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
    X = pictures(8, backbone.network.info.input_size, seed=1)
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
    operations = unpack(backbone.network.pack()).operations  # named as in training
    layers = classifier.summary().layers[:-1]
    for stage, changed in enumerate(ChangedLayers.noted, 1):
        pairs = zip(operations, layers, strict=True)
        trained = {part.name for part, layer in pairs if layer.stages[stage] == "trained"}
        assert changed & {part.name for part in operations} == trained, stage
    assert len(ChangedLayers.noted) == 5
    logits = classifier.decision_function(X)
    stored = pickle.dumps(classifier)
    forget_networks()  # what is loaded stands on its own
    np.testing.assert_array_equal(pickle.loads(stored).decision_function(X), logits)


@pytest.mark.filterwarnings(NASNETS_CUT)
@each_backbone(slow=ARCHITECTURES.keys() - QUICK_TO_TRAIN)
def test_a_fitted_network_is_the_original_but_for_what_was_trained(backbone):
    """To the bit: so is what lies below the cut, and every BatchNorm."""
    classifier, _ = fine_tuned(backbone, ARCHITECTURES[backbone.name])
    *layers, _ = [layer for layer in classifier.summary().layers if layer.parameters]
    models = classifier.model_, backbone.plain
    now, then = ([layer for layer in model.layers if layer.weights] for model in models)
    for layer, *pair in zip(layers, now[:-1], then, strict=True):
        assert weights_equal(*pair) == ("trained" not in layer.stages), layer.name
    weights = zip(backbone.network.pack().weights, backbone.plain.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in weights)


def weights_equal(part, other):
    """To the bit."""
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
