"""Imports go down only; importing the package is light; public names are documented."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import sktransfer

PACKAGE = Path(sktransfer.__file__).parent

# Each place, and what of the package it may import besides itself.
MAY_IMPORT = {
    "_affine": (),
    "_exceptions": (),
    "_typing": (),
    "_runtime": ("_exceptions",),
    "_images": ("_runtime", "_exceptions"),
    "_networks": ("_images", "_runtime", "_exceptions"),
    "_features": ("_images", "_networks", "_runtime", "_exceptions"),
    "_training": ("_features", "_images", "_networks", "_runtime", "_exceptions"),
    "_base": ("_training", "_features", "_images", "_networks", "_runtime", "_exceptions"),
    "_fine_tuning": (
        "_base",
        "_training",
        "_features",
        "_images",
        "_networks",
        "_runtime",
        "_exceptions",
    ),
}
PUBLIC = (
    "_transformer",
    "_classifier",
    "_regressor",
)  # may import all of these, not each other
ABOVE = {
    "_comparison": ("_transformer", "_typing"),
    "_displays": ("_affine", "_training", "_features", "_images", "_exceptions", *PUBLIC),
    "_audit": ("_displays", "_images", "_exceptions", "_typing", *PUBLIC),
    "_deployment": (*MAY_IMPORT, *PUBLIC),
    "_cli": ("sktransfer", "_images"),
    "__main__": ("_cli",),
    "__init__": (*MAY_IMPORT, *PUBLIC, "_comparison", "_displays", "_audit", "_deployment"),
}
KERAS_IS_IMPORTED_BY = {"_networks/tiny/__init__.py", "_runtime/keras.py"}


def places():
    """The modules and folders directly in the package."""
    files = {path.stem for path in PACKAGE.glob("*.py")}
    return files | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def files_of(place):
    folder = PACKAGE / place
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{place}.py"]


def modules_imported_by(path):
    """Dotted names of modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            are_modules = node.module.startswith("sktransfer._") and {
                name
                for name in inner
                if PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").exists()
            }
            names |= are_modules or {node.module}
    return names


def is_file(module):
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py").is_file()


def ours(names):
    return {name for name in names if name.split(".")[0] == "sktransfer"}


def place_of(module):
    return module.split(".")[1] if "." in module else module


def test_each_place_imports_only_what_it_may():
    allowed = {**MAY_IMPORT, **{name: tuple(MAY_IMPORT) for name in PUBLIC}, **ABOVE}
    assert places() == {*allowed}
    for place, others in allowed.items():
        for path in files_of(place):
            imported = {
                (*name.split("."), "sktransfer")[1] for name in ours(modules_imported_by(path))
            }
            assert imported <= {place, *others}, path


def test_no_file_imports_itself_by_way_of_others():
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        graph[name] = ours(modules_imported_by(path)) - {"sktransfer"}
    list(TopologicalSorter(graph).static_order())  # which raises CycleError


def test_keras_is_imported_in_one_place():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "keras" in {name.split(".")[0] for name in modules_imported_by(path)}
    }
    assert found == KERAS_IS_IMPORTED_BY


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
