import os

import numpy as np
import pytest

from sktransfer._features import writer as _writer
from sktransfer._features.store import FeatureCache
from sktransfer._features.writer import FLUSH_BYTES, Writer, rounded

SHAPE = (1024, 1024)  # 4 MiB
KEYS = [bytes([i]) * 32 for i in range(100)]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(_writer, "FLUSH_SECONDS", np.inf)  # however slow the machine
    return FeatureCache(tmp_path).store({"any": 1}, SHAPE)


def fail(reason):
    raise AssertionError(reason)


def test_much_is_written_before_it_is_too_much_to_lose(store):
    writer = Writer(store, fail)
    row = np.ones(SHAPE, np.float32)
    for key in KEYS[: FLUSH_BYTES // row.nbytes]:
        writer.add(key, row)
    writer.flush_if_due(left=np.inf)
    assert KEYS[0] not in store
    writer.add(KEYS[-1], row)
    writer.flush_if_due(left=np.inf)
    assert KEYS[0] in store
    assert KEYS[-1] in store


def test_a_part_of_what_others_may_repeat_is_written_at_once(store):
    writer = Writer(store, fail)
    writer.add(KEYS[0], np.ones(SHAPE, np.float32))
    writer.flush_if_due(left=1000)
    assert KEYS[0] not in store
    writer.flush_if_due(left=10)
    assert KEYS[0] in store


def test_what_has_waited_is_written(store, monkeypatch):
    writer = Writer(store, fail)
    writer.add(KEYS[0], np.ones(SHAPE, np.float32))
    monkeypatch.setattr(_writer, "FLUSH_SECONDS", 0)
    writer.flush_if_due(left=np.inf)
    assert KEYS[0] in store


def test_what_is_left_is_written_at_the_end(store):
    writer = Writer(store, fail)
    writer.add(KEYS[0], np.ones(SHAPE, np.float32))
    writer.close()
    assert KEYS[0] in store


def test_a_folder_that_cannot_be_is_told_with_its_reason(tmp_path):
    file = tmp_path / "file"
    file.touch()
    reasons = []
    writer = Writer(FeatureCache(file).store({"any": 1}, (2,)), reasons.append)
    writer.add(KEYS[0], np.ones(2, np.float32))
    writer.close()
    [reason] = reasons
    assert os.fspath(file) in reason


def test_rounding_is_no_error_of_the_callers():
    with np.errstate(all="raise"):
        assert rounded(np.array([1e-20], np.float32), np.dtype(np.float16)).tolist() == [0]


def test_rows_are_rounded_and_clipped_to_a_narrower_type():
    row = np.array([1, 1 + 2**-12, 1e6, -1e6], np.float32)
    np.testing.assert_array_equal(rounded(row, np.dtype(np.float16)), [1, 1, 65504, -65504])
    assert rounded(row, np.dtype(np.float32)) is row
