"""Settings of the documentation site: `make docs` builds it into docs/_build/html.

Parts of some pages are generated from the code, see generated.py.
"""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

import generated  # noqa: E402

import medimg_baseline_cls  # noqa: E402

project = "medimg_baseline_cls"
author = "The medimg_baseline_cls authors"
release = medimg_baseline_cls.__version__
html_title = f"medimg_baseline_cls {release}"
highlight_language = "text"
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
add_module_names = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Types in signatures come from NumPy, PyTorch and ourselves; their pages are not ours to link.
nitpicky = False


ARRAY = re.compile(r"~?numpy\.ndarray\[~?\w+\[~?[\w.]+, \.\.\.\], ~?numpy\.dtype\[([^\]]+)\]\]")


def fill_in(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace each line `<!-- generate: WHAT -->` of a page by what the code says."""
    source[0] = generated.fill_in(source[0])


def shorten_types(*event: Any) -> tuple[str | None, str | None] | None:
    """Write arrays as NumPy's users write them: NDArray[float64]."""
    *_, signature, result = event
    if signature is None:
        return None
    texts = [
        text and ARRAY.sub(lambda m: f"NDArray[{m[1].rpartition('.')[2]}]", text)
        for text in (signature, result)
    ]
    return texts[0], texts[1]


def skip_numbered_fields(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool:
    """Leave out the fields of named tuples, whose signature says all there is to say."""
    return skip or str(getattr(thing, "__doc__", "")).startswith("Alias for field number")


def setup(app: Sphinx) -> None:
    """Connect what generates parts of pages."""
    app.connect("source-read", fill_in)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("autodoc-skip-member", skip_numbered_fields)
