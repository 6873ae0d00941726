import importlib.util
import os
import pty
import re
import sys
import threading
import time

import pytest
from classifiers import classifier
from jupyter_client.manager import start_new_kernel
from terminals import TERMINAL, seen_on, without_controls

from sktransfer import PretrainedFeatureTransformer
from sktransfer._runtime.progress import images_bar, progress_bar

TENSORFLOWS = r"WARNING: All log messages before absl|[IWE]\d{4} "  # when it is imported


def work(digits, **parameters):
    """All that has a bar."""
    X, y = digits
    for n in (20, 60):
        features = PretrainedFeatureTransformer("tiny", input_range=(0, 16), **parameters)
        features.fit_transform(X[:n])
    recipe = {"hidden_units": (8,), "head_epochs": 2, "augmentation_views": 1}
    classifier(unfreeze=1, **recipe, **parameters).fit(X[:60], y[:60]).predict(X[:60])


def lines_of(text):
    """The lines about this package's work, without TensorFlow's and without time and bar."""
    lines = [line.rstrip() for line in text.splitlines() if "━" in line]
    return [re.sub(r"\s*[━╸╺]+\s*|\s+\S+$", "|", line) for line in lines]


def test_a_file_gets_one_plain_line_for_each_bar(tmp_path, monkeypatch, capfd, digits):
    with open(tmp_path / "log", "w") as log, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", log)
        work(digits, verbose=2)
    assert capfd.readouterr().out == ""
    text = (tmp_path / "log").read_text()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert [re.sub(r", (\d|loss).*", "", line) for line in lines_of(text)] == [
        "Reading|20/20 images",
        "Features|20/20 images",
        "Reading|60/60 images",
        "Features|60/60 images",
        "Reading|60/60 images",
        "Features|60/60 views",
        "Stage 0|epoch 2/2",
        "Stage 1|epoch 2/2",
        "Predicting|60/60 images",
    ]
    assert re.search(r"Features.* 20/20 images, 0 cached, [\d,.]+/s ", text)
    assert re.search(r"Features.* 60/60 images, 20 cached, [\d,.]+/s ", text)
    assert re.search(r"Stage 1.* epoch 2/2, loss [\d.e-]+ ", text)


def test_a_terminal_sees_it_grow_and_gets_its_cursor_back(monkeypatch, capfd, digits):
    ours, theirs = pty.openpty()
    parts = []
    reader = threading.Thread(target=lambda: parts.append(seen_on(ours)))
    reader.start()
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        for name, value in TERMINAL.items():
            patch.setenv(name, value)
        work(digits, verbose=1)
    reader.join()
    os.close(ours)
    [seen] = parts
    assert capfd.readouterr().out == ""
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > 0
    text = without_controls(seen)
    assert re.search(r"Features ━+ 60/60 images, 20 cached, [\d,.]+/s \d\d:\d\d", text)
    assert "epoch 1/2" in text
    assert "Predicting" not in text  # which needs 2
    assert re.search(r"Stage 1 ━+ epoch 2/2, loss [\d.e-]+ \d\d:\d\d", text)


def test_nothing_unless_asked_for(capfd, digits):
    work(digits)
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


CELL = """
from sklearn.datasets import load_digits
from sktransfer import PretrainedFeatureTransformer
X = load_digits().images
features = PretrainedFeatureTransformer("tiny", input_range=(0, 16), cache_dir=None, verbose=1)
for n in (20, 60):
    features.fit_transform(X[:n])
"""


HAS_WIDGETS = importlib.util.find_spec("ipywidgets") is not None


def messages_of_a_cell():
    """What a kernel of Jupyter sends while it runs it."""
    manager, client = start_new_kernel()
    messages = []
    try:
        client.execute_interactive(CELL, timeout=120, output_hook=messages.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return messages


@pytest.mark.skipif(HAS_WIDGETS, reason="ipywidgets is installed")
def test_a_notebook_without_widgets_gets_plain_lines_and_one_line_of_advice():
    messages = messages_of_a_cell()
    assert {message["msg_type"] for message in messages} <= {
        "status",
        "execute_input",
        "stream",
    }
    streams = [m["content"] for m in messages if m["msg_type"] == "stream"]
    assert {stream["name"] for stream in streams} == {"stderr"}
    text = "".join(stream["text"] for stream in streams)
    assert text.count('pip install "sktransfer[notebook]"') == 1
    assert [re.sub(r", (\d|loss).*", "", line) for line in lines_of(text)] == [
        "Reading|20/20 images",
        "Features|20/20 images",
        "Reading|60/60 images",
        "Features|60/60 images",
    ]
    assert "UserWarning" not in text


@pytest.mark.skipif(
    not HAS_WIDGETS, reason='needs ipywidgets: pip install "sktransfer[notebook]"'
)
def test_a_notebook_with_widgets_sees_how_each_bar_ended_and_nothing_else():
    messages = messages_of_a_cell()
    assert not [m for m in messages if m["msg_type"] == "stream"]
    shown = [m["content"]["data"] for m in messages if m["msg_type"] == "display_data"]
    # Of a bar its widget, and what is drawn within, ever anew.
    drawn = [data["text/plain"] for data in shown if "text/html" in data]
    for n in (20, 60):
        for title, end in (("Reading", f"{n}/{n} images"), ("Features", f"{n}/{n} images, ")):
            assert [text for text in drawn if title in text and end in text]
    assert "60/60" in drawn[-1]  # and no empty output below
    assert sum("text/html" not in data for data in shown) == 4
