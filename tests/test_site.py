"""The site builds from the documents, without a warning and without Internet access."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sktransfer

ROOT = Path(__file__).parents[1]
BUILT = ("_build", "auto_gallery", "generated")


def test_the_reference_names_every_public_name_once():
    names = re.findall(r"^   (\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(names) == sktransfer.__all__


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx_gallery")
    for name in ("docs", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(*BUILT))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-D", "plot_gallery=0"]
    result = subprocess.run(
        [*command, tmp_path / "docs", tmp_path / "site"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for name in sktransfer.__all__:
        page = (tmp_path / f"site/generated/sktransfer.{name}.html").read_text()
        assert f'id="sktransfer.{name}"' in page
    for script in (ROOT / "docs/gallery").glob("*.py"):
        assert (tmp_path / f"site/auto_gallery/{script.stem}.html").exists()
