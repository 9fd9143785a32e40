"""The site: `make docs` builds it into docs/_build/html. SMOKE=1 cuts the gallery's trainings."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import public_names
from small_budgets import small_budgets

from sklsdm import __version__

project = "sklsdm"
author = "the sklsdm developers"
copyright = author
version = release = __version__

extensions = [
    "docstrings",
    "mathml",
    "myst_parser",
    "numpydoc",
    "public_names",
    "repository_pages",
    "scrolling_pictures",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "literal"  # docstrings write `name`
html_math_renderer = "mathml"

autosummary_context = {"public": public_names.by_kind()}
autodoc_typehints = "none"  # the docstrings have the types
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "capture_repr": (),  # what is printed is shown, and no object's address
    "image_srcset": ["2x"],  # sharp on fine screens
    "copyfile_regex": r".*GALLERY_HEADER\.rst",
    "min_reported_time": 1,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sklsdm {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sklsdm"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": [], "getting-started": [], "faq": [], "cite": [], "changelog": []}

_cuts = ExitStack()  # lasts as long as the build
if os.environ.get("SMOKE"):
    _cuts.enter_context(small_budgets())
