"""Settings of the documentation site: `make docs` builds it into docs/_build/html.

Parts of some pages are generated from the code, see generated.py.
"""

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

import generated  # noqa: E402

import medimg_baseline_cls  # noqa: E402

project = "medimg_baseline_cls"
author = "The medimg_baseline_cls authors"
release = medimg_baseline_cls.__version__
html_title = f"medimg_baseline_cls {release}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Docstrings are written for a reader of the code: `name` in them is code, not a cross-reference.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Types in signatures come from NumPy, PyTorch and ourselves; their pages are not ours to link.
nitpicky = False


def fill_in(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace each line `<!-- generate: WHAT -->` of a page by what the code says."""
    source[0] = generated.fill_in(source[0])


def setup(app: Sphinx) -> None:
    """Connect what generates parts of pages."""
    app.connect("source-read", fill_in)
