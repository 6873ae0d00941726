import hashlib
import itertools
import os
import stat
import time

import numpy as np
import processes
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sktransfer import PretrainedFeatureTransformer, clear_cache
from sktransfer._features.cache import FeatureCache
from sktransfer._features.store import MANY_SEGMENTS, STALE_SECONDS, RowStore
from sktransfer._networks.info import LayerInfo, NetworkInfo

SHAPE = (5,)


def key(i):
    return hashlib.sha256(f"key {i}".encode()).digest()


def row(i):
    return np.random.default_rng(i).random(SHAPE, dtype=np.float32)


def write(store, numbers):
    store.write([key(i) for i in numbers], np.stack([row(i) for i in numbers]))


def read(store, numbers):
    """The numbers whose rows are found; asserts that each is the right one."""
    out = np.full((len(numbers), *SHAPE), np.nan, dtype=np.float32)
    found = store.read([key(i) for i in numbers], out)
    for i, ok, got in zip(numbers, found, out, strict=True):
        if ok:
            np.testing.assert_array_equal(got, row(i))
    return [i for i, ok in zip(numbers, found, strict=True) if ok]


def fresh(folder):
    """A store as another process would open it."""
    store = RowStore(folder, SHAPE, np.float32)
    store.refresh()
    return store


def segments(folder):
    return sorted(folder.rglob("*.safetensors"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "rows" / ("0" * 64)


def test_rows_are_found_by_their_keys_alone(folder):
    store = fresh(folder)
    write(store, [1, 2, 3])
    write(store, [4])
    for reader in (store, fresh(folder)):
        assert read(reader, [4, 9, 1, 1, 3]) == [4, 1, 1, 3]
        assert reader.have([key(2), key(9), key(2)]).tolist() == [True, False, True]


def test_a_store_notices_what_others_write_and_remove(folder):
    reader, writer = fresh(folder), fresh(folder)
    write(writer, [1])
    assert read(reader, [1]) == []
    reader.refresh()
    assert read(reader, [1]) == [1]
    segments(folder)[0].unlink()
    assert read(reader, [1]) == []
    reader.refresh()
    assert not reader.have([key(1)])


def test_a_folder_removed_meanwhile_is_an_empty_one(folder):
    store = fresh(folder)
    write(store, [1])
    clear_cache(folder.parents[1])
    store.refresh()
    assert read(store, [1]) == []
    write(store, [1])
    assert read(fresh(folder), [1]) == [1]


def test_a_damaged_row_is_missed_and_the_others_are_kept(folder):
    store = fresh(folder)
    write(store, range(4))
    [path] = segments(folder)
    content = path.read_bytes()
    path.write_bytes(content.replace(row(2).tobytes(), row(7).tobytes()))
    reader = fresh(folder)
    assert read(reader, range(4)) == [0, 1, 3]
    assert not reader.have([key(2)])
    write(reader, [2])
    assert read(fresh(folder), range(4)) == [0, 1, 2, 3]
    assert path not in segments(folder)


def test_foreign_files_are_left_alone(folder):
    write(fresh(folder), [1])
    (folder / "notes.txt").write_text("mine")
    (folder / "foreign.safetensors").write_bytes(b"not a segment")
    store = fresh(folder)
    store.tidy()
    assert read(store, [1]) == [1]
    assert (folder / "notes.txt").read_text() == "mine"


def test_many_small_segments_are_merged(folder):
    store = fresh(folder)
    numbers = range(MANY_SEGMENTS + 1)
    for i in numbers:
        write(store, [i])
    reader = fresh(folder)
    store.tidy()
    assert len(segments(folder)) == 1
    assert read(store, numbers) == list(numbers)
    assert read(reader, numbers) == list(numbers)  # though their segments are gone


def test_what_killed_writers_left_is_removed_once_it_is_old(folder):
    write(fresh(folder), [1])
    old, new, theirs = (folder / f"{name}.tmp" for name in ("0" * 32, "1" * 32, "mine"))
    for path in (old, new, theirs):
        path.touch()
    past = time.time() - 2 * STALE_SECONDS
    for path in (old, theirs):
        os.utime(path, (past, past))
    fresh(folder).tidy()
    assert not old.exists()
    assert new.exists()
    assert theirs.exists()


def test_only_the_user_may_look_into_the_cache(folder):
    write(fresh(folder), [1])
    assert stat.S_IMODE(folder.parents[1].stat().st_mode) == 0o700


def test_clearing_leaves_what_is_not_the_caches_own(folder):
    write(fresh(folder), [1])
    theirs = [
        folder / "notes.txt",
        folder.parent / "mine.csv",
        folder.parents[1] / "networks" / "trained.keras",
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    killed = folder.parents[1] / "networks" / f"{'0' * 32}.tmp"  # a writer was
    killed.touch()
    clear_cache(folder.parents[1])
    assert segments(folder) == []
    assert not killed.exists()
    assert all(path.exists() for path in theirs)
    clear_cache(None)
    with pytest.raises(ValueError, match="names no folder"):
        clear_cache("")


def test_a_segment_noticed_by_another_thread_first_is_opened_once(folder):
    from threading import Event, Thread

    store, stop = fresh(folder), Event()

    def watch():
        while not stop.is_set():
            store.refresh()

    watchers = [Thread(target=watch, daemon=True) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for i in range(60):
        write(store, [i])
    stop.set()
    for watcher in watchers:
        watcher.join()
    assert store.n_opened == len(segments(folder)) == 60
    store.tidy()
    assert len(segments(folder)) == 1
    assert read(store, range(60)) == list(range(60))


def test_a_segment_that_vanished_does_not_stop_merging(folder):
    store = fresh(folder)
    for i in range(2 * MANY_SEGMENTS):
        write(store, [i])
    segments(folder)[0].unlink()
    store.tidy()
    assert len(segments(folder)) == 1
    assert len(read(store, range(2 * MANY_SEGMENTS))) == 2 * MANY_SEGMENTS - 1


def test_none_keeps_nothing():
    store = FeatureCache(None).store({"any": 1}, SHAPE)
    store.write([key(1)], row(1)[None])
    store.refresh()
    assert read(store, [1]) == []


def test_making_room_removes_what_was_not_used_for_longest(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    stores = [cache.store({"number": i}, SHAPE) for i in range(3)]
    for i, store in enumerate(stores):
        write(store, [i])
        os.utime(segments(store.folder)[0], (i + 1, i + 1))
    one = cache.info().bytes // 3
    read(stores[0], [0])  # the oldest, but used now
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", str(3 * one))
    cache = FeatureCache(tmp_path)
    assert cache.make_room(one, used_since=1000.0)
    assert [len(segments(store.folder)) for store in stores] == [1, 0, 1]
    assert not cache.make_room(3 * one, used_since=1000.0)
    assert [len(segments(store.folder)) for store in stores] == [1, 0, 1]


def test_what_is_known_of_a_network_is_kept_and_checked(tmp_path):
    cache = FeatureCache(tmp_path)
    first = LayerInfo("x", (8, 8, 3), False, 0, 0, 0, ())
    second = LayerInfo("several", None, True, 9, 3, 27, (0,))
    info = NetworkInfo("fingerprint", (8, 8), (first, second), 1, None)
    assert cache.read_info({"a": 1}) is None
    cache.write_info({"a": 1}, info)
    assert cache.read_info({"a": 1}) == info
    assert cache.read_info({"a": 2}) is None
    [path] = (tmp_path / "networks").iterdir()
    path.write_text(path.read_text().replace('"x"', '"another"'))
    assert cache.read_info({"a": 1}) is None
    for other_form in ("[]", '{"format": 99, "facts": {"layers": ["x"]}}'):
        path.write_text(other_form)
        assert cache.read_info({"a": 1}) is None


def test_what_is_dated_in_the_future_makes_way_as_well(tmp_path, monkeypatch):
    store = FeatureCache(tmp_path).store({"any": 1}, SHAPE)
    write(store, [1])
    [segment] = segments(tmp_path)
    os.utime(segment, (time.time() + 1e7,) * 2)  # by a clock that was wrong
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", str(segment.stat().st_size))
    assert FeatureCache(tmp_path).make_room(1, used_since=time.time())
    assert segments(tmp_path) == []


def test_the_default_folder_is_the_environments(cache, tmp_path, monkeypatch):
    assert FeatureCache("default").folder == cache
    assert FeatureCache(tmp_path / "mine").folder == tmp_path / "mine"
    monkeypatch.delenv("SKTRANSFER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert FeatureCache("default").folder == tmp_path / "xdg" / "sktransfer"


@pytest.mark.parametrize("limit", ["plenty", "nan"])
def test_a_limit_that_is_no_number_is_named(limit, monkeypatch):
    monkeypatch.setenv("SKTRANSFER_CACHE_SIZE", limit)
    with pytest.raises(ValueError, match="SKTRANSFER_CACHE_SIZE"):
        PretrainedFeatureTransformer().cache_info()


@settings(max_examples=40)
@example(actions=[("write", 0, [1, 2]), ("truncate", 0, [3]), ("read", 0, [1, 2])])
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(
                ["write", "read", "damage", "truncate", "tidy", "refresh", "remove"]
            ),
            st.integers(0, 2),
            st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True),
        ),
        max_size=25,
    )
)
def test_any_interleaving_serves_only_right_rows(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("cache") / "rows" / "namespace"
    stores = [fresh(folder) for _ in range(3)]
    for action, who, numbers in actions:
        if action == "write":
            write(stores[who], numbers)
            assert set(read(stores[who], numbers)) == set(numbers)
        elif action == "read":
            read(stores[who], numbers)
        elif action in ("damage", "truncate", "remove") and segments(folder):
            path = segments(folder)[numbers[0] % len(segments(folder))]
            if action == "remove":
                path.unlink()
            elif action == "truncate":
                os.truncate(path, path.stat().st_size * numbers[0] // 7)
            else:
                content = bytearray(path.read_bytes())
                if content:
                    content[-1 - numbers[0] * 7 % len(content)] ^= 1
                path.write_bytes(content)
        elif action in ("tidy", "refresh"):
            getattr(stores[who], action)()


def write_until_killed(connection, folder, first):
    processes.begin(connection)
    store = fresh(folder)
    for i in itertools.cycle(range(first, first + 100)):
        write(store, [i, i + 1])


def test_killed_writers_leave_only_whole_rows(folder):
    rng = np.random.default_rng(0)
    for round_ in range(5):
        before = segments(folder)
        process, _ = processes.start(write_until_killed, folder, 100 * round_)
        while segments(folder) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.join()
    store = fresh(folder)
    there = np.flatnonzero(store.have([key(i) for i in range(501)])).tolist()
    assert read(store, range(501)) == there  # which checks each against the right one
    assert {i // 100 for i in there} >= set(range(5))
    write(store, [1000])
    assert read(fresh(folder), [1000]) == [1000]
