"""The package is what its table of modules says: imports go down only."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import sktransfer

PACKAGE = Path(sktransfer.__file__).parent


def modules_from_the_top_down():
    """The modules in the table of CONTRIBUTING.md."""
    table = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def imports_of(path):
    """Names of modules that a file imports anywhere, ours without their package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.module == "sktransfer" and path.stem != "__main__":
                names |= {f"sktransfer.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    return {name.removeprefix("sktransfer.") for name in names}


def foreign(path):
    """The packages that a file imports anywhere."""
    return {name.split(".")[0] for name in imports_of(path)}


def test_modules_import_only_what_is_below_them():
    order = modules_from_the_top_down()
    files = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert {*order} == {*files, "_tiny"}
    for place, module in enumerate(order[:-1]):
        ours = {name for name in imports_of(files[module]) if name.startswith("_")}
        assert ours <= {*order[place + 1 :]}, module


def test_keras_is_imported_in_one_place():
    of_keras = {"keras": {"_keras"}, "tensorflow": {"_frozen"}}
    for package, importers in of_keras.items():
        found = {p.stem for p in PACKAGE.glob("*.py") if package in foreign(p)}
        assert found == importers


def test_importing_the_package_imports_nothing_that_scikit_learn_does_not():
    code = (
        "import sys; import sklearn.pipeline, sklearn.utils.validation, concurrent.futures;"
        "before = {m.split('.')[0] for m in sys.modules};"
        "import sktransfer;"
        "print({m.split('.')[0] for m in sys.modules} - before - set(sys.stdlib_module_names))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "{'sktransfer'}"


def test_public_names_are_documented_and_sorted():
    assert sktransfer.__all__ == sorted(sktransfer.__all__)
    for name in sktransfer.__all__:
        assert getattr(sktransfer, name).__doc__, name
