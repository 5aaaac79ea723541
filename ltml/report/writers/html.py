"""A report as one HTML file with style, script and plots inside; it fetches nothing."""

from __future__ import annotations

import base64
import hashlib

import jinja2
from markupsafe import Markup

from ltml.report.page import Page
from ltml.report.writers.svg import draw_chart, draw_key

PACKAGE = "ltml.report"


def render_html(page: Page, version: str) -> str:
    """Return the page as HTML, with all text escaped.

    The page's security policy allows its own script alone and no request, so that a name in a file could do no harm
    even if it were not escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"draw_chart": draw_chart, "draw_key": draw_key}
    style, script = (_source(environment, name) for name in ("style.css", "sort.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return environment.get_template("page.html").render(
        page=page, version=version, style=style, script=script, policy=policy
    )


def _source(environment: jinja2.Environment, name: str) -> Markup:
    """Return a template file as markup that is not escaped."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])
