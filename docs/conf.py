"""The site: ``pip install -e ".[docs]" && python -m sphinx -W docs docs/_build``.

It is built without Internet access. Links to the pages of scikit-learn, NumPy and Keras need
their lists of names: set ``SKTRANSFER_DOCS_LINKS=1`` to have them downloaded.
"""

import os
import re
import tempfile

# The scripts of the gallery keep features in a folder of their own, and print no more than
# they mean to. All of this before TensorFlow is imported.
os.environ["SKTRANSFER_CACHE"] = tempfile.mkdtemp(prefix="sktransfer-docs-")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sktransfer

project = "sktransfer"
author = "The sktransfer developers"
copyright = "The sktransfer developers. BSD-3-Clause"
version = release = sktransfer.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "pictures"]  # the gallery is built into auto_gallery
templates_path = ["_templates"]
default_role = "py:obj"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
autodoc_typehints = "none"  # docstrings tell the types

if os.environ.get("SKTRANSFER_DOCS_LINKS"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "keras": ("https://keras.io/api", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": "sktransfer",
    "backreferences_dir": "generated/backreferences",
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sktransfer {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sktransfer"},
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "navigation_with_keys": False,
}
alone = ("changelog", "contributing", "get_started", "how_it_works", "questions")
html_sidebars = {page: [] for page in alone}


def setup(app):
    app.connect("autodoc-process-docstring", unlink_scikit_learn)


def unlink_scikit_learn(app, what, name, obj, options, lines):
    """Turn references of inherited docstrings to pages of scikit-learn into text."""
    if not app.config.intersphinx_mapping:
        role = r":(?:ref|term):`([^`<]+?)\s*(?:<[^>]*>)?`"
        lines[:] = [re.sub(role, r"\1", line) for line in lines]
