"""The command line where labels or numbers are predicted, by a table."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from sktransfer.__main__ import main
from sktransfer._cli.tables import Table

NETWORK = ["--backbone", "tiny"]


@pytest.fixture
def table(tmp_path, digits):
    """Sixty digits, and a function that writes a table of them."""
    X, y = digits
    X, y = X[y >= 5][:60], y[y >= 5][:60]
    for i, image in enumerate(X):
        Image.fromarray((image * 15).astype(np.uint8)).save(tmp_path / f"{i}.png")

    def write(columns, values):
        path = tmp_path / "table.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", *columns])
            writer.writerows([f"{i}.png", *row] for i, row in enumerate(values(y)))
        return path

    return write


def labels_of(y):
    return np.column_stack([y % 2 == 0, np.isin(y, [6, 8, 9])]).astype(int)


def numbers_of(y):
    return (y / 2)[:, np.newaxis]


def test_the_task_is_guessed_as_type_of_target_does_and_said(table, capsys):
    for columns, values, word in (
        (["kind"], lambda y: np.array(["a", "b"])[y % 2][:, np.newaxis], "classes"),
        (["digit"], lambda y: y[:, np.newaxis], "classes"),
        (["even", "round"], labels_of, "labels"),
        (["half"], numbers_of, "numbers"),
        (["digit", "square"], lambda y: np.column_stack([y, y**2]), "numbers"),
    ):
        path = table(columns, values)
        assert Table.of(str(path)).guessed_task() == word
        assert main(["compare", str(path), *NETWORK]) == 0
        assert capsys.readouterr().out.startswith(f"task: {word}, by the values in the table")
    path = table(["digit"], lambda y: y[:, np.newaxis])
    assert main(["compare", str(path), "--task", "numbers", *NETWORK]) == 0
    shown = capsys.readouterr().out
    assert "digit from 5 to 9" in shown
    assert "R2 over 5 folds: 0." in shown
    assert "digit: mean absolute error" in shown


@pytest.mark.parametrize(("job", "suffix"), [("compare", "joblib"), ("fine-tune", "skops")])
def test_labels_and_numbers_are_learnt_saved_and_predicted(job, suffix, table, capsys):
    own = ["--unfreeze", "1"] if job == "fine-tune" else []
    for columns, values in ((["even", "round"], labels_of), (["half"], numbers_of)):
        path = table(columns, values)
        output = str(path.with_suffix(f".{suffix}"))
        assert main([job, str(path), *NETWORK, *own, "--output", output]) == 0
        capsys.readouterr()
        files = [str(path.parent / f"{i}.png") for i in range(20)]
        assert main(["predict", output, *files, "--format", "csv"]) == 0
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert [row["file"] for row in rows] == files
        known = Table.of(str(path)).values[:20].astype(float)
        if columns == ["half"]:
            guessed = np.array([float(row["half"]) for row in rows])
            assert np.abs(guessed - known[:, 0]).mean() < 0.4
        else:
            names = [{*filter(None, row["label"].split(";"))} for row in rows]
            expected = [{*np.array(columns)[has > 0]} for has in known]
            assert np.mean([a == b for a, b in zip(names, expected, strict=True)]) > 0.7
        assert main(["predict", output, files[0], "--format", "jsonl"]) == 0
        assert set(json.loads(capsys.readouterr().out)) == {*rows[0]}
        assert main(["predict", output, files[0]]) == 0
        assert capsys.readouterr().out.rstrip().endswith(files[0])


def test_tables_that_are_none(table, tmp_path, capsys):
    for text in ("", "file,age\n", "file\na.png\n", "file,age\na.png\n"):
        (tmp_path / "bad.csv").write_text(text)
        assert main(["compare", str(tmp_path / "bad.csv")]) == 1
        assert "is no table of images" in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text("file,age\na.png,3\nb.png, \n")
    assert main(["compare", str(tmp_path / "bad.csv")]) == 1
    assert "has an empty cell, for 'b.png'" in capsys.readouterr().err
    path = table(["a", "b"], lambda y: np.array([[0.5, 1]] * len(y)))
    assert main(["compare", str(path), "--task", "labels"]) == 1
    assert "has 0 and 1" in capsys.readouterr().err
    path = table(["a", "b"], lambda y: np.array([["x", "1"]] * len(y)))
    assert main(["compare", str(path)]) == 1
    assert "is one column" in capsys.readouterr().err
    assert main(["compare", str(path), "--task", "numbers"]) == 1
    assert "only classes can be text" in capsys.readouterr().err
