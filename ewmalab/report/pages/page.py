"""A report as one self-contained HTML file, and its figures as PNG files."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ewmalab.atomic_files import write_atomic
from ewmalab.report.figures.style import png, svg, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is sorted by a click on a column's head.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequence
        Cells; a (shown, key) pair is sorted by its key.
    folded : bool
        Whether it is closed at first, for long tables.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    folded: bool = False


@dataclass(slots=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    text : list of str
        Paragraphs.
    content : list of Figure or Table
        In order, after the paragraphs.
    """

    title: str
    text: list[str] = field(default_factory=list)
    content: list[Figure | Table] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """A page.

    Attributes
    ----------
    title : str
    provenance : list of (str, str)
        Names and values of what it was made from.
    synthetic : bool
    sections : list of Section
    """

    title: str
    provenance: list[tuple[str, str]]
    synthetic: bool
    sections: list[Section] = field(default_factory=list)


def value(number: float | None, form: str = "") -> object:
    """Return a cell that shows a number in a format and sorts by it; "-" for a missing number."""
    if number is None or not isfinite(number):
        return "-"
    return (format(number, form), number) if form else float(number)


def percent(number: float | None) -> object:
    """Return a cell of a relative difference."""
    return value(None if number is None else 100 * number, "+.2f")


