"""Faults on purpose: processes killed, disks full, caches damaged, forks at a bad moment."""

import contextlib
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
import processes
import pytest
from agreement import assert_same_features
from caches import rows_kept
from joblib import parallel_config
from sklearn.model_selection import ShuffleSplit, cross_val_predict, cross_val_score

from sktransfer import (
    CacheWarning,
    FineTunedConvNetClassifier,
    ForkedProcessError,
    PretrainedFeatureTransformer,
    clear_cache,
)
from sktransfer._features import keys, writer
from sktransfer._features.segments import SUFFIX
from sktransfer._networks import identity
from sktransfer._runtime.backend import keras_backend

IMAGES = np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)
LABELS = np.arange(len(IMAGES)) % 2
ROUNDS = [3, pytest.param(50, marks=pytest.mark.slow)]


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
        batch_size=32,
        early_stopping=False,
        random_state=0,
        cache_dir=cache_dir,
    )


def extract(cache_dir):
    return transformer(cache_dir).fit_transform(IMAGES)


def train(cache_dir):
    some, labels = IMAGES[:32], LABELS[:32]
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
    """Begin what is to write as often in a short time as a long run does."""
    writer.FLUSH_SECONDS = 0.05
    processes.begin(connection)


def run_jobs(connection, *jobs):
    """Carry out jobs, each given with a cache folder, and send a note on each."""
    begin(connection)
    connection.send([note(*job) for job in jobs])


def run_until_done(connection, job, cache_dir):
    """What a user does who presses Ctrl-C, and starts again in the same session."""
    try:
        begin(connection)
        result = note(job, cache_dir)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        result = note(job, cache_dir)
    connection.send(result)


def moments(rounds, seconds):
    """A moment in each of so many equal parts of a time."""
    seed = np.random.SeedSequence().entropy
    print(f"{seed = }")
    shares = np.random.default_rng(seed).random(rounds)
    return (np.arange(rounds) + shares) / rounds * seconds


@pytest.fixture(scope="module")
def undisturbed():
    """Job → what it makes where nothing is kept, and the seconds it takes beside another."""

    def run(job):
        process, connection = processes.start(run_jobs, (job, None))
        started = time.monotonic()
        [(made, *_)] = processes.finish(process, connection)
        return made, time.monotonic() - started

    jobs = extract, train
    return dict(zip(jobs, processes.in_pairs(run, jobs), strict=True))


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("job", [extract, train])
def test_killed_at_any_moment_finished_work_is_kept(job, rounds, undisturbed, tmp_path):
    expected, seconds = undisturbed[job]

    def kill_and_repeat(cache, moment):
        process, _ = processes.start(run_jobs, (job, cache))
        time.sleep(moment)
        process.kill()
        process.join()
        kept = rows_kept(cache)
        [repeated] = processes.finish(*processes.start(run_jobs, (job, cache)))
        return *repeated, kept

    caches = [tmp_path / f"cache {round_}" for round_ in range(rounds)]
    results = processes.in_pairs(kill_and_repeat, caches, moments(rounds, seconds))
    for cache, (made, misses, caught, kept) in zip(caches, results, strict=True):
        assert (made, caught) == (expected, [])
        if job is train:
            continue
        assert misses == len(IMAGES) - kept
        assert note(extract, cache)[:2] == (expected, 0)
        clear_cache(cache)
        assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("job", [extract, train])
def test_interrupted_at_any_moment_the_session_goes_on(job, rounds, undisturbed, tmp_path):
    expected, seconds = undisturbed[job]

    def interrupt(round_, moment):
        process, connection = processes.start(
            run_until_done, job, tmp_path / f"cache {round_}"
        )
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):  # it was quicker than expected
            os.kill(process.pid, signal.SIGINT)
        return processes.finish(process, connection)

    results = processes.in_pairs(interrupt, range(rounds), moments(rounds, seconds))
    for made, _, caught in results:
        assert (made, caught) == (expected, [])


