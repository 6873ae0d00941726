import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import joblib
import keras
import numpy as np
import pytest
import skops.io
from conftest import without_root
from PIL import Image
from sklearn.pipeline import Pipeline
from terminals import TERMINAL, seen_on, without_controls

import sktransfer
from sktransfer import FineTunedConvNetClassifier
from sktransfer.__main__ import main


def run(*arguments, started_as=list):
    """In a process of its own."""
    command = started_as([sys.executable, "-m", "sktransfer", *map(str, arguments)])
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def run_here(capfd):
    """The same in this process: exit code, standard output and standard error."""

    def run_here(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # as argparse does
            code = exit_.code
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run_here


@pytest.fixture
def folder(tmp_path, digits):
    """Photographs of two classes of digits."""
    X, y = digits
    for i in np.flatnonzero((y == 6) | (y == 7))[:40]:
        path = tmp_path / "digits" / {6: "six", 7: "seven"}[y[i]] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((X[i] * 15).astype(np.uint8)).save(path)
    return tmp_path / "digits"


def test_without_a_folder_it_compares_features_with_pixels(run_here):
    result = run_here()
    assert result.returncode == 0, result.stderr
    lines = {line[2:22].strip(): line[24:29] for line in result.stdout.splitlines()}
    assert float(lines["transferred features"]) > float(lines["raw pixels"])


@pytest.mark.parametrize("suffix", ["joblib", "skops"])
def test_a_folder_is_cross_validated_and_its_pipeline_saved(
    suffix, folder, run_here, tmp_path
):
    output = tmp_path / f"digits.{suffix}"
    (folder / "six" / ".DS_Store").write_bytes(b"what file managers leave")
    (folder / "seven" / "Thumbs.db").write_bytes(b"what file managers leave")
    shutil.copytree(folder / "six", folder / ".ipynb_checkpoints")
    result = run_here(
        "compare", folder, "--backbone", "tiny", "--output", output, "--clear-cache"
    )
    assert result.returncode == 0, result.stderr
    assert "20 seven, 20 six" in result.stdout
    assert "accuracy over 5 folds: " in result.stdout
    assert "true \\ predicted" in result.stdout
    paths = [str(path) for path in sorted(folder.glob("s*/*.png"))]
    predicted = run_here("predict", output, *paths, "--format", "csv")
    rows = list(csv.DictReader(predicted.stdout.splitlines()))
    assert np.mean([row["label"] == row["file"].split(os.sep)[-2] for row in rows]) > 0.9


def test_the_best_of_several_networks_is_saved(folder, run_here, tmp_path, monkeypatch):
    output = tmp_path / "best.joblib"
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.ops.zeros_like(inputs)).save("blind.keras")
    result = run_here(
        *("compare", folder, "--output", output, "--preprocessing", "rescale"),
        *("--backbone", "blind.keras", "--backbone", "tiny"),
    )
    assert result.returncode == 0, result.stderr
    table = [line.split() for line in result.stdout.splitlines() if " ± " in line]
    assert [row[0] for row in table[:2]] == ["blind.keras", "tiny"]
    assert float(table[0][1]) < 0.6 < float(table[1][1])
    assert "the best, tiny:" in result.stdout
    assert "51,312 parameters" in repr(joblib.load(output)[0].backbone)  # of tiny, packed


def test_the_better_of_two_is_saved_trained_on_all_with_curves(folder, run_here, tmp_path):
    output = tmp_path / "tuned.joblib"
    result = run_here("fine-tune", folder, "--backbone", "tiny", "--output", output)
    assert result.returncode == 0, result.stderr
    assert "10 held-out images, after training on 30:" in result.stdout
    scores = []
    for name in ("frozen features", "fine-tuned"):
        [line] = [n for n in result.stdout.splitlines() if n.startswith(f"  {name}")]
        scores.append(float(line.split()[-1]))
        assert 0.5 < scores[-1] <= 1
    assert "\nstage 1: " in result.stdout
    assert "Fold 3/3, stage 1" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr  # neither is a terminal
    model, is_tuned = joblib.load(output), scores[1] > scores[0]  # on a tie, the quicker one
    assert isinstance(model, FineTunedConvNetClassifier if is_tuned else Pipeline)
    name = "fine-tuned network" if is_tuned else "pipeline of frozen features"
    assert f"saved the {name}, trained on all 40 images: {output}" in result.stdout
    assert {value for key, value in model.get_params().items() if key.endswith("verbose")} == {
        0
    }
    with Image.open(tmp_path / "tuned-curves.png") as curves:
        assert curves.width > curves.height > 400


@pytest.fixture(scope="module")
def stored(tmp_path_factory, digits):
    """A saved classifier of the digits 6 and 7."""
    X, y = digits
    chosen = np.flatnonzero((y == 6) | (y == 7))[:60]
    classifier = FineTunedConvNetClassifier(
        "tiny", input_range=(0, 16), unfreeze=0, cache_dir=None
    )
    names = np.array(["six", "seven"])[y[chosen] - 6]
    path = tmp_path_factory.mktemp("stored") / "model.joblib"
    joblib.dump(classifier.fit(X[chosen], names), path)
    return path


