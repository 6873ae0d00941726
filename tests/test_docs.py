"""The examples in docstrings and documents run, in a cache of their own."""

import doctest
import inspect
from pathlib import Path

import pytest

import sktransfer

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = {"hub.md": "keras_hub"}  # what is not always installed
ESTIMATORS = [
    sktransfer.PretrainedFeatureTransformer,
    sktransfer.FineTunedConvNetClassifier,
    sktransfer.FineTunedConvNetRegressor,
]
OBJECTS = [getattr(sktransfer, name) for name in sktransfer.__all__]


def run(tests):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("public", OBJECTS, ids=lambda public: public.__name__)
def test_examples_in_docstrings(public):
    run(doctest.DocTestFinder().find(public, public.__name__, module=False, globs={}))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_examples_in_documents(path):
    if path.name in NEEDS:
        pytest.importorskip(NEEDS[path.name])
    run([doctest.DocTestParser().get_doctest(path.read_text(), {}, path.name, str(path), 0)])


@pytest.mark.parametrize("public", OBJECTS, ids=lambda public: public.__name__)
def test_every_public_name_has_an_example(public):
    assert ">>> " in public.__doc__


def test_documents_link_to_files_that_exist():
    import re

    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_each_table_of_networks_names_all_of_them():
    import re

    from sktransfer._networks.catalogue import FAMILIES

    sections = (ROOT / "docs" / "backbones.md").read_text().split("\n## ")
    tables = [text for text in sections if text.startswith(("Features", "Fine-tuning"))]
    for table in tables:
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(FAMILIES)
    assert len(tables) == 2


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_every_fitted_attribute_is_documented_and_every_documented_one_exists(kind):
    import re

    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(np.zeros((6, 64), np.uint8)).add_prefix("pixel")
    estimator = kind("tiny", image_shape=(8, 8)).fit(frame, [0, 1] * 3)
    names = {*vars(estimator), *dir(kind)}
    fitted = {name for name in names if name.endswith("_") and not name.startswith("_")}
    attributes = inspect.getdoc(kind).split("Attributes\n")[1]
    section = re.split("Raises\n|See Also\n|References\n", attributes)[0]
    assert set(re.findall(r"^(\w+_) :", section, re.MULTILINE)) == fitted
