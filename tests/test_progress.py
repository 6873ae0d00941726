import os
import pty
import re
import subprocess
import sys
import time

import pytest

from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
from sktransfer._runtime.progress import images_bar, progress_bar

CODE = """
import sys
from sklearn.datasets import load_digits
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)[:60]
verbose, common = int(sys.argv[1]), {"backbone": "tiny", "input_range": (0, 16)}
for n in (20, 60):
    PretrainedFeatureTransformer(**common, verbose=verbose).fit_transform(X[:n])
FineTunedConvNetClassifier(
    **common, hidden_units=(8,), head_epochs=2, fine_tune_epochs=2, early_stopping=False,
    augmentation_views=1, verbose=verbose,
).fit(X, y[:60]).predict(X)
"""
COMMAND = [sys.executable, "-c", CODE]
TERMINAL = {"TERM": "xterm", "COLUMNS": "100"}
TENSORFLOWS = r"WARNING: All log messages before absl|[IWE]\d{4} "  # when it is imported


def lines_of(text):
    """The lines about this package's work, without TensorFlow's and without time and bar."""
    lines = [line.rstrip() for line in text.splitlines() if "━" in line]
    return [re.sub(r"\s*[━╸╺]+\s*|\s+\S+$", "|", line) for line in lines]


def seen_on(terminal, until=None):
    """What a terminal is sent up to a pattern, or until its other end is closed."""
    seen = b""
    while until is None or not re.search(until, without_controls(seen)):
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other end was closed
            assert until is None, seen
            break
    return seen


def without_controls(seen):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.decode(errors="replace"))


def test_a_file_gets_one_plain_line_for_each_bar(tmp_path):
    with open(tmp_path / "log", "w") as log:
        output = subprocess.run(
            [*COMMAND, "1"], stdout=subprocess.PIPE, stderr=log, check=True
        ).stdout
    assert output == b""
    text = (tmp_path / "log").read_text()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert [re.sub(r", (\d|loss).*", "", line) for line in lines_of(text)] == [
        "Features|20/20 images",
        "Features|60/60 images",
        "Features|60/60 views",
        "Stage 0|epoch 2/2",
        "Stage 1|epoch 2/2",
        "Predicting|60/60 images",
    ]
    assert re.search(r"Features.* 20/20 images, 0 cached, [\d,.]+/s ", text)
    assert re.search(r"Features.* 60/60 images, 20 cached, [\d,.]+/s ", text)
    assert re.search(r"Stage 1.* epoch 2/2, loss [\d.e-]+ ", text)


def test_a_terminal_sees_it_grow_and_gets_its_cursor_back():
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "1"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, **TERMINAL},
    ) as process:
        os.close(theirs)
        seen = seen_on(ours)
        assert process.stdout.read() == b""
    os.close(ours)
    assert process.returncode == 0
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > 0
    text = without_controls(seen)
    assert re.search(r"Features ━+ 60/60 images, 20 cached, [\d,.]+/s \d\d:\d\d", text)
    assert "epoch 1/2" in text
    assert re.search(r"Stage 1 ━+ epoch 2/2, loss [\d.e-]+ \d\d:\d\d", text)


def test_nothing_unless_asked_for(capfd, digits):
    X, y = digits
    PretrainedFeatureTransformer("tiny", input_range=(0, 16)).fit_transform(X[:60])
    FineTunedConvNetClassifier(
        "tiny", input_range=(0, 16), augmentation=None, hidden_units=(8,), head_epochs=1
    ).fit(X[:60], y[:60]).predict(X[:60])
    printed = "".join(capfd.readouterr()).splitlines()
    assert not [line for line in printed if not re.match(TENSORFLOWS, line)]


def test_rate_and_time_left_leave_out_what_is_cached(monkeypatch):
    for name, value in TERMINAL.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        started = time.monotonic()
        with images_bar(1, "Features", 1000, n_found=1_000_000) as advance:
            for _ in range(10):
                time.sleep(0.1)
                advance(2)
        per_image = (time.monotonic() - started) / 20
    text = without_controls(seen_on(ours))
    os.close(ours)
    # It is drawn ten times a second: whenever that is, and at the end, with no time left.
    pattern = r"1,000,0(\d\d)/1,001,000 images, 1,000,000 cached, ([\d.]+)/s (\d+):(\d+)"
    *during, last = re.findall(pattern, text)
    assert last[0] == "20"
    done, rate, minutes, seconds = map(float, during[-1])
    # On any machine; with what is cached they would be wrong by a factor of 50,000.
    assert 0.01 < rate * per_image < 100
    assert 0.01 < (60 * minutes + seconds) / ((1000 - done) * per_image) < 100


def test_a_bar_ends_with_what_it_watches(capsys):
    with pytest.raises(KeyboardInterrupt), progress_bar(1, "Stage 1", 10, "epoch 1/10"):
        raise KeyboardInterrupt
    with progress_bar(1, "Stage 2", 10) as advance:
        advance(7, "epoch 7/10")  # stopped early
    text = capsys.readouterr().err
    assert "Stage 1" in text
    assert "epoch 7/10" in text
