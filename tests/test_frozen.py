import fnmatch
import gc
import multiprocessing
import pickle
import random
import re
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from agreement import assert_same_features
from architectures import smallest_size
from memory import forget_networks
from networks import LARGEST_BATCH, network, relative_error

from sktransfer import (
    BackboneError,
    FineTunedConvNetClassifier,
    ForkedProcessError,
    PretrainedFeatureTransformer,
)
from sktransfer._networks.build import unpack
from sktransfer._networks.catalogue import FAMILIES
from sktransfer._networks.engines import ENGINES
from sktransfer._networks.engines.keras import KerasEngine
from sktransfer._networks.fingerprint import fingerprint
from sktransfer._networks.frozen import MAX_FUNCTIONS
from sktransfer._networks.info import Cut
from sktransfer._runtime.backend import keras_backend, weights_folder


def small_network(seed=0, size=(12, 12)):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, 3))
    hidden = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Conv2D(5, 3, name="second")(hidden)
    return keras.Model(inputs, hidden)


def test_pooling_is_over_all_positions():
    tiny = network()
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    cuts = [tiny.info.cut_at(None, pooling) for pooling in (None, "avg", "max")]
    rows, average, maximum = tiny.rows(batch, cuts)
    np.testing.assert_allclose(average, rows.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maximum, rows.max(axis=(1, 2)))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("mobilenet", None), ("resnet50", None), ("tiny", None), ("vgg16", "block4_pool")],
)
def test_other_images_in_a_batch_change_nothing(name, layer):
    frozen = network(name, weights=None, size=(64, 64))
    cut = [frozen.info.cut_at(layer)]
    shape = (LARGEST_BATCH, 64, 64, 3)
    batch = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    [together] = frozen.rows(batch, cut)
    np.testing.assert_array_equal(frozen.rows(batch, cut)[0], together)
    [backwards] = frozen.rows(batch[::-1], cut)
    assert_same_features(backwards, together[::-1])
    for i in range(LARGEST_BATCH):
        [alone] = frozen.rows(batch[i : i + 1], cut)
        assert_same_features(alone[0], together[i])


def test_random_weights_are_the_same_every_time():
    first = network("mobilenet", weights=None, size=(64, 64)).info
    forget_networks()
    assert network("mobilenet", weights=None, size=(64, 64)).info == first


def test_many_cuts_are_neither_confused_nor_all_held(monkeypatch):
    held = weakref.WeakSet()  # functions that the network has compiled and not let go

    class Watched(KerasEngine):
        def compile(self, prefix, precision):
            function = super().compile(prefix, precision)
            held.add(function)
            return function

    monkeypatch.setitem(ENGINES, "watched", Watched())
    tiny = network(weights=None, size=(32, 32))
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    cuts = [Cut(position) for position in range(1, tiny.info.output + 1)]
    first = [tiny.rows(batch, [cut], engine="watched")[0] for cut in cuts]
    for cut, rows in zip(cuts, first, strict=True):
        np.testing.assert_array_equal(tiny.rows(batch, [cut], engine="watched")[0], rows)
    gc.collect()
    assert 0 < len(held) <= MAX_FUNCTIONS < len(cuts)


def test_layers_are_named_as_in_a_fresh_process():
    for _ in range(2):
        small_network()  # which moves Keras' counters on
    info = network("inception_v3", weights=None, size=(75, 75)).info
    names = [layer.name for layer in info.layers]
    assert len(set(names)) == len(names)
    assert {"conv2d", "conv2d_93", "batch_normalization_93", "mixed10"} <= set(names)
    assert "conv2d_94" not in names