def predict_until_interrupted(connection, rounds):
    """Predict without an end, and after each Ctrl-C say whether predictions are the same."""
    begin(connection)
    fitted = classifier(None).fit(IMAGES[:32], LABELS[:32])
    expected = fitted.decision_function(IMAGES[:100])
    for _ in range(rounds):
        with contextlib.suppress(KeyboardInterrupt):
            connection.send("predicting")
            while True:
                fitted.predict(IMAGES[:100])
        connection.send(np.array_equal(fitted.decision_function(IMAGES[:100]), expected))


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_interrupted_predictions_are_the_same_afterwards(rounds):
    process, connection = processes.start(predict_until_interrupted, rounds)
    for moment in moments(rounds, 0.2):
        assert processes.receive(connection) == "predicting"
        time.sleep(moment)
        os.kill(process.pid, signal.SIGINT)
        assert processes.receive(connection) is True
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
print(float(keras.ops.sum(keras.ops.ones(3))))
"""


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_an_interrupted_import_of_keras_can_be_repeated(rounds):
    def interrupt(moment):
        with subprocess.Popen(
            [sys.executable, "-c", IMPORTING], stdout=subprocess.PIPE, text=True
        ) as process:
            printed = process.stdout.readline()
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            return printed + process.stdout.read()

    printed = processes.in_pairs(interrupt, moments(rounds, 1))  # of two seconds at least
    assert printed == ["importing\ninterrupted\n3.0\n"] * rounds


def download(connection, proxy, keras_home):
    begin(connection)
    os.environ.update(https_proxy=proxy, KERAS_HOME=keras_home)
    try:
        PretrainedFeatureTransformer("mobilenet", cache_dir=None).fit(IMAGES[:1])
    except KeyboardInterrupt:
        connection.send("interrupted")


def test_an_interrupt_does_not_wait_for_a_download(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a proxy that never answers
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process, connection = processes.start(download, proxy, str(tmp_path))
        silent.settimeout(60)
        with silent.accept()[0]:
            os.kill(process.pid, signal.SIGINT)
            assert processes.finish(process, connection) == "interrupted"


def extract_at(size, cache_dir):
    return transformer(cache_dir, input_size=size).fit_transform(IMAGES[:20])


def test_what_an_interrupt_leaves_open_in_keras_changes_no_features():
    import keras

    job = partial(extract_at, (36, 36))  # of a network that this process has not built yet
    with keras.name_scope("left open"):
        made, *_ = note(job, None)
    [(expected, *_)] = processes.finish(*processes.start(run_jobs, (job, None)))
    assert made == expected


@pytest.mark.skipif(keras_backend() == "torch", reason="its last bits depend on the batch")
def test_four_processes_fill_one_cache_at_once(undisturbed, tmp_path):
    running = [processes.start(run_jobs, (extract, tmp_path)) for _ in range(4)]
    results = [processes.finish(*process)[0] for process in running]
    expected = undisturbed[extract][0]
    assert {made for made, *_ in results} == {expected}
    assert note(extract, tmp_path)[:2] == (expected, 0)


def assert_not_kept(notes, reason, undisturbed):
    """What the two jobs make is right, and each call says once why it is not kept."""
    for job, n_calls, (made, _, caught) in zip((extract, train), (1, 2), notes, strict=True):
        assert made == undisturbed[job][0]
        assert len(caught) == n_calls
        for message in caught:
            assert "features are right but not kept in the cache" in message
            assert reason in message


def run_on_a_full_disk(connection, *jobs):
    begin(connection)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # less than any segment
    connection.send([note(*job) for job in jobs])


def test_a_full_disk_costs_a_warning_a_call(undisturbed, tmp_path):
    jobs = (extract, tmp_path), (train, tmp_path)
    notes = processes.finish(*processes.start(run_on_a_full_disk, *jobs))
    assert_not_kept(notes, "not kept in the cache: File too large", undisturbed)
    assert not list(tmp_path.rglob("*.tmp"))


def import_all():
    """Import what the jobs need, and an ordinary user may not be allowed to read."""
    note(train, None)
    importlib.import_module("platformdirs")  # which finds the default folder


def run_without_home(connection, uid):
    begin(connection)
    import_all()
    os.environ["HOME"] = "/proc/nobody"  # where not even root can make a folder
    for name in ("SKTRANSFER_CACHE", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    if uid is not None:
        del os.environ["HOME"]
        os.setuid(uid)
    connection.send([note(extract, "default"), note(train, "default")])


NAMELESS = 123_456_789  # a user of whom the system knows no home, as containers have them
ONLY_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.mark.parametrize(
    ("uid", "said"),
    [(None, "/proc/nobody"), pytest.param(NAMELESS, "no home folder", marks=ONLY_ROOT)],
)
def test_without_a_home_nothing_is_kept(uid, said, undisturbed):
    notes = processes.finish(*processes.start(run_without_home, uid))
    assert_not_kept(notes, said, undisturbed)


def run_without_rights(connection, filled, empty):
    """Fill one of two folders, and carry out jobs where neither may be written."""
    begin(connection)
    import_all()
    with tempfile.TemporaryDirectory() as elsewhere:
        note(train, elsewhere)
        shutil.copytree(elsewhere, filled, dirs_exist_ok=True)
    for folder in (filled, empty):
        for path in (folder, *Path(folder).rglob("*")):
            os.chmod(path, 0o555)
    processes.drop_rights()
    for folder in (filled, empty):
        with pytest.raises(PermissionError):
            (Path(folder) / "file").touch()
    jobs = (train, filled), (extract, empty), (train, empty)
    connection.send([note(*job) for job in jobs])


def test_a_read_only_folder_is_read_and_not_written(undisturbed):
    with tempfile.TemporaryDirectory() as filled, tempfile.TemporaryDirectory() as empty:
        found, *others = processes.finish(*processes.start(run_without_rights, filled, empty))
        for path in (empty, filled, *Path(filled).rglob("*")):
            os.chmod(path, 0o755)
        assert not os.listdir(empty)
    assert found == (undisturbed[train][0], 0, [])
    assert_not_kept(others, "not kept in the cache: Permission denied", undisturbed)
    assert all(misses for _, misses, _ in others)


@pytest.mark.filterwarnings("ignore::sktransfer.CacheWarning")  # writing to what is not there
def test_a_folder_removed_again_and_again_changes_no_result(cache, monkeypatch):
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.001)
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
    process, connection = processes.start(run_jobs, (train, folder))
    while not connection.poll(0.001):
        removed += folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
    [(made, _, caught)] = processes.finish(process, connection)
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
    return transformer(cache_dir, weights=weights).fit_transform(IMAGES[:20])


def run_as_asked(connection):
    """Carry out one job after the other, until there are no more."""
    begin(connection)
    for job, cache_dir in iter(connection.recv, None):
        connection.send(note(job, cache_dir))


def test_weights_replaced_under_their_name_make_their_own_features(tmp_path):
    path, cache = tmp_path / "mine.weights.h5", tmp_path / "cache"
    job = partial(extract_by, path)
    process, connection = processes.start(run_as_asked)

    def replace(seed):
        new = write_weights(tmp_path / "new.weights.h5", seed)
        made, *_ = note(partial(extract_by, new), None)
        new.replace(path)
        return made, path.stat().st_size

    def note_there():
        connection.send((job, cache))
        return processes.receive(connection)

    first = replace(seed=0)
    assert note(job, cache)[:2] == (first[0], 20)
    assert note_there()[:2] == (first[0], 0)
    second = replace(seed=1)
    assert second[0] != first[0]
    assert second[1] == first[1]
    assert note_there()[:2] == (second[0], 20)
    assert note(job, cache)[:2] == (second[0], 0)
    assert replace(seed=2)[0] == note(job, cache)[0] != second[0]
    connection.send(None)
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A copy of a cache that this process has not seen yet: its largest segment; features."""
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 1000)
    expected = extract(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    segments = (tmp_path / "copy").rglob(f"*{SUFFIX}")
    return max(segments, key=lambda path: path.stat().st_size), expected


def regions(content):
    """Where each part of a segment begins."""
    header = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + header])
    parts = ("keys", "checksums", "rows")
    return {"length": 0, "header": 8} | {
        name: 8 + header + described[name]["data_offsets"][0] for name in parts
    }


