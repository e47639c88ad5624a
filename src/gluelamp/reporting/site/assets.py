"""What the page carries: Vega for charts and DataTables for tables, from installed packages, and its own."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files


def vega() -> str:
    """Return Vega-Embed with Vega and Vega-Lite, as a script that defines ``vegaEmbed``."""
    import vl_convert

    return _inside_html(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def data_tables() -> str:
    """Return DataTables as a module, whose default it exports."""
    return _inside_html((files("itables") / "html" / "dt_bundle.js").read_text("utf-8"))


def static(name: str) -> str:
    """Return a file of the page's own."""
    return (files(__package__) / "static" / name).read_text("utf-8")


def credits() -> dict[str, str]:
    """Return the version of each package whose code the page carries."""
    return {name: version(name) for name in ("altair", "itables", "vl-convert-python")}


def _inside_html(script: str) -> str:
    """A script's text must not hold its closing tag."""
    return script.replace("</script", r"<\/script")
