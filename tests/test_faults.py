"""Faults on purpose: processes killed, disks full, caches damaged, forks at a bad moment.

Jobs run in processes forked from a server that has TensorFlow imported and no network used,
so that starting one takes a moment.
"""

import contextlib
import faulthandler
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import cross_val_predict, cross_val_score

from sktransfer import (
    CacheWarning,
    FineTunedConvNetClassifier,
    ForkedProcessError,
    PretrainedFeatureTransformer,
    clear_cache,
)
from sktransfer._features import writer as _writer
from sktransfer._features.segments import SUFFIX
from sktransfer._features.store import _own_files
from sktransfer._networks import facts as _facts
from sktransfer._networks import source as _backbones

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tensorflow", "hypothesis", "sktransfer._training.fit"])
IMAGES = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
LABELS = np.arange(len(IMAGES)) % 2
ROUNDS = [5, pytest.param(50, marks=pytest.mark.slow)]


def transformer(cache_dir="default", **parameters):
    return PretrainedFeatureTransformer(
        "tiny", pooling="avg", cache_dir=cache_dir, **parameters
    )


def classifier(cache_dir="default"):
    return FineTunedConvNetClassifier(
        "tiny",
        unfreeze=1,
        head_C=1.0,
        augmentation_views=1,
        fine_tune_epochs=1,
        early_stopping=False,
        random_state=0,
        cache_dir=cache_dir,
    )


def extract(cache_dir):
    return transformer(cache_dir).fit_transform(IMAGES)


def train(cache_dir):
    some, labels = IMAGES[:64], LABELS[:64]
    return classifier(cache_dir).fit(some, labels).decision_function(some)


def note(job, cache_dir):
    """A hash of what a job makes, how many views it computed, and its warnings."""
    before = transformer(cache_dir).cache_info().misses
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = hashlib.sha256(job(cache_dir).tobytes()).hexdigest()
    misses = transformer(cache_dir).cache_info().misses - before
    return made, misses, [str(w.message) for w in caught if w.category is CacheWarning]


def begin(connection):
    faulthandler.dump_traceback_later(240, exit=True)  # it hangs, and this is where
    _writer.FLUSH_SECONDS = 0.05  # a short run with as many writes as a long one
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
    connection.send("started")


def run_once(connection, job, cache_dir):
    begin(connection)
    connection.send(note(job, cache_dir))


def run_until_done(connection, job, cache_dir):
    """What a user does who presses Ctrl-C, and starts again in the same session."""
    try:
        begin(connection)
        result = note(job, cache_dir)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        result = note(job, cache_dir)
    connection.send(result)


def start(target, *arguments):
    receiver, sender = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=target, args=(sender, *arguments))
    process.start()
    sender.close()
    assert receiver.recv() == "started"
    return process, receiver


def finish(process, receiver):
    assert receiver.poll(300), "it hangs"
    result = receiver.recv()
    process.join(60)
    assert process.exitcode == 0
    return result


def rows_kept(cache):
    """The number of keys in the segments of a cache, of which a killed merge leaves twins."""
    from safetensors.numpy import load_file

    segments = [load_file(path) for path in cache.rglob(f"*{SUFFIX}")]
    return len({key.tobytes() for segment in segments for key in segment["keys"]})


@pytest.fixture(scope="module")
def undisturbed():
    """Job → what it makes where nothing is kept, and the seconds that it takes."""
    results = {}
    for job in (extract, train):
        process, receiver = start(run_once, job, None)
        started = time.monotonic()
        made, *_ = finish(process, receiver)
        results[job] = made, time.monotonic() - started
    return results


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("job", [extract, train])
def test_killed_at_any_moment_finished_work_is_kept(job, rounds, undisturbed, tmp_path):
    expected, seconds = undisturbed[job]
    rng = np.random.default_rng()
    for round_ in range(rounds):
        cache = tmp_path / f"cache {round_}"
        process, _ = start(run_once, job, cache)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.join()
        kept = rows_kept(cache)
        made, misses, caught = finish(*start(run_once, job, cache))
        assert (made, caught) == (expected, [])
        if job is train:
            continue
        assert misses == len(IMAGES) - kept
        assert note(extract, cache)[:2] == (undisturbed[extract][0], 0)
        clear_cache(cache)
        assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("job", [extract, train])