def test_building_leaves_no_trace_in_global_state():
    random.seed(5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_floatx("float16")
    try:
        before = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
        tiny = network(weights=None, size=(20, 20))
        cut = tiny.info.cut_at(None, "avg")
        [rows] = tiny.rows(np.ones((1, 20, 20, 3), np.float32), [cut])
        assert random.getstate() == before[0]
        np.testing.assert_equal(np.random.get_state(legacy=False), before[1])  # noqa: NPY002
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.config.floatx() == "float16"
        assert rows.dtype == np.float32
        model = unpack(tiny.pack())
        assert {v.dtype for v in (*model.weights, *model.inputs)} == {"float32"}
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")


def test_the_fingerprint_follows_weights_and_architecture_but_not_names():
    model = small_network()
    mine = fingerprint(model, (12, 12))
    assert fingerprint(small_network(), (12, 12)) == mine
    assert fingerprint(small_network(seed=1), (12, 12)) != mine
    assert fingerprint(small_network(size=(13, 13)), (13, 13)) != mine


def test_the_fingerprint_follows_code_of_layers_within_layers():
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    def nested():
        first = keras.Input((12, 12, 3), name="first")
        inside = keras.Sequential([first, Doubling(name="own")])
        inputs = keras.Input((12, 12, 3))
        return keras.Model(inputs, inside(inputs))

    doubled = fingerprint(nested(), (12, 12))
    assert fingerprint(nested(), (12, 12)) == doubled
    Doubling.call = lambda self, x: 3 * x
    assert fingerprint(nested(), (12, 12)) != doubled


def features(model, X, **parameters):
    parameters = {"preprocessing": "rescale", **parameters}
    return PretrainedFeatureTransformer(model, **parameters).fit_transform(X)


RGB = np.random.default_rng(1).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)


def test_a_layer_named_after_its_activation_does_not_hide_it():
    def activated(activation):
        keras.utils.set_random_seed(0)
        layers = [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(4, 3, name="first"),
            keras.layers.Activation(activation, name=activation),
        ]
        return keras.Sequential(layers)

    relu, tanh = activated("relu"), activated("tanh")
    prints = (fingerprint(keras.Model(n.inputs, n.outputs), (12, 12)) for n in (relu, tanh))
    assert len(set(prints)) == 2
    assert not np.array_equal(features(relu, RGB), features(tanh, RGB))


@pytest.mark.parametrize("size", [12, None])
def test_a_network_within_a_network(size):
    inside = keras.Input((size, size, 3))
    base = keras.Model(inside, keras.layers.Conv2D(4, 3)(inside), name="base")
    outside = keras.Input((12, 12, 3))
    model = keras.Model(outside, keras.layers.ReLU(name="end")(base(outside)))
    expected = keras.ops.convert_to_numpy(base(RGB / np.float32(255))).reshape(5, -1)
    assert relative_error(features(model, RGB, layer="base"), expected) < 1e-5
    assert relative_error(features(model, RGB), np.maximum(expected, 0)) < 1e-5
    fitted = FineTunedConvNetClassifier(
        model,
        preprocessing="rescale",
        unfreeze=1,
        head_epochs=2,
        fine_tune_epochs=2,
        early_stopping=False,
        random_state=0,
    ).fit(RGB, [0, 1, 0, 1, 0])
    expected = keras.ops.convert_to_numpy(fitted.model_(RGB))
    np.testing.assert_allclose(fitted.predict_proba(RGB), expected, atol=1e-4)


@pytest.mark.parametrize(
    "noise",
    [
        keras.layers.GaussianNoise(0.1),
        keras.layers.AlphaDropout(0.1),
        keras.layers.RandomFlip(),
    ],
)
def test_random_layers_begin_each_fit_alike(noise):
    layers = [keras.Input((12, 12, 3)), keras.layers.Conv2D(4, 3), noise]
    classifier = FineTunedConvNetClassifier(
        keras.Sequential([*layers, keras.layers.Conv2D(4, 3)]),
        preprocessing="rescale",
        unfreeze="all",
        augmentation=None,
        head_epochs=2,
        fine_tune_epochs=3,
        early_stopping=False,
        fine_tune_learning_rate=1e-2,
        random_state=0,
    )
    first, again = (
        classifier.fit(RGB, [0, 1, 0, 1, 0]).decision_function(RGB) for _ in range(2)
    )
    np.testing.assert_array_equal(again, first)


def test_a_layer_used_twice():
    inputs, relu = keras.Input((12, 12, 3)), keras.layers.ReLU(name="relu")
    hidden = relu(keras.layers.Conv2D(4, 3, name="low")(inputs))
    model = keras.Model(inputs, relu(keras.layers.Conv2D(5, 3, name="high")(hidden)))
    expected = model.predict(RGB / 255, verbose=0).reshape(5, -1)
    assert relative_error(features(model, RGB), expected) < 1e-5
    assert features(model, RGB, layer="high", pooling="avg").shape == (5, 5)
    higher = keras.Model(inputs, keras.layers.Conv2D(6, 3)(model.output))
    with pytest.raises(BackboneError, match=r"'relu' .* the nearest that has one: 'low'"):
        features(higher, RGB, layer="relu")