def write_reports(reports: Sequence[Report], folder: Path, progress: Callable[[], None] | None = None) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a folder, and return the page's path.

    Existing files of these names are replaced; the page is written atomically.

    Parameters
    ----------
    reports : sequence of Report
    folder : Path
    progress : callable, optional
        Called twice for each figure: once drawn into the page, once as PNG.

    Raises
    ------
    OSError
    """
    page = render_page(reports, progress)
    images = folder / "figures"
    for old in images.glob("[0-9][0-9]-*.png"):
        old.unlink()
    for name, figure in named_figures(reports):
        write_atomic(images / f"{name}.png", png(figure))
        if progress:
            progress()
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def named_figures(reports: Sequence[Report]) -> Iterator[tuple[str, Figure]]:
    """Yield each figure with its name, made of number and title."""
    number = 0
    for report in reports:
        for section in report.sections:
            for item in section.content:
                if not isinstance(item, Table):
                    number += 1
                    slug = re.sub(r"[^a-z0-9]+", "-", title_of(item).lower()).strip("-")
                    yield f"{number:02d}-{slug}"[:80], item


def render_page(reports: Sequence[Report], progress: Callable[[], None] | None = None) -> str:
    """Return the page; `progress` is called for each figure."""
    synthetic = any(report.synthetic for report in reports)
    title = html.escape(reports[0].title if len(reports) == 1 else f"{reports[0].title} and {len(reports) - 1} more")
    contents, body, number = [], [], 0
    names = iter(named_figures(reports))
    for report in reports:
        body.append(f'<h1 id="s{number}">{html.escape(report.title)}</h1>')
        contents.append(f'<a class="top" href="#s{number}">{html.escape(report.title)}</a>')
        number += 1
        if report.synthetic:
            body.append('<p class="synthetic">SYNTHETIC DATA: simulated prices, not a market.</p>')
        origin = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in report.provenance)
        body.append(f"<dl>{origin}</dl>")
        for section in report.sections:
            contents.append(f'<a href="#s{number}">{html.escape(section.title)}</a>')
            body.append(f'<section id="s{number}"><h2>{html.escape(section.title)}</h2>')
            number += 1
            body += [f"<p>{html.escape(text)}</p>" for text in section.text]
            for item in section.content:
                if isinstance(item, Table):
                    body.append(_table(item))
                else:
                    body.append(_figure(next(names)[0], item))
                    if progress:
                        progress()
            body.append("</section>")
    mark = ' class="marked"' if synthetic else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_CSS}</style></head>\n"
        f"<body{mark}><nav>{''.join(contents)}</nav>\n<main>{''.join(body)}</main>\n<script>{_SORT}</script></body></html>\n"
    )


def _figure(name: str, figure: Figure) -> str:
    title, note = title_of(figure), str(figure.get_label())
    data = base64.b64encode(svg(figure)).decode()
    alt = html.escape(f"{title}. {note}", quote=True)
    return f'<figure id="{name}"><img alt="{alt}" src="data:image/svg+xml;base64,{data}"></figure>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"><button>{html.escape(column)}</button></th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    inside = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    caption = html.escape(table.title)
    if table.folded:
        return f'<details><summary>{caption}</summary><div class="wide">{inside}</div></details>'
    return f'<p class="caption">{caption}</p><div class="wide">{inside}</div>'


def _cell(content: object) -> str:
    shown, key = content if isinstance(content, tuple) else (content, None)
    if isinstance(shown, float):
        shown, key = f"{shown:,.2f}", shown
    elif isinstance(shown, int) and not isinstance(shown, bool):
        shown, key = f"{shown:,}", shown
    number = isinstance(key, int | float)
    sort = "" if key is None else f' data-k="{key!r}"' if number else f' data-k="{html.escape(str(key), quote=True)}"'
    return f"<td{' class=n' if number or shown == '-' else ''}{sort}>{html.escape(str(shown))}</td>"


_CSS = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;margin:0;display:flex;background:#fff}
nav{position:sticky;top:0;align-self:flex-start;height:100vh;overflow:auto;width:13.5rem;flex:none;padding:1rem;
box-sizing:border-box;border-right:1px solid #ddd;font-size:13px}
nav a{display:block;color:#0072b2;text-decoration:none;padding:.15rem 0}nav a.top{font-weight:600;color:#1a1a1a;
margin-top:.6rem;overflow-wrap:anywhere}nav a:hover{text-decoration:underline}
main{padding:1rem 2rem 4rem;max-width:64rem;min-width:0;flex:1}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;border-bottom:1px solid #ddd;margin-top:2.2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:13.5px}dt{color:#555}
dd{margin:0;overflow-wrap:anywhere}
figure{margin:1.2rem 0}figure img{max-width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:.15rem .6rem;border-bottom:1px solid #e5e5e5;text-align:left;white-space:nowrap}td.n{text-align:right}
th button{font:inherit;font-weight:600;border:0;background:none;padding:0;cursor:pointer;color:inherit}
th button::after{content:" \\2195";color:#999}th[aria-sort=ascending] button::after{content:" \\2191";color:#000}
th[aria-sort=descending] button::after{content:" \\2193";color:#000}
.caption{font-weight:600;margin:1.2rem 0 .3rem}summary{cursor:pointer;font-weight:600;margin:1rem 0}
.synthetic{background:#d55e00;color:#fff;font-weight:700;padding:.4rem .8rem;letter-spacing:.05em}
.marked main{background:repeating-linear-gradient(-35deg,#fff 0 9rem,#fdf1ea 9rem 9.6rem)}
@media print{nav{display:none}main{max-width:none;padding:0}figure,tr{break-inside:avoid}
details:not([open])>*:not(summary){display:none}}
@media(max-width:50rem){body{display:block}nav{position:static;height:auto;width:auto;border:0}main{padding:1rem}}
"""

_SORT = """
document.querySelectorAll("th button").forEach(b=>b.addEventListener("click",()=>{
const th=b.parentNode,i=th.cellIndex,body=th.closest("table").tBodies[0];
const up=th.getAttribute("aria-sort")!=="ascending";
th.parentNode.querySelectorAll("th").forEach(o=>o.removeAttribute("aria-sort"));
th.setAttribute("aria-sort",up?"ascending":"descending");
const key=r=>{const c=r.cells[i];return "k" in c.dataset?c.dataset.k:c.textContent};
const rows=[...body.rows].map(r=>[key(r),r]),n=rows.every(([k])=>k===""||k==="-"||!isNaN(k));
const value=k=>k===""||k==="-"?Infinity:Number(k);
rows.sort(([a],[b])=>n?value(a)-value(b):a.localeCompare(b));if(!up)rows.reverse();
body.append(...rows.map(r=>r[1]))}));
"""
