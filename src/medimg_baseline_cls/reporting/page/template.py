"""Turns a template and its values into one self-contained page without network.

The page's Content-Security-Policy allows the one style sheet inside it and at most one script
of this room, both by hash, and pictures inside it; nothing else. Every text is escaped for HTML,
control characters are shown.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from medimg_baseline_cls.utils.visible import show_hidden


def render_page(template: str, *, script: str | None = None, **values: Any) -> str:
    """Return a page as text.

    Args:
        template: the name of a file of this room.
        script: the name of the one script of the page, a file of this room; None for none.
        values: what the template shows; `style` and `script` are added, with hashes.
    """
    style = read_resource("style.css")
    code = read_resource(script) if script else ""
    values |= {"style": style, "style_hash": _hash(style)}
    values |= {"script": code, "script_hash": _hash(code)}
    environment = Environment(
        loader=FunctionLoader(read_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_show_plain,
    )
    return environment.get_template(template).render(**values).lstrip()


def read_resource(name: str, *, room: str = "page") -> str:
    """Return a template, style sheet or table of a room of reporting."""
    folder = resources.files(f"medimg_baseline_cls.reporting.{room}")
    return folder.joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    """Return the sha256 of a style sheet or script, as a policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _show_plain(value: Any) -> Any:
    """Return a text in which nothing is hidden, its lines kept; escaping for HTML comes after."""
    is_plain = isinstance(value, str) and not hasattr(value, "__html__")
    return "\n".join(map(show_hidden, value.split("\n"))) if is_plain else value