def test_layers_with_state_of_their_own_are_copied_with_it(tmp_path):
    normalization = keras.layers.Normalization()
    normalization.adapt(RGB / 255.0)
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), normalization, keras.layers.AveragePooling2D(3)]
    )
    model.save(tmp_path / "mine.keras")
    expected = model.predict(RGB / 255, verbose=0).reshape(5, -1)
    transformer = PretrainedFeatureTransformer(model, preprocessing="rescale")
    for way in (
        transformer,
        pickle.loads(pickle.dumps(transformer)),
        PretrainedFeatureTransformer(tmp_path / "mine.keras", preprocessing="rescale"),
    ):
        assert relative_error(way.fit_transform(RGB), expected) < 1e-5


def test_the_code_of_a_layer_of_the_users_own_counts():
    def scaling(factor):
        class Scale(keras.layers.Layer):
            def call(self, x):
                return x * 2 if factor == 2 else x * 3

        class Other(keras.layers.Layer):
            def call(self, x):
                return x * 3

        layer = Scale(name="scale") if factor == 2 else Other(name="scale")
        type(layer).__name__ = "Scale"
        return keras.Sequential([keras.Input((12, 12, 3)), layer])

    two, three = features(scaling(2), RGB), features(scaling(3), RGB)
    np.testing.assert_allclose(three, two * 1.5, rtol=1e-5)


SCALING = {  # ways to write code of one's own, of which a file tells but the name
    "method": """
@keras.saving.register_keras_serializable("theirs")
class Scale(keras.layers.Layer):
    def call(self, x): return x * FACTOR
last = Scale()
""",
    "attribute": """
@keras.saving.register_keras_serializable("theirs")
class Scale(keras.layers.Layer):
    factor = FACTOR
    def call(self, x): return x * self.factor
last = Scale()
""",
    "static method": """
@keras.saving.register_keras_serializable("theirs")
class Scale(keras.layers.Layer):
    @staticmethod
    def scaled(x): return x * FACTOR
    def call(self, x): return self.scaled(x)
last = Scale()
""",
    "helper": """
def scaled(x, factor=FACTOR): return x * factor
@keras.saving.register_keras_serializable("theirs")
class Scale(keras.layers.Layer):
    def call(self, x): return scaled(x)
last = Scale()
""",
    "activation": """
@keras.saving.register_keras_serializable("theirs")
def scaled(x): return x * FACTOR
last = keras.layers.Activation(scaled)
""",
}


FORMS = ("model", "pickle", "file")
EACH_PAIR = [  # of way, form and restarted
    (way, form, (i + j) % 2 == 1)
    for i, way in enumerate(SCALING)
    for j, form in enumerate(FORMS)
]


@pytest.mark.parametrize(("way", "form", "restarted"), EACH_PAIR)
def test_code_of_the_users_own_counts_wherever_it_is(way, form, restarted, tmp_path):
    path, made = tmp_path / "scaled.keras", []
    for factor in ("2.0", "3.0"):
        code = SCALING[way].replace("FACTOR", factor)
        exec(code, names := {"keras": keras, "__name__": "theirs"})
        model = keras.Sequential([keras.Input((12, 12, 3)), names["last"]])
        transformer = PretrainedFeatureTransformer(model, preprocessing="rescale")
        if not made:  # a file and a pickle are what they were, whatever the code is now
            model.save(path)
            pickled = pickle.dumps(transformer)
        if form == "file":
            transformer.set_params(backbone=path)
        if form == "pickle":
            transformer = pickle.loads(pickled)
        if restarted:
            forget_networks()  # as in a new process
        made.append(transformer.fit_transform(RGB))
    np.testing.assert_allclose(made[1], made[0] * 1.5, rtol=1e-5)


def test_code_of_the_users_own_is_kept_and_looked_up(tmp_path):
    path = tmp_path / "scaled.keras"
    exec(SCALING["method"].replace("FACTOR", "2.0"), names := {"keras": keras})
    keras.Sequential([keras.Input((12, 12, 3)), names["last"]]).save(path)
    first = features(path, RGB)
    before = PretrainedFeatureTransformer().cache_info().misses
    forget_networks()
    np.testing.assert_array_equal(features(path, RGB), first)
    assert PretrainedFeatureTransformer().cache_info().misses == before


IN_DOUBLE = pytest.param(
    "float64", marks=pytest.mark.skipif(keras_backend() == "jax", reason="JAX has no float64")
)