def is_healed(segment, expected):
    """Whether features are right, and after that also looked up."""
    cache_dir = segment.parents[2]
    healed = extract(cache_dir)
    if keras_backend() == "torch":  # whose last bits depend on the batch
        assert_same_features(healed, expected)
    else:
        np.testing.assert_array_equal(healed, expected)
    before = transformer(cache_dir).cache_info().misses
    np.testing.assert_array_equal(extract(cache_dir), healed)
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
    others = set(rows.parent.glob(f"*/*{SUFFIX}")) - set(rows.iterdir())
    names = [rows / f"{uuid.uuid4().hex}{SUFFIX}" for _ in range(6)]
    for other, name in zip(others, names[:2], strict=True):
        shutil.copy(other, name)  # rows of as many numbers, of another layer
    names[2].mkdir()
    names[3].symlink_to("nowhere")
    os.mkfifo(names[4])
    names[5].write_bytes(b"\xff" * 1000)
    (cache / "networks" / "notes.txt").write_text("mine")
    (rows.parent / ("f" * 64)).write_text("a file where a folder may be")
    misses = transformer(cache).cache_info().misses
    np.testing.assert_array_equal(extract(cache), expected)
    assert transformer(cache).cache_info().misses == misses
    assert is_healed(segment, expected)
    clear_cache(cache)
    assert names[2].is_dir()
    assert (cache / "networks" / "notes.txt").exists()


