import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sktransfer._features.index import as_bytes
from sktransfer._features.segments import InvalidSegmentError, Segment, write_segment

SHAPE, DTYPE = (2, 3), np.dtype(np.float32)


def key(i):
    return hashlib.sha256(str(i).encode()).digest()


def written(folder, n=4):
    keys = [key(i) for i in range(n)]
    rows = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    return write_segment(folder, keys, rows), keys, rows


def test_rows_come_back_in_any_order(tmp_path):
    path, keys, rows = written(tmp_path)
    segment = Segment(path, SHAPE, DTYPE)
    assert segment.keys().tobytes() == b"".join(keys)
    wanted, out = [3, 0, 2], np.empty((3, *SHAPE), DTYPE)
    assert segment.read([keys[i] for i in wanted], wanted, out) == [True, True, True]
    np.testing.assert_array_equal(out, rows[wanted])
    assert segment.read(keys[:2], [0, 3], out[:2]) == [True, False]  # under another's key


def test_half_precision_is_read_as_float32(tmp_path):
    rows = np.frombuffer(np.arange(1 << 16, dtype=np.uint16).tobytes(), dtype=np.float16)
    rows = rows.reshape(-1, *SHAPE[:1], 1 << 14)
    path = write_segment(tmp_path, [key(0), key(1)], rows)
    segment = Segment(path, rows.shape[1:], rows.dtype)
    out = np.empty(rows.shape, np.float32)
    assert segment.read([key(0), key(1)], [0, 1], out) == [True, True]
    np.testing.assert_array_equal(out, rows.astype(np.float32))
    assert path.stat().st_size < out.nbytes * 0.6


def test_a_segment_is_a_safetensors_file(tmp_path):
    path, _, rows = written(tmp_path)
    tensors = load_file(path)
    assert set(tensors) == {"keys", "checksums", "rows"}
    np.testing.assert_array_equal(tensors["rows"], rows)


def test_a_write_leaves_one_file(tmp_path):
    path, _, _ = written(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        written(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path, keys, rows = written(tmp_path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            segment = Segment(path, SHAPE, DTYPE)
            out = np.empty((len(segment), *SHAPE), DTYPE)
            found = as_bytes(segment.keys())
            intact = segment.read(found, range(len(out)), out)
        except (InvalidSegmentError, OSError):
            continue
        for k, row, ok in zip(found, out, intact, strict=True):
            assert not ok or np.array_equal(row, rows[keys.index(k)])
        # In the header, spaces and the order of digits may change without harm.
        assert not all(intact) or position < whole.index(b"}}") + 8


def test_a_truncated_segment_is_refused(tmp_path):
    path, _, _ = written(tmp_path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidSegmentError):
            Segment(path, SHAPE, DTYPE)


def test_rows_of_another_shape_or_kind_are_refused(tmp_path):
    path, _, _ = written(tmp_path)
    for shape, dtype in (((3, 2), DTYPE), ((6,), DTYPE), (SHAPE, np.dtype(np.uint32))):
        with pytest.raises(InvalidSegmentError):
            Segment(path, shape, dtype)


@pytest.mark.parametrize(
    "change",
    [
        {"keys": np.zeros((4, 64), np.uint8)},
        {"checksums": np.zeros(4, np.uint64)},
        {"rows": np.zeros((4, *SHAPE), np.float16)},
        {"rows": None, "columns": np.zeros((*SHAPE, 4), np.float32)},
    ],
    ids=["longer keys", "longer checksums", "half precision", "columns"],
)
def test_segments_of_another_form_are_refused(tmp_path, change):
    path, _, _ = written(tmp_path)
    tensors = {name: t for name, t in (load_file(path) | change).items() if t is not None}
    save_file(tensors, path, {"format": "99"})
    with pytest.raises(InvalidSegmentError):
        Segment(path, SHAPE, DTYPE)


@pytest.mark.parametrize(
    "content",
    [b"text", b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x04" + bytes(7) + b"null"],
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidSegmentError):
        Segment(path, SHAPE, DTYPE)