@pytest.mark.parametrize("policy", ["mixed_float16", IN_DOUBLE])
def test_rows_are_float32_and_kept_whatever_the_networks_policy(policy):
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, dtype=policy)(inputs))
    transformer = PretrainedFeatureTransformer(model, preprocessing="rescale")
    first = transformer.fit_transform(RGB)
    misses = transformer.cache_info().misses
    np.testing.assert_array_equal(transformer.fit_transform(RGB), first)
    assert transformer.cache_info().misses == misses
    assert first.dtype == np.float32


def test_freezing_a_model_changes_no_key():
    model = small_network()
    first = features(model, RGB)
    transformer = PretrainedFeatureTransformer(model, preprocessing="rescale")
    misses = transformer.cache_info().misses
    model.trainable = False
    np.testing.assert_array_equal(transformer.fit_transform(RGB), first)
    assert transformer.cache_info().misses == misses


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "mine.keras"
    path.write_bytes(b"no network")
    with pytest.raises(BackboneError, match=r"mine\.keras"):
        features(path, RGB)


def test_a_users_model_is_copied_and_never_changed():
    model = small_network()
    before = [w.copy() for w in model.get_weights()]
    transformer = PretrainedFeatureTransformer(model, preprocessing=None, pooling="avg")
    X = np.random.default_rng(0).uniform(0, 255, (5, 12, 12, 3))
    features = transformer.fit_transform(X)
    assert model.trainable
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    model.set_weights([w + 1 for w in before])
    assert not np.array_equal(transformer.transform(X), features)
    model.set_weights(before)
    np.testing.assert_array_equal(transformer.transform(X), features)


def test_layers_of_the_users_own_keep_their_names_though_another_network_is_alike():
    for model in (small_network(), small_network()):  # whose unnamed layers are numbered on
        names = [operation.name for operation in model.operations]
        assert [layer.name for layer in network(model).info.layers] == names
        [norm] = [name for name in names if name.startswith("batch")]
        assert features(model, RGB, layer=norm, pooling="avg").shape == (5, 4)


def test_a_users_model_pickles_as_configuration_and_arrays():
    transformer = PretrainedFeatureTransformer(small_network(), preprocessing=None)
    X = np.random.default_rng(0).uniform(0, 255, (5, 12, 12, 3))
    loaded = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(loaded.fit_transform(X), transformer.fit_transform(X))
    assert loaded.cache_info().misses == 5
    assert isinstance(transformer.backbone, keras.Model)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_file_of_the_users_own_is_a_backbone(tmp_path, kind):
    model = small_network()
    if kind == "sequential":
        model = keras.Sequential(
            [keras.Input((12, 12, 3)), keras.layers.Conv2D(4, 3, name="second")]
        )
    path = tmp_path / "mine.keras"
    model.save(path)
    X = np.random.default_rng(0).uniform(0, 255, (5, 12, 12, 3)).astype(np.float32)
    for layer in (None, "second"):
        transformer = PretrainedFeatureTransformer(path, preprocessing="rescale", layer=layer)
        expected = model.predict(X / 255, verbose=0).reshape(5, -1)
        assert relative_error(transformer.fit_transform(X), expected) < 1e-5
    by_object = PretrainedFeatureTransformer(model, preprocessing="rescale")
    np.testing.assert_array_equal(by_object.transform(X), transformer.transform(X))


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "mine.weights.h5"
    unpack(network("tiny").pack()).save_weights(path)
    X = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    got = PretrainedFeatureTransformer("tiny", weights=path).fit_transform(X)
    np.testing.assert_array_equal(got, PretrainedFeatureTransformer("tiny").fit_transform(X))
    path.write_bytes(b"no weights")
    with pytest.raises(BackboneError, match=r"mine\.weights\.h5"):
        PretrainedFeatureTransformer("tiny", weights=path).fit(X)


@pytest.fixture
def no_network(monkeypatch):
    """A proxy that nobody answers at."""
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    urllib.request.install_opener(urllib.request.build_opener())
    yield
    urllib.request.install_opener(None)


AT_ONCE = {"mobilenet_v3_small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in AT_ONCE else [pytest.mark.slow])
        for name in FAMILIES
        if name != "tiny"
    ],
)
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")
def test_what_cannot_be_downloaded_is_named_and_where_to_put_it(name, no_network, capsys):
    with pytest.raises(BackboneError, match="could not be downloaded") as caught:
        network(name, size=smallest_size(name))
    assert capsys.readouterr().out == ""  # which is for results
    message = str(caught.value)
    file = re.search(r"needs the file (\S+)", message)[1]
    assert file == AT_ONCE.get(name, file)
    assert "*" not in file
    assert [n for n, f in FAMILIES.items() if fnmatch.fnmatch(file, f.weights_files)] == [name]
    assert str(weights_folder()) in message
    assert "KERAS_HOME" in message


