import pickle

from sktransfer import BadRow, InvalidImagesError, SktransferError

ROWS = [BadRow(3, "cat.jpg", "does not exist"), BadRow(17, None, "is empty (0 bytes)")]


def test_an_error_about_rows_names_all_of_them():
    error = InvalidImagesError(ROWS)
    assert isinstance(error, ValueError)
    assert isinstance(error, SktransferError)
    assert error.rows == ROWS
    assert "2 rows of X" in str(error)
    assert "row 3: cat.jpg does not exist" in str(error)
    assert "row 17: is empty (0 bytes)" in str(error)


def test_an_error_about_rows_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(InvalidImagesError(ROWS)))
    assert error.rows == ROWS
    assert str(error) == str(InvalidImagesError(ROWS))
