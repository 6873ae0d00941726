"""Type checkers understand the public names: examples of documents pass, mistakes do not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISTAKES = """\
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
from sktransfer import ImageAugmentation, load_image_folder

PretrainedFeatureTransformer("vgg16", pooling="mean")
PretrainedFeatureTransformer("vgg16", poling="avg")
PretrainedFeatureTransformer(layer=3)
FineTunedConvNetClassifier(unfreeze=None)
FineTunedConvNetClassifier(class_weight="equal")
ImageAugmentation(fill_mode="mirror")
load_image_folder(3)
PretrainedFeatureTransformer().transform(["cat.jpg"]).append(1)
"""


def errors_in(code, folder):
    """Lines of code that mypy does not take, and what it says of them."""
    path = folder / "example.py"
    path.write_text(code)
    options = ["--follow-imports=silent", "--disable-error-code=import-untyped"]
    options += ["--allow-redefinition", f"--cache-dir={folder / 'mypy'}"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, path],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert not result.stderr
    return [
        (int(line), text) for line, text in re.findall(r":(\d+): error: (.*)", result.stdout)
    ]


def examples_of(document):
    """The Python code of a document, one example after the other."""
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        prompted = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", block, re.MULTILINE)
        yield "\n".join(prompted) if prompted else block


@pytest.mark.parametrize("name", ["README.md", "docs/get_started.md", "docs/features.md"])
def test_examples_pass(name, tmp_path):
    pytest.importorskip("mypy")
    code = "\n".join(examples_of(ROOT / name))
    assert "sktransfer" in code
    assert errors_in(code, tmp_path) == []


def test_mistakes_do_not(tmp_path):
    pytest.importorskip("mypy")
    wrong = {line for line, _ in errors_in(MISTAKES, tmp_path)}
    assert wrong == {*range(4, 4 + len(MISTAKES.splitlines()[3:]))}
