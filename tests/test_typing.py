"""Type checkers understand the public names: examples of documents pass, mistakes do not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/get_started.md", "docs/features.md", "docs/fine_tuning.md")
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


def examples_of(document):
    """The Python code of a document, one example after the other."""
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        prompted = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", block, re.MULTILINE)
        yield "\n".join(prompted) if prompted else block


@pytest.mark.slow
def test_examples_pass_and_mistakes_do_not(tmp_path):
    pytest.importorskip("mypy")
    for number, name in enumerate(DOCUMENTS):
        code = "\n".join(examples_of(ROOT / name))
        assert "sktransfer" in code
        (tmp_path / f"example{number}.py").write_text(code)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    options = ["--follow-imports=silent", "--disable-error-code=import-untyped"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--allow-redefinition", "."],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    found = re.findall(r"^(.*):(\d+): error: ", result.stdout, re.MULTILINE)
    lines = range(4, MISTAKES.count("\n") + 1)
    assert sorted(found) == sorted(("mistakes.py", str(line)) for line in lines), result