def test_labels_and_confidences_as_text_csv_and_json_lines(stored, folder, run_here):
    files = [str(path) for path in sorted(folder.glob("*/*.png"))]
    expected = joblib.load(stored).predict_proba(files)
    labels = np.array(["seven", "six"])[expected.argmax(axis=1)]
    assert np.mean([label in file for label, file in zip(labels, files, strict=True)]) > 0.9

    def predicted(form):
        result = run_here("predict", stored, *files, "--format", form)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    table = [re.split("  +", line) for line in predicted("text").splitlines()]
    rows = list(csv.DictReader(predicted("csv").splitlines()))
    objects = [json.loads(line) for line in predicted("jsonl").splitlines()]
    assert [row[0] for row in table] == [row["label"] for row in rows] == list(labels)
    assert [row[2] for row in table] == [row["file"] for row in rows] == files
    assert [row["file"] for row in objects] == files
    assert [row["label"] for row in objects] == list(labels)
    confidences = expected.max(axis=1)
    for decimals, values in (
        (3, [row[1] for row in table]),
        (6, [row["confidence"] for row in rows]),
        (6, [row["confidence"] for row in objects]),
    ):
        np.testing.assert_allclose(
            np.array(values, dtype=float), confidences, atol=0.51 * 10**-decimals
        )


def test_what_people_need_may_be_said(folder, run_here, tmp_path):
    assert run_here("--version").stdout == f"sktransfer {sktransfer.__version__}\n"
    shutil.copy(__file__, folder / "six" / "no image.png")
    network = ["--backbone", "tiny", "--input-size", "16x24", "--seed", 3, "--n-jobs", 2]
    network += ["--on-error", "nan"]
    for command, own in (
        ("compare", ["--layer", "block2_pool", "--pooling", "max"]),
        ("fine-tune", ["--unfreeze", 2, "--pooling", "max"]),
    ):
        output = tmp_path / f"{command}.joblib"
        with pytest.warns(sktransfer.InvalidImagesWarning, match=r"no image\.png"):
            result = run_here(command, folder, *network, *own, "--output", output)
        assert result.returncode == 0, result.stderr
        model = joblib.load(output)
        estimator = model[0] if command == "compare" or isinstance(model, Pipeline) else model
        assert (estimator.input_size, estimator.n_jobs) == ((16, 24), 2)
        lost = run_here("predict", output, folder / "six", "nowhere.png", "--format", "csv")
        assert lost.returncode == 1  # whatever on_error the model was saved with
        assert "nowhere.png does not exist" in lost.stderr
        assert "no image.png is not an image" in lost.stderr
        assert len(lost.stdout.splitlines()) == 1 + 20
        assert ",nan" not in lost.stdout
        if command == "compare":
            assert (estimator.layer, estimator.pooling) == ("block2_pool", "max")
            assert estimator.feature_shape_ == (32,)


def test_images_in_folders_are_classified(stored, folder, run_here):
    result = run_here("predict", stored, folder, "--format", "csv")
    files = [row["file"] for row in csv.DictReader(result.stdout.splitlines())]
    assert files == [str(path) for path in sorted(folder.glob("*/*.png"))]


def test_files_that_are_no_images_are_named_and_the_others_classified(
    stored, folder, run_here
):
    good = str(next(folder.glob("six/*.png")))
    truncated = folder / "truncated.png"
    truncated.write_bytes(Path(good).read_bytes()[:-30])
    result = run_here("predict", stored, "/dev/null", truncated, good, "missing.png")
    assert result.returncode == 1
    assert result.stdout == f"six    {result.stdout[7:12]}  {good}\n"
    errors = [n for n in result.stderr.splitlines() if n.startswith("sktransfer: ")]
    assert errors[0] == "sktransfer: /dev/null is not a regular file"
    assert errors[1].startswith(f"sktransfer: {truncated} is truncated")
    assert errors[2:] == ["sktransfer: missing.png does not exist"]
    assert "Traceback" not in result.stderr


def test_labels_and_files_are_written_as_any_stream_can(folder, tmp_path, capfd):
    output = tmp_path / "model.joblib"
    (folder / "six").rename(folder / "sechs ☆")
    jobs = [
        (["compare", folder, "--backbone", "tiny", "--output", output], "sechs \\u2606"),
        *(
            (["predict", output, *sorted(folder.glob("*/*.png")), "--format", form], "u2606/")
            for form in ("text", "csv")
        ),
    ]
    with open(tmp_path / "printed", "w+", encoding="ascii") as file, redirect_stdout(file):
        for arguments, written in jobs:
            file.seek(0)
            assert main([str(argument) for argument in arguments]) == 0
            file.seek(0)
            assert written in file.read()


