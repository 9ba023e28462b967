"""Rendering of HTML pages. All values are escaped; style and script are embedded, so that a page loads only images."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_NONE = "–"


def render_page(template: str, **values: Any) -> str:
    """Return the HTML of a page.

    Args:
        template: Name of a file in `templates`.
        values: Variables of the template.

    Returns:
        The HTML text of the page.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """Return the Jinja environment of the templates."""
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("pipelines.report") / "templates"
    environment.globals["style"] = Markup((folder / "style.css").read_text("utf-8"))
    environment.globals["script"] = Markup((folder / "report.js").read_text("utf-8"))
    environment.filters |= {"percent": _percent, "number": _number, "href": _href}
    return environment


def _percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return _NONE if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals."""
    return _NONE if value is None else f"{value:.{digits}f}"


def _href(path: str) -> str:
    """Return the link to a file of the report, whose name can contain any character, including a percent sign."""
    return quote(path)
