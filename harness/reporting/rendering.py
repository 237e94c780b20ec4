"""Pages from templates, and the pictures in them: what every kind of report is written with."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

from harness.reporting.plots.style import save_plot

TEMPLATES = Path(__file__).resolve().parent / "templates"
SCRIPT = TEMPLATES / "sort_tables.js"
"""The one script that a page may run: its policy names the script's hash."""


@dataclass(frozen=True)
class Picture:
    title: str
    alt: str
    """What it shows, for a reader who cannot see it."""
    path: str
    """PNG, relative to the study's folder."""
    data: str
    """The SVG as a data URI."""
    inches: float
    """Width at which its text has the size it was drawn with."""
    is_tall: bool
    """Whether an upright sheet of paper suits it."""


def save_picture(figure: Figure, study: Path, name: str, title: str, alt: str) -> Picture:
    """Save a plot into the study's `plots/`; return what a page needs to show it."""
    saved = save_plot(figure, study / "plots", name)
    encoded = base64.b64encode(saved.svg.read_bytes()).decode("ascii")
    data = f"data:image/svg+xml;base64,{encoded}"
    width, height = figure.get_size_inches()
    path = f"plots/{saved.png.name}"
    return Picture(title, alt, path, data, round(float(width), 2), bool(height > width))


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template of `harness/templates`; in HTML every value is escaped.

    A template also knows `script`, and `script_digest` as a Content-Security-Policy writes it.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = escape_markdown
    script = SCRIPT.read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    environment.globals["script"] = script
    environment.globals["script_digest"] = base64.b64encode(digest).decode("ascii")
    return environment.get_template(template).render(values)


def escape_markdown(text: str) -> str:
    """Make text stand for itself in GitHub's Markdown, in a table cell too."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word, as in o_proj, starts no emphasis and stays readable.
    return re.sub(r"([\\`*\[\]|~$#]|(?<!\w)_|_(?!\w))", r"\\\1", flat)
