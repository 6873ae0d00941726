import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
from PIL import Image


def run(*arguments):
    command = [sys.executable, "-m", "sktransfer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path, digits):
    """Photographs of two classes of digits."""
    X, y = digits
    for i in np.flatnonzero((y == 6) | (y == 7))[:40]:
        path = tmp_path / "digits" / {6: "six", 7: "seven"}[y[i]] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((X[i] * 15).astype(np.uint8)).save(path)
    return tmp_path / "digits"


def test_without_a_folder_it_compares_features_with_pixels():
    result = run()
    assert result.returncode == 0, result.stderr
    lines = {line[2:22].strip(): line[24:29] for line in result.stdout.splitlines()}
    assert float(lines["transferred features"]) > float(lines["raw pixels"])


def test_a_folder_is_cross_validated_and_its_pipeline_saved(folder, tmp_path):
    output = tmp_path / "digits.joblib"
    result = run(folder, "--backbone", "tiny", "--output", output, "--clear-cache")
    assert result.returncode == 0, result.stderr
    assert "20 seven, 20 six" in result.stdout
    assert "accuracy over 5 folds: " in result.stdout
    assert "true \\ predicted" in result.stdout
    pipeline = joblib.load(output)
    paths = [str(path) for path in sorted(folder.glob("*/*.png"))]
    labels = [path.split(os.sep)[-2] for path in paths]
    assert pipeline.score(paths, labels) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing-folder"], "no folder 'missing-folder'"),
        (["{folder}", "--backbone", "vgg61"], "nearest: "),
        (["{folder}/six", "--backbone", "tiny"], "two or more sub-folders"),
        (["{folder}", "--backbone-params", "alpha"], "invalid"),
        (["{folder}", "--output", "missing/x.joblib"], "no folder for"),
    ],
)
def test_mistakes_get_a_short_message(folder, arguments, message):
    result = run(*(argument.format(folder=folder) for argument in arguments))
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_images_are_listed(folder):
    (folder / "six" / "page.jpg").write_text("<html>")
    result = run(folder, "--backbone", "tiny")
    assert result.returncode == 1
    assert "page.jpg is an HTML page" in result.stderr
    assert "Traceback" not in result.stderr