@pytest.fixture
def later(monkeypatch):
    """A context in which all is kept as a later version would."""

    @contextlib.contextmanager
    def context():
        with monkeypatch.context() as patch:
            patch.setattr(identity, "FORMAT", 99)  # of what is known of networks …
            patch.setattr(keys, "FORMAT", 99)  # … and of rows
            yield

    return context


def test_what_a_later_version_keeps_is_left_alone(cache, later):
    with later():
        extract("default")
    theirs = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert len(theirs) > 1
    before = transformer().cache_info().misses
    np.testing.assert_array_equal(extract("default"), extract(None))
    assert transformer().cache_info().misses == before + len(IMAGES)
    assert len(list((cache / "networks").iterdir())) == 2
    assert theirs == {path: path.read_bytes() for path in theirs}


def test_what_a_later_version_keeps_is_not_served_under_our_names(filled, later):
    segment, expected = filled
    cache, rows = segment.parents[2], segment.parent
    [manifest] = (cache / "networks").iterdir()
    ours = manifest.read_bytes()
    with later():
        extract(cache)
    [theirs] = set(cache.glob("rows/*")) - {rows}
    shutil.rmtree(rows)
    theirs.rename(rows)
    manifest.write_text('{"format": 99, "facts": {"layers": 3}}')
    misses = transformer(cache).cache_info().misses
    np.testing.assert_array_equal(extract(cache), expected)
    assert transformer(cache).cache_info().misses == misses + len(IMAGES)
    assert manifest.read_bytes() == ours


def test_threads_give_the_same_scores():
    expected = cross_val_score(classifier(), IMAGES[:40], LABELS[:40], cv=2)
    with parallel_config("threading", n_jobs=2):
        scores = cross_val_score(classifier(), IMAGES[:40], LABELS[:40], cv=2)
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


def test_processes_of_joblib_give_the_same(tmp_path):
    def logits(n_jobs):
        return cross_val_predict(
            classifier(tmp_path / f"n_jobs={n_jobs}"),  # so that neither finds what others did
            IMAGES[:40],
            LABELS[:40],
            cv=2,
            method="decision_function",
            n_jobs=n_jobs,
        )

    # Gradients are added up by as many threads as a process has, in the last bits.
    np.testing.assert_allclose(logits(2), logits(None), rtol=1e-5)


def score_in_forks(connection, cache_dir):
    """Cross-validate under multiprocessing, before and after this process used a network."""
    begin(connection)
    multiprocessing.set_start_method("fork", force=True)

    def scores(cv=2):
        return cross_val_score(
            classifier(cache_dir), IMAGES[:40], LABELS[:40], cv=cv, error_score="raise"
        )

    with parallel_config("multiprocessing", n_jobs=2):
        before = scores()
    alone = scores()
    with parallel_config("multiprocessing", n_jobs=2):
        try:
            scores(cv=ShuffleSplit(1, random_state=0))  # two failures at once can hang joblib
        except ForkedProcessError as error:
            message = str(error)
    connection.send((before.tolist(), alone.tolist(), message))


def test_multiprocessing_is_right_or_refused(tmp_path):
    started = processes.start(score_in_forks, tmp_path)
    before, alone, message = processes.finish(*started)
    assert before == alone
    assert "loky" in message


def fork_beside_a_thread(connection, cache_dir):
    """Fork again and again while a thread computes, and use a network in each child."""
    begin(connection)
    worker = threading.Thread(target=train, args=(None,))
    worker.start()
    while not transformer(None).cache_info().misses:
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
    codes = processes.finish(*processes.start(fork_beside_a_thread, tmp_path))
    assert set(codes) == {7}