def test_networks_that_cannot_serve_are_refused():
    pair = [keras.Input((4, 4, 3)) for _ in range(2)]
    two = keras.Model(pair, keras.layers.Add()(pair))
    forked = keras.Model(pair[0], [pair[0], keras.layers.ReLU()(pair[0])])
    free = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3)])
    grey = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
    for model, size, message in (
        (two, None, r"2 inputs and 1 outputs.*keras\.Model\("),
        (forked, None, r"1 inputs and 2 outputs.*keras\.Model\("),
        (grey, None, "takes"),
        (keras.Sequential([keras.layers.Conv2D(2, 3)]), None, "begin it with"),
        (free, None, "set input_size"),
        (small_network(), (10, 10), "takes"),
    ):
        with pytest.raises(BackboneError, match=message):
            network(model, size=size)
    assert network(free, size=(9, 9)).info.input_size == (9, 9)


def test_a_lambda_layer_is_refused_until_its_user_trusts_it(tmp_path):
    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: 2 * x, name="double")]
    model, path = keras.Sequential(layers), tmp_path / "mine.keras"
    model.save(path)
    X = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

    def refused_then_trusted():
        for backbone in (path, model):
            with pytest.raises(BackboneError, match=r"(?s)Lambda.*deserialization\(\)"):
                features(backbone, X)
        keras.config.enable_unsafe_deserialization()
        for backbone in (path, model):
            expected = 2 * (X.reshape(3, -1) / 255)
            np.testing.assert_allclose(features(backbone, X), expected, rtol=1e-6)

    with ThreadPoolExecutor(1) as thread:  # of which alone Keras notes the trust
        thread.submit(refused_then_trusted).result()
    with pytest.raises(BackboneError, match="Lambda"):
        network(path)


def with_top(*layers):
    base = [keras.Input((12, 12, 3)), keras.layers.Conv2D(4, 3, name="conv")]
    pool = keras.layers.GlobalAveragePooling2D(name="pool")
    return keras.Sequential([*base, pool, *layers])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_a_top_that_is_still_on_is_said(activation):
    dropout = keras.layers.Dropout(0.5)
    model = with_top(dropout, keras.layers.Dense(5, activation, name="classes"))
    with pytest.warns(UserWarning, match="'classes'.*layer='pool'"):
        features(model, RGB)
    features(model, RGB, layer="classes")  # as asked for: no warning
    with pytest.warns(UserWarning, match="'classes'.*'pool'.*output") as caught:
        FineTunedConvNetClassifier(
            model, preprocessing="rescale", unfreeze=0, head_C=1.0, augmentation=None
        ).fit(RGB, [0, 1, 0, 1, 0])
    # But for what pytest ignores as well, of Keras' variables under JAX.
    ours = [w for w in caught if "__array__ implementation" not in str(w.message)]
    assert {warning.filename for warning in ours} == {__file__}


def test_a_top_of_several_layers_is_said_and_what_is_no_top_is_not():
    dense, softmax = keras.layers.Dense(5), keras.layers.Activation("softmax", name="end")
    with pytest.warns(UserWarning, match="'end'.*layer='pool'"):
        features(with_top(dense, softmax), RGB)
    features(with_top(keras.layers.Dense(5, "relu")), RGB)
    features(with_top(), RGB)


def test_arguments_that_the_constructor_refuses_are_named():
    with pytest.raises(BackboneError, match="beta"):
        network("mobilenet", weights=None, params={"beta": 2})
    with pytest.raises(BackboneError, match="VGG16"):
        network("vgg16", weights=None, size=(8, 8))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # by JAX
def test_a_fork_after_use_is_refused_instead_of_hanging():
    X = np.zeros((2, 8, 8), np.uint8)
    transformer = PretrainedFeatureTransformer("tiny").fit(X)
    expected = transformer.transform(X)
    fork = multiprocessing.get_context("fork")
    answers, answer = fork.Pipe(duplex=False)

    def in_a_fork():
        answer.send(transformer.transform(X))  # from the cache: needs no network
        try:
            transformer.transform(X + 1)  # needs one
        except ForkedProcessError as error:
            answer.send(str(error))

    process = fork.Process(target=in_a_fork)
    process.start()
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0
    np.testing.assert_array_equal(answers.recv(), expected)
    assert "loky" in answers.recv()
