"""The package is what its table of modules says: imports go down only."""

import ast
import subprocess
import sys
from pathlib import Path

import sktransfer

PACKAGE = Path(sktransfer.__file__).parent

MAY_IMPORT = {
    "__init__": {
        "_augmentation",
        "_cache",
        "_classifier",
        "_display",
        "_exceptions",
        "_saving",
        "_transformer",
    },
    "__main__": {"_shell"},
    "_shell": set(),
    "_saving": {
        "_augmentation",
        "_classifier",
        "_exceptions",
        "_persistence",
        "_segments",
    },
    "_transformer": {
        "_backbones",
        "_cache",
        "_exceptions",
        "_extraction",
        "_facts",
        "_inputs",
        "_persistence",
        "_tasks",
    },
    "_classifier": {
        "_augmentation",
        "_backbones",
        "_cache",
        "_epochs",
        "_extraction",
        "_facts",
        "_inputs",
        "_persistence",
        "_stages",
        "_suffix",
        "_summary",
        "_tasks",
        "_training",
        "_unfreezing",
    },
    "_training": {
        "_epochs",
        "_frozen",
        "_keras",
        "_linear_head",
        "_persistence",
        "_progress",
        "_stages",
        "_suffix",
        "_tasks",
    },
    "_stages": set(),
    "_tasks": {"_progress"},
    "_suffix": {"_facts", "_frozen", "_interrupts", "_keras"},
    "_persistence": {"_backbones", "_exceptions", "_frozen"},
    "_unfreezing": {"_backbones", "_exceptions"},
    "_extraction": {
        "_cache",
        "_decoding",
        "_exceptions",
        "_facts",
        "_threads",
        "_writer",
    },
    "_facts": {"_backbones", "_decoding", "_exceptions", "_frozen", "_openvino"},
    "_frozen": {
        "_backbones",
        "_description",
        "_exceptions",
        "_fingerprint",
        "_folding",
        "_interrupts",
        "_keras",
        "_openvino",
        "_precision",
        "_tiny",
    },
    "_description": {"_fingerprint", "_keras"},
    "_inputs": {"_backbones", "_decoding"},
    "_backbones": {"_exceptions", "_tiny"},
    "_cache": {"_segments"},
    "_augmentation": set(),
    "_decoding": set(),
    "_display": set(),
    "_epochs": {"_interrupts", "_keras", "_threads"},
    "_exceptions": set(),
    "_fingerprint": set(),
    "_folding": {"_keras"},
    "_interrupts": set(),
    "_keras": {"_interrupts"},
    "_linear_head": set(),
    "_openvino": {"_exceptions"},
    "_precision": {"_keras"},
    "_progress": set(),
    "_segments": set(),
    "_summary": set(),
    "_threads": set(),
    "_writer": set(),
}


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
    for path in PACKAGE.glob("*.py"):
        ours = {n for n in imports_of(path) if n.startswith("_") or n == "sktransfer"}
        assert ours <= MAY_IMPORT[path.stem], path.stem


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