@pytest.fixture
def predicting(stored, folder):
    """A process that has printed the first label of many, and their number."""
    files = [str(path) for path in folder.glob("*/*.png")] * 50
    command = [sys.executable, "-m", "sktransfer", "predict", stored, *files]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline()
        yield process, len(files)


def test_a_reader_that_leaves_early_is_no_error(predicting):
    process, _ = predicting
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait() == 1
    assert "BrokenPipe" not in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["compare", "missing-folder"], 2, "no folder 'missing-folder'"),
        (["fine-tune", "missing-folder"], 2, "no folder 'missing-folder'"),
        (["fine-tune", "{folder}/../empty"], 1, "no images in "),
        (["predict", "missing.joblib", "x.png"], 1, "no file 'missing.joblib'"),
        (["predict", "{folder}/page.html", "x.png"], 1, "is not a saved model: "),
        (["predict", "{folder}/nothing", "x.png"], 1, "is not a saved model: EOFError"),
        (
            ["predict", "{folder}/list.joblib", "x.png"],
            1,
            "is not a saved model: it holds a list, which has no predict_pr",
        ),
        (["predict", "{folder}/foreign.skops", "x.png"], 1, "Untrusted types"),
        (["compare", "{folder}", "--backbone", "vgg61"], 1, "nearest: "),
        (
            ["compare", "{folder}", "--backbone", "tiny", "--preprocessing", "resnet52"],
            1,
            "'resnet52' is none of",
        ),
        (["compare", "{folder}/six", "--backbone", "tiny"], 1, "a sub-folder for each class"),
        (["compare", "{folder}", "--backbone-params", "alpha"], 2, "'alpha' is not JSON: Exp"),
        (["compare", "{folder}", "--backbone-params", "3"], 2, "no object of JSON, such as"),
        (["compare", "{folder}", "--input-size", "big"], 2, "not 224 or 224x160"),
        (["{folder}"], 2, "invalid choice"),
        (["compare", "{folder}", "--output", "missing/x.joblib"], 2, "no folder for"),
        (["compare", "{folder}", "--output", "{folder}"], 2, "is a folder: name a file in it"),
    ],
)
def test_mistakes_get_a_short_message(folder, run_here, arguments, code, message):
    (folder / "page.html").write_text("<html>")
    (folder / "nothing").write_bytes(b"")
    joblib.dump([1, 2], folder / "list.joblib")
    skops.io.dump(SimpleNamespace(foreign=1), folder / "foreign.skops")
    (folder.parent / "empty").mkdir()
    result = run_here(*(argument.format(folder=folder) for argument in arguments))
    assert result.returncode == code
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("job", ["compare", "fine-tune"])
def test_bad_images_are_listed(job, folder, tmp_path):
    page, empty = folder / "six" / "page.jpg", folder / "seven" / "empty.png"
    locked = next(folder.glob("six/*.png"))
    page.write_text("<html>")
    empty.write_bytes(b"")
    locked.chmod(0)
    output = tmp_path / "model.joblib"
    arguments = [job, folder, "--backbone", "tiny", "--output", output]
    result = run(*arguments, started_as=without_root)  # a process: of another user
    assert result.returncode == 1
    assert "sktransfer: 3 rows of X cannot be used" in result.stderr
    for problem in (f"{page} is an HTML", f"{empty} is empty", f"{locked} may not be read"):
        assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not output.exists()


@pytest.fixture
def pets(photographs, tmp_path):
    """A folder of 200 photographs, which take seconds to be extracted."""
    for path, label in zip(*photographs, strict=True):
        (tmp_path / "pets" / label).mkdir(parents=True, exist_ok=True)
        if len(os.listdir(tmp_path / "pets" / label)) < 100:
            (tmp_path / "pets" / label / Path(path).name).symlink_to(path)
    return tmp_path / "pets"


def test_an_interrupt_while_photographs_are_extracted(pets, tmp_path):
    output = tmp_path / "pets.joblib"
    network = ["--backbone", "mobilenet", "--backbone-params", '{"alpha": 0.75}']
    command = [sys.executable, "-m", "sktransfer", "fine-tune", pets, *network]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--output", output],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, **TERMINAL},
    ) as process:
        os.close(theirs)
        seen_on(ours, until=r"Features .* [1-9]\d*/200 images, 0 cached, [\d.]+/s \d\d:\d\d")
        process.send_signal(signal.SIGINT)
        shown = without_controls(seen_on(ours))
        assert process.stdout.read() == b"images: 100 cats, 100 dogs\n"
    os.close(ours)
    assert process.returncode == 130
    assert shown.splitlines()[-1] == "sktransfer: interrupted"
    assert "Traceback" not in shown
    assert not output.exists()


def test_an_interrupt_while_images_are_classified(predicting):
    process, n_files = predicting
    process.send_signal(signal.SIGINT)
    rest, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "sktransfer: interrupted"
    assert "Traceback" not in error
    assert rest.count("\n") < n_files - 1