def test_interrupted_at_any_moment_the_session_goes_on(job, rounds, undisturbed, tmp_path):
    expected, seconds = undisturbed[job]
    rng = np.random.default_rng()
    for round_ in range(rounds):
        process, receiver = start(run_until_done, job, tmp_path / f"cache {round_}")
        time.sleep(rng.uniform(0, seconds))
        with contextlib.suppress(ProcessLookupError):  # it was quicker than expected
            os.kill(process.pid, signal.SIGINT)
        made, _, caught = finish(process, receiver)
        assert (made, caught) == (expected, [])


def predict_until_interrupted(connection, rounds):
    """Predict without an end, and after each Ctrl-C say whether predictions are the same."""
    begin(connection)
    fitted = classifier(None).fit(IMAGES[:64], LABELS[:64])
    expected = fitted.decision_function(IMAGES[:100])
    for _ in range(rounds):
        with contextlib.suppress(KeyboardInterrupt):
            connection.send("predicting")
            while True:
                fitted.predict(IMAGES[:100])
        connection.send(np.array_equal(fitted.decision_function(IMAGES[:100]), expected))


@pytest.mark.parametrize("rounds", ROUNDS)
def test_interrupted_predictions_are_the_same_afterwards(rounds):
    process, receiver = start(predict_until_interrupted, rounds)
    rng = np.random.default_rng()
    for _ in range(rounds):
        assert receiver.recv() == "predicting"
        time.sleep(rng.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGINT)
        assert receiver.poll(60), "it hangs"
        assert receiver.recv() is True
    process.join(60)
    assert process.exitcode == 0


