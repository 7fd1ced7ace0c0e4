"""Small pieces of HTML that report.html is made of; everything that comes from outside passes `escape`."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

# In characters; a longer value gets a line of its own.
_LONG_FACT = 45


def escape(value: object) -> str:
    """Text as HTML, quotes included; control characters, which no document may hold, become U+FFFD.

    Args:
        value: anything with a `str`.

    Returns:
        str.
    """
    text = html.escape(str(value), quote=True)
    # Lone surrogates (from invalid bytes) cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join("\ufffd" if ord(c) < 32 and c not in "\t\n\r" else c for c in text)


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share as "87.65 %".

    Args:
        value: float from 0 to 1, or None, shown as a dash.
        digits: int, default 2.

    Returns:
        str.
    """
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None) -> str:
    """Return a number with four significant digits or so.

    Args:
        value: float, or None, shown as a dash.

    Returns:
        str.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def section(title: str, note: str, *content: str) -> str:
    """Join content under a heading; without content there is no section.

    Args:
        title: str, plain text.
        note: str, HTML, one or two sentences below the heading.
        *content: str, HTML.

    Returns:
        str.
    """
    inner = "".join(content)
    if not inner.replace('<div class="grid">', "").replace("</div>", "").strip():
        return ""
    note = f'<p class="note">{note}</p>' if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>{note}\n{inner}\n</section>"


def card(content: str, title: str = "") -> str:
    """Put HTML on a card.

    Args:
        content: str, HTML.
        title: str, plain text, default none.

    Returns:
        str.
    """
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card">{heading}{content}</div>'


def figure(caption: str, svg: str) -> str:
    """Put a drawing on a card.

    Args:
        caption: str, plain text.
        svg: str, inline SVG.

    Returns:
        str.
    """
    described = svg.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return card(described, caption)


def tile(name: str, value: str, detail: str = "", style: str = "") -> str:
    """Show one large figure.

    Args:
        name: str, plain text.
        value: str, plain text.
        detail: str, plain text below the value.
        style: str, "main" for the most important one.

    Returns:
        str.
    """
    return (
        f'<div class="card tile {style}"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div>'
        f'<div class="detail">{escape(detail)}</div></div>'
    )


def facts(entries: Mapping) -> str:
    """Show a dict as pairs of name and value.

    Args:
        entries: dict of plain values.

    Returns:
        str, empty for an empty dict.
    """
    if not entries:
        return ""
    rows = ""
    for key, value in entries.items():
        style = ' class="long"' if len(str(value)) > _LONG_FACT else ""
        rows += f"<div{style}><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>"
    return f'<dl class="facts">{rows}</dl>'


def table(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Show rows under a header; cells are plain text.

    Args:
        columns: sequence of str.
        rows: sequence of rows, each as long as `columns`.

    Returns:
        str.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
