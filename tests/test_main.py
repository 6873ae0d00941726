import os
import signal
import subprocess
import sys


def test_an_interrupt_ends_it_with_one_line(tmp_path):
    command = [sys.executable, "-m", "sktransfer", "fine-tune", "--output"]
    output = tmp_path / "digits.joblib"
    with subprocess.Popen(
        [*command, output], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("  frozen features") for line in lines)
        process.send_signal(signal.SIGINT)  # while it trains
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "sktransfer: interrupted"
    assert "Traceback" not in error
    assert os.listdir(tmp_path) == ["cache"]


def test_an_interrupt_that_meets_exec_ends_it_alike(tmp_path):
    (tmp_path / "keras.py").write_text('exec("raise KeyboardInterrupt")')
    command = [sys.executable, "-m", "sktransfer", "compare"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1] == "sktransfer: interrupted"
    assert "Traceback" not in ended.stderr