IMPORTING = """
import signal
import sktransfer
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("importing", flush=True)
    from sktransfer._runtime.keras import keras
except KeyboardInterrupt:
    print("interrupted")
from sktransfer._runtime.keras import keras
print(keras.ops.sum(keras.ops.ones(3)).numpy())
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_an_interrupted_import_of_keras_can_be_repeated(rounds):
    rng = np.random.default_rng()
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", IMPORTING], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "importing\n"
            time.sleep(rng.uniform(0, 1))  # of at least two
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == "interrupted\n3.0\n"


DOWNLOADING = """
import signal
import numpy as np
from sktransfer import PretrainedFeatureTransformer
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    PretrainedFeatureTransformer("mobilenet").fit(np.zeros((1, 8, 8), np.uint8))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_a_download(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a proxy that never answers
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "https_proxy": proxy, "KERAS_HOME": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", DOWNLOADING],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            silent.settimeout(60)
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                printed, _ = process.communicate(timeout=60)
        assert printed.endswith("interrupted\n")


def extract_at(size, cache_dir):
    return transformer(cache_dir, input_size=size).fit_transform(IMAGES[:40])


def test_what_an_interrupt_leaves_open_in_keras_changes_no_features():
    import keras

    job = partial(extract_at, (36, 36))  # of a network that this process has not built yet
    with keras.name_scope("left open"):
        made, *_ = note(job, None)
    assert made == finish(*start(run_once, job, None))[0]


def test_four_processes_fill_one_cache_at_once(undisturbed, tmp_path):
    running = [start(run_once, extract, tmp_path) for _ in range(4)]
    results = [finish(*process) for process in running]
    assert {made for made, *_ in results} == {undisturbed[extract][0]}
    assert finish(*start(run_once, extract, tmp_path))[1] == 0


def run_on_a_full_disk(connection, job, cache_dir):
    begin(connection)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # less than any segment
    connection.send(note(job, cache_dir))


@pytest.mark.parametrize(("job", "calls"), [(extract, 1), (train, 2)])
def test_a_full_disk_costs_a_warning_a_call(job, calls, undisturbed, tmp_path):
    made, _, caught = finish(*start(run_on_a_full_disk, job, tmp_path))
    assert made == undisturbed[job][0]
    assert len(caught) == calls
    assert all("not kept in the cache: File too large" in message for message in caught)
    assert not list(tmp_path.rglob("*.tmp"))


def run_without_home(connection, job, uid):
    begin(connection)
    note(job, None)  # and so import all that an ordinary user may not be allowed to read …
    importlib.import_module("platformdirs")  # … and what finds the default folder
    os.environ["HOME"] = "/proc/nobody"  # where not even root can make a folder
    for name in ("SKTRANSFER_CACHE", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    if uid is not None:
        del os.environ["HOME"]
        os.setuid(uid)
    connection.send(note(job, "default"))


NAMELESS = 123_456_789  # a user of whom the system knows no home, as containers have them
ONLY_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.mark.parametrize(
    ("uid", "said"),
    [(None, "/proc/nobody"), pytest.param(NAMELESS, "no home folder", marks=ONLY_ROOT)],
)
@pytest.mark.parametrize(("job", "calls"), [(extract, 1), (train, 2)])
def test_without_a_home_nothing_is_kept(uid, said, job, calls, undisturbed):
    made, _, caught = finish(*start(run_without_home, job, uid))
    assert made == undisturbed[job][0]
    assert len(caught) == calls
    assert all("not kept in the cache" in message and said in message for message in caught)


def run_without_rights(connection, job, cache_dir):
    begin(connection)
    note(job, None)  # and so import all that an ordinary user may not be allowed to read
    if os.getuid() == 0:
        os.setuid(65534)
    with pytest.raises(PermissionError):
        (Path(cache_dir) / "file").touch()
    connection.send(note(job, cache_dir))


@pytest.mark.parametrize("filled", [True, False])
def test_a_read_only_folder_is_read_and_not_written(filled, undisturbed):
    with tempfile.TemporaryDirectory() as folder:
        if filled:
            finish(*start(run_once, train, folder))
        for path in (folder, *map(str, Path(folder).rglob("*"))):
            os.chmod(path, 0o555)
        made, misses, caught = finish(*start(run_without_rights, train, folder))
        for path in (folder, *map(str, Path(folder).rglob("*"))):
            os.chmod(path, 0o755)
    assert made == undisturbed[train][0]
    assert len(caught) == (0 if filled else 2)
    assert (misses == 0) == filled


@pytest.mark.filterwarnings("ignore::sktransfer.CacheWarning")  # writing to what is not there
def test_a_folder_removed_again_and_again_changes_no_result(cache, monkeypatch):
    monkeypatch.setattr(_writer, "FLUSH_SECONDS", 0.001)
    expected = extract(None)
    stop = threading.Event()

    def remove():
        while not stop.is_set():
            shutil.rmtree(cache, ignore_errors=True)
            transformer().cache_info()

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for _ in range(5):
            np.testing.assert_array_equal(extract("default"), expected)
    finally:
        stop.set()
        remover.join()
    np.testing.assert_array_equal(extract("default"), expected)


def test_a_folder_removed_again_and_again_changes_no_training(undisturbed, tmp_path):
    folder, removed = tmp_path / "cache", 0
    process, receiver = start(run_once, train, folder)
    while not receiver.poll(0.001):
        removed += folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
    made, _, caught = finish(process, receiver)
    assert made == undisturbed[train][0]
    assert all("not kept in the cache" in message for message in caught)
    assert removed


def write_weights(path, seed):
    """A file of weights for the small network; all such files have one size and one date."""
    from sktransfer._networks.tiny import build

    model, rng = build((32, 32, 3)), np.random.default_rng(seed)
    model.set_weights([rng.random(weight.shape) / 10 for weight in model.weights])
    model.save_weights(path)
    os.utime(path, (1, 1))
    return path


def extract_by(weights, cache_dir):
    return transformer(cache_dir, weights=weights).fit_transform(IMAGES[:40])


def test_weights_replaced_under_their_name_make_their_own_features(tmp_path):
    path, cache = tmp_path / "mine.weights.h5", tmp_path / "cache"
    job = partial(extract_by, path)

    def replace(seed):
        new = write_weights(tmp_path / "new.weights.h5", seed)
        made, *_ = note(partial(extract_by, new), None)
        new.replace(path)
        return made, path.stat().st_size

    first = replace(seed=0)
    assert note(job, cache)[:2] == (first[0], 40)
    assert finish(*start(run_once, job, cache))[:2] == (first[0], 0)
    second = replace(seed=1)
    assert second[0] != first[0]
    assert second[1] == first[1]
    assert finish(*start(run_once, job, cache))[:2] == (second[0], 40)
    assert note(job, cache)[:2] == (second[0], 0)
    assert replace(seed=2)[0] == note(job, cache)[0] != second[0]


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A copy of a cache, as this process has not seen it yet, with one segment; features."""
    monkeypatch.setattr(_writer, "FLUSH_SECONDS", 1000)
    expected = extract(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    [segment] = (tmp_path / "copy").rglob(f"*{SUFFIX}")
    return segment, expected


def regions(content):
    """Where each part of a segment begins."""
    header = int.from_bytes(content[:8], "little")
    sizes = {"keys": 32 * len(IMAGES), "checksums": 4 * len(IMAGES)}
    starts = {"length": 0, "header": 8, "rows": 8 + header}
    described = json.loads(content[8 : 8 + header])
    assert sizes.keys() < described.keys()
    return starts | {
        name: 8 + header + described[name]["data_offsets"][0] for name in (*sizes, "rows")
    }


def is_healed(segment, expected):
    """Whether features are right, and after that also looked up."""
    cache_dir = segment.parents[2]
    np.testing.assert_array_equal(extract(cache_dir), expected)
    before = transformer(cache_dir).cache_info().misses
    np.testing.assert_array_equal(extract(cache_dir), expected)
    return transformer(cache_dir).cache_info().misses == before


@pytest.mark.parametrize("region", ["length", "header", "keys", "checksums", "rows"])
def test_a_flipped_bit_in_any_region_is_healed(region, filled):
    segment, expected = filled
    content = bytearray(segment.read_bytes())
    content[regions(content)[region] + 2] ^= 1
    segment.write_bytes(content)
    assert is_healed(segment, expected)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_segment_is_healed(share, filled):
    segment, expected = filled
    content = segment.read_bytes()
    segment.write_bytes(content[: int(share * len(content))])
    assert is_healed(segment, expected)


def test_foreign_things_in_the_cache_do_no_harm(filled):
    segment, expected = filled
    cache, rows = segment.parents[2], segment.parent
    transformer(cache, layer="block3_conv2").fit_transform(255 - IMAGES)
    [other] = set(rows.parent.glob(f"*/*{SUFFIX}")) - {segment}
    names = [rows / f"{uuid.uuid4().hex}{SUFFIX}" for _ in range(5)]
    shutil.copy(other, names[0])  # rows of as many numbers, of another layer
    names[1].mkdir()
    names[2].symlink_to("nowhere")
    os.mkfifo(names[3])
    names[4].write_bytes(b"\xff" * 1000)
    (cache / "networks" / "notes.txt").write_text("mine")
    (rows.parent / ("f" * 64)).write_text("a file where a folder may be")
    misses = transformer(cache).cache_info().misses
    np.testing.assert_array_equal(extract(cache), expected)
    assert transformer(cache).cache_info().misses == misses
    assert is_healed(segment, expected)
    clear_cache(cache)
    assert names[1].is_dir()
    assert (cache / "networks" / "notes.txt").exists()


def test_what_a_later_version_keeps_is_left_alone(cache, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(_backbones, "FORMAT", 99)  # of what is known of networks …
        later.setattr(_facts, "FORMAT", 99)  # … and of rows
        extract("default")
    theirs = {path: path.read_bytes() for path in _own_files(cache)}
    before = transformer().cache_info().misses
    np.testing.assert_array_equal(extract("default"), extract(None))
    assert transformer().cache_info().misses == before + len(IMAGES)
    assert len(list((cache / "networks").iterdir())) == 2
    assert theirs == {path: path.read_bytes() for path in theirs}


def test_what_a_later_version_keeps_is_not_served_under_our_names(filled, monkeypatch):
    segment, expected = filled
    cache = segment.parents[2]
    [manifest] = (cache / "networks").iterdir()
    ours = manifest.read_bytes()
    with monkeypatch.context() as later:
        later.setattr(_facts, "FORMAT", 99)
        extract(cache)
    [theirs] = set(cache.glob(f"rows/*/*{SUFFIX}")) - {segment}
    theirs.replace(segment)
    manifest.write_text('{"format": 99, "facts": {"layers": 3}}')
    misses = transformer(cache).cache_info().misses
    np.testing.assert_array_equal(extract(cache), expected)
    assert transformer(cache).cache_info().misses == misses + len(IMAGES)
    assert manifest.read_bytes() == ours


def test_threads_give_the_same_scores():
    expected = cross_val_score(classifier(), IMAGES[:80], LABELS[:80], cv=2)
    with parallel_config("threading", n_jobs=2):
        scores = cross_val_score(classifier(), IMAGES[:80], LABELS[:80], cv=2)
    np.testing.assert_array_equal(scores, expected)


THREADS = """
import hashlib, sys
from concurrent.futures import ThreadPoolExecutor
from test_faults import extract, train
assert "keras" not in sys.modules
with ThreadPoolExecutor(2) as pool:
    for made in pool.map(lambda job: job(None), (extract, train)):
        print(hashlib.sha256(made.tobytes()).hexdigest())
"""


def test_two_threads_that_import_keras_at_once_are_right(undisturbed):
    result = subprocess.run(
        [sys.executable, "-c", THREADS],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    expected = [undisturbed[job][0] for job in (extract, train)]
    assert result.stdout.split() == expected, result.stderr


def test_processes_of_joblib_give_the_same_bits(tmp_path):
    def logits(n_jobs):
        return cross_val_predict(
            classifier(tmp_path / f"n_jobs={n_jobs}"),  # so that neither finds what others did
            IMAGES[:80],
            LABELS[:80],
            cv=2,
            method="decision_function",
            n_jobs=n_jobs,
        )

    np.testing.assert_array_equal(logits(2), logits(None))


def score_in_forks(connection, cache_dir):
    """Cross-validate under multiprocessing, before and after this process used a network."""
    begin(connection)
    multiprocessing.set_start_method("fork", force=True)

    def scores():
        return cross_val_score(
            classifier(cache_dir), IMAGES[:80], LABELS[:80], cv=2, error_score="raise"
        )

    with parallel_config("multiprocessing", n_jobs=2):
        before = scores()
    alone = scores()
    with parallel_config("multiprocessing", n_jobs=2):
        try:
            scores()
        except ForkedProcessError as error:
            message = str(error)
    connection.send((before.tolist(), alone.tolist(), message))


def test_multiprocessing_is_right_or_refused(tmp_path):
    before, alone, message = finish(*start(score_in_forks, tmp_path))
    assert before == alone
    assert "loky" in message


def fork_beside_a_thread(connection, cache_dir):
    """Fork again and again while a thread computes, and use a network in each child."""
    from sktransfer._networks import frozen as _frozen

    begin(connection)
    worker = threading.Thread(target=extract, args=(None,))
    worker.start()
    while not _frozen._used_in_process:
        time.sleep(0.001)
    codes = []
    while worker.is_alive() or len(codes) < 3:
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # it hangs
            try:
                transformer(cache_dir).fit_transform(255 - IMAGES[:8])
            except ForkedProcessError:
                os._exit(7)
            os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    worker.join()
    connection.send(codes)


def test_a_fork_beside_a_working_thread_is_refused_instead_of_hanging(tmp_path):
    codes = finish(*start(fork_beside_a_thread, tmp_path))
    assert set(codes) == {7}
