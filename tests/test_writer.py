import os

import numpy as np
import pytest

from sktransfer import CacheWarning, ImageAugmentation
from sktransfer._features import writer
from sktransfer._features.cache import FeatureCache
from sktransfer._features.keys import ViewKey
from sktransfer._features.reading import ImageReader
from sktransfer._features.shelves import Shelves
from sktransfer._features.writer import FLUSH_BYTES, Writers, rounded
from sktransfer._networks.info import Cut, LayerInfo, NetworkInfo
from sktransfer._networks.preprocessing import Preprocessing

SHAPE = (1024, 1024)
ROW = np.ones(SHAPE, np.float32)  # 4 MiB
VIEWS = [ViewKey(bytes([i]) * 32, 0) for i in range(100)]


def shelves_in(folder, shape=SHAPE):
    """The shelves of a network of an input and one layer, whose rows have a shape."""
    layers = [LayerInfo(name, shape, False, 0, 0, 0, ()) for name in ("input", "layer")]
    info = NetworkInfo("fingerprint", (8, 8), tuple(layers), 1, None)
    reader = ImageReader((0, 255), None, Preprocessing(None))
    cache, how = FeatureCache(folder), ("engine", "float32", ImageAugmentation())
    return Shelves(cache, info, [Cut(1)], reader, *how)


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FLUSH_SECONDS", np.inf)  # however slow the machine
    return shelves_in(tmp_path)


@pytest.fixture
def writers(shelves):
    """Writers that have written one row, of the last view."""
    writers = Writers(shelves, [0], keep=True)
    writers.put(VIEWS[-1], [ROW])
    writers.flush_if_due(left=np.inf)
    return writers


def are_there(shelves, views):
    return shelves.have(views, [0]).tolist()


def test_the_first_rows_are_written_at_once(shelves, writers):
    assert shelves.have([VIEWS[-1]], [0])
    assert writers.n_written == 1
    writers.put(VIEWS[0], [ROW])
    writers.flush_if_due(left=np.inf)
    assert not shelves.have([VIEWS[0]], [0])
    assert writers.n_written == 1


def test_much_is_written_before_it_is_too_much_to_lose(shelves, writers):
    most = FLUSH_BYTES // ROW.nbytes
    for view in VIEWS[:most]:
        writers.put(view, [ROW])
    writers.flush_if_due(left=np.inf)
    assert not any(are_there(shelves, VIEWS[:most]))
    writers.put(VIEWS[most], [ROW])
    writers.flush_if_due(left=np.inf)
    assert all(are_there(shelves, VIEWS[: most + 1]))


def test_a_part_of_what_others_may_repeat_is_written_at_once(shelves, writers):
    writers.put(VIEWS[0], [ROW])
    writers.flush_if_due(left=1000)
    assert not shelves.have([VIEWS[0]], [0])
    writers.flush_if_due(left=10)
    assert shelves.have([VIEWS[0]], [0])


def test_what_has_waited_is_written(shelves, writers, monkeypatch):
    writers.put(VIEWS[0], [ROW])
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0)
    writers.flush_if_due(left=np.inf)
    assert shelves.have([VIEWS[0]], [0])


def test_what_is_left_is_written_at_the_end_whatever_ends_it(shelves, writers):
    with writers:
        writers.put(VIEWS[0], [ROW])
    assert shelves.have([VIEWS[0]], [0])

    def fail():
        with Writers(shelves, [0], keep=True) as others:
            others.put(VIEWS[1], [ROW])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert shelves.have([VIEWS[1]], [0])


def test_what_is_not_to_be_kept_is_not_and_what_is_there_is_not_written_again(shelves):
    with Writers(shelves, [0], keep=False) as writers:
        writers.put(VIEWS[0], [ROW])
    assert not shelves.have([VIEWS[0]], [0])
    for n_written in (1, 0):
        with Writers(shelves, [0], keep=True) as writers:
            writers.put(VIEWS[0], [ROW])
        assert writers.n_written == n_written


def test_a_folder_that_cannot_be_is_told_once_with_its_reason(tmp_path):
    file = tmp_path / "file"
    file.touch()
    shelves = shelves_in(file, (2,))

    def write():
        with Writers(shelves, [0], keep=True) as writers:
            for view in VIEWS[:2]:
                writers.put(view, [np.ones(2, np.float32)])
                writers.flush_if_due(left=np.inf)

    with pytest.warns(CacheWarning, match="not kept in the cache: File exists") as caught:
        write()
    [warning] = caught
    assert os.fspath(file) in str(warning.message)
    assert shelves.gave_up


def test_rows_of_augmented_views_are_returned_as_they_are_kept(tmp_path):
    shelves, row = shelves_in(tmp_path, (2,)), np.array([1 + 2**-12, 1e6], np.float32)
    unaltered, augmented = VIEWS[0], ViewKey(VIEWS[0].digest, 1)
    with Writers(shelves, [0], keep=True) as writers:
        made = [writers.put(view, [row])[0] for view in (unaltered, augmented)]
    np.testing.assert_array_equal(made, [row, [1, 65504]])
    out = np.empty((2, 2), np.float32)
    shelves.take({unaltered: [0], augmented: [1]}, [0], [out])
    np.testing.assert_array_equal(out, made)


def test_rounding_is_no_error_of_the_callers():
    with np.errstate(all="raise"):
        assert rounded(np.array([1e-20], np.float32), np.dtype(np.float16)).tolist() == [0]


def test_rows_are_rounded_and_clipped_to_a_narrower_type():
    row = np.array([1, 1 + 2**-12, 1e6, -1e6], np.float32)
    np.testing.assert_array_equal(rounded(row, np.dtype(np.float16)), [1, 1, 65504, -65504])
    assert rounded(row, np.dtype(np.float32)) is row
