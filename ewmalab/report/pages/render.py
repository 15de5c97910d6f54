"""Render reports as one HTML file that needs no network and no other file, and figures as PNG and SVG."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.report.figures import style
from ewmalab.report.figures.chart import Chart
from ewmalab.report.figures.interactive import described, legend_of
from ewmalab.report.pages.page import Card, Cell, Report, Section, Table, named_figures

_PAPER = {"light": "#FFFFFF", "dark": "#1E2329"}


def write_reports(
    reports: Sequence[Report], folder: Path, progress: Callable[[], None] | None = None, *, figures: bool = False
) -> Path:
    """Write ``report.html`` into a folder, and return the page's path.

    Existing files of these names are replaced; the page is written atomically.

    Parameters
    ----------
    reports : sequence of Report
    folder : Path
    progress : callable, optional
        Called once for each figure.
    figures : bool
        Also write ``figures/*.png`` and ``figures/*.svg``.

    Raises
    ------
    OSError
    """
    path = folder / "report.html"
    write_atomic(path, render_page(reports).encode())
    images = folder / "figures"
    for kind in ("png", "svg"):
        for old in images.glob(f"[0-9][0-9]-*.{kind}"):
            old.unlink()
    for name, chart in named_figures(reports):
        if figures:
            _draw(images, name, chart)
        if progress:
            progress()
    return path


def _draw(folder: Path, name: str, chart: Chart) -> None:
    from ewmalab.report.figures.static import drawn, png, svg

    figure = drawn(chart)
    write_atomic(folder / f"{name}.png", png(figure))
    write_atomic(folder / f"{name}.svg", svg(figure))


def render_page(reports: Sequence[Report]) -> str:
    """Return the page."""
    synthetic = any(report.synthetic for report in reports)
    title = reports[0].title if len(reports) == 1 else f"{reports[0].title} and {len(reports) - 1} more"
    charts = [chart for _, chart in named_figures(reports)]
    contents, body = list[str](), list[str]()
    numbers = iter(range(len(charts)))
    for place, report in enumerate(reports):
        links, parts = _report(report, f"r{place}", numbers)
        contents += links
        body += parts
    mark = ' class="marked"' if synthetic else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_own('page.css')}</style></head>\n"
        f'<body{mark}><a class="skip" href="#main">To the content</a><nav aria-label="Contents">'
        f"{''.join(contents)}</nav>\n"
        f'<main id="main">{"".join(body)}</main>\n{_scripts(charts)}</body></html>\n'
    )


def _scripts(charts: Sequence[Chart]) -> str:
    own = f"<script>{_own('page.js')}</script>"
    if not charts:
        return own
    themes = {
        "light": _theme(style.COLOURS, style.MEANINGS, _PAPER["light"]),
        "dark": _theme(style.DARK_COLOURS, style.DARK_MEANINGS, _PAPER["dark"]),
    }
    data = {"charts": [described(chart) for chart in charts], "themes": themes}
    plain = orjson.dumps(data).decode().replace("<", "\\u003c")
    library = (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    return (
        f'<script type="application/json" id="charts">{plain}</script>\n'
        f'<script type="text/plain" id="library">{library}</script>\n{own}'  # the page is shown before it is compiled
    )


def _theme(colours: Sequence[str], meanings: Mapping[str, str], paper: str) -> dict[str, str]:
    return {**{str(place): colour for place, colour in enumerate(colours)}, **meanings, "paper": paper}


def _own(name: str) -> str:
    return (resources.files("ewmalab.report.pages") / name).read_text("utf-8")


def _report(report: Report, anchor: str, numbers: Iterator[int]) -> tuple[list[str], list[str]]:
    """Return the links to the parts of a report, and the parts."""
    links = [f'<a class="top" href="#{anchor}">{html.escape(report.title)}</a>']
    body = [f'<h1 id="{anchor}">{html.escape(report.title)}</h1>']
    if report.name != report.title:
        body.append(f'<p class="meta">{html.escape(report.name)}</p>')
    if report.synthetic:
        body.append('<p class="synthetic">SYNTHETIC DATA: simulated prices, not a market.</p>')
    if report.facts:
        body.append(_facts(report.facts))
    if report.card:
        body.append(_card(report.card))
    if any(len(names) > 1 for names in report.switches.values()):
        body.append(_switches(report.switches))
    for place, section in enumerate(report.sections):
        key = f"{anchor}s{place}"
        links.append(f'<a href="#{key}">{html.escape(section.title)}</a>')
        body.append(_section(section, key, numbers))
    if report.provenance:
        links.append(f'<a href="#{anchor}made">Made from</a>')
        made = f'<section id="{anchor}made"><h2>Made from</h2>{_facts(report.provenance)}</section>'
        body.append(made)
    return links, body


def _text(text: str) -> str:
    """Return a text for a page, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>' for k, v in facts)}</dl>"


def _card(card: Card) -> str:
    lead = "".join(f'<p class="lead">{_text(text)}</p>' for text in card.lead)
    boards = "".join(f"<div>{_table(board)}</div>" for board in card.boards)
    facts = "".join(
        f"<h3>{html.escape(question)}</h3><ul>{''.join(f'<li>{_text(answer)}</li>' for answer in answers)}</ul>"
        for question, answers in card.facts
        if answers
    )
    shown = f'<div class="boards">{boards}</div>{_under(card.note)}'
    return f'<section class="card" aria-label="Verdict">{lead}{shown}{facts}</section>'


def _under(note: str) -> str:
    return f'<p class="under">{_text(note)}</p>' if note else ""


def _switches(switches: dict[str, list[str]]) -> str:
    rows = []
    for what, names in switches.items():
        if len(names) > 1:
            buttons = "".join(_button(name) for name in names)
            rows.append(
                f'<div role="group" aria-label="{html.escape(what)}"><span class="of">{what}</span>{buttons}</div>'
            )
    return f'<div class="switches">{"".join(rows)}</div>'


def _button(name: str, sample: str = "") -> str:
    shown = html.escape(name)
    return f'<button type="button" class="name" data-name="{shown}" aria-pressed="true">{sample}{shown}</button>'


def _section(section: Section, key: str, numbers: Iterator[int]) -> str:
    parts = [f'<section id="{key}"><h2>{html.escape(section.title)}</h2>']
    parts += [f"<p>{_text(text)}</p>" for text in section.text]
    for item in section.content:
        if isinstance(item, Table):
            parts.append(_table(item))
        elif item.panels:
            parts.append(_figure(next(numbers), item))
    return "".join([*parts, "</section>"])


def _figure(number: int, chart: Chart) -> str:
    title, note = html.escape(chart.title), html.escape(chart.note)
    plots = []
    for panel in chart.panels:
        alt = html.escape(f"{chart.title}. {panel.title}. {chart.note}", quote=True)
        head = f"<h4>{html.escape(panel.title)}</h4>" if panel.title else ""
        plots.append(f'<div class="panel">{head}<div class="plot" role="img" aria-label="{alt}"></div></div>')
    choice = ""
    if chart.one_at_a_time:
        options = "".join(f"<option>{html.escape(panel.title)}</option>" for panel in chart.panels)
        choice = f'<label class="choose">Prompt <select>{options}</select></label>'
    wide = "100%" if chart.one_at_a_time else f"{round(84 * chart.width)}px"
    size = f"--w:{wide};--n:{max(1, chart.columns)};--h:{round(96 * chart.height)}px"
    legend = "".join(_button(one["name"], _sample(one)) for one in legend_of(chart))
    return (
        f'<figure data-chart="{number}"><figcaption><strong>{title}</strong>'
        f'<span class="note">{note}</span></figcaption>'
        f'{choice}<div class="legend" role="group" aria-label="Shown in {title}">{legend}</div>'
        f'<div class="panels" style="{size}">{"".join(plots)}</div>'
        '<details class="data"><summary>Numbers of this figure</summary><div class="wide"></div></details></figure>'
    )


def _sample(look: dict[str, object]) -> str:
    """Return a picture of a mark for the legend, in the colours of the page's scheme."""
    name = str(look["color"])[1:]
    pair = [
        (colours[int(name)] if name.isdigit() else meanings[name])
        for colours, meanings in ((style.COLOURS, style.MEANINGS), (style.DARK_COLOURS, style.DARK_MEANINGS))
    ]
    colour = f"light-dark({pair[0]},{pair[1]})"
    if "area" in look:
        inside = f'<rect x="2" y="1" width="20" height="10" style="fill:{colour};opacity:{look["area"]}"/>'
        return f'<svg width="24" height="12" aria-hidden="true">{inside}</svg>'
    place = int(str(look["dash"]))
    dash = ("", "5 2", "1.5 1.5", "5 2 1.5 2", "8 2", "3 1", "1 2")[place]
    line = (
        f'<path d="M1 6H23" style="stroke:{colour};stroke-width:2;stroke-dasharray:{dash or "none"}"/>'
        if look["line"]
        else ""
    )
    shape = _SHAPES.get(str(look["marker"]), "")
    return f'<svg width="24" height="12" aria-hidden="true">{line}<path d="{shape}" style="fill:{colour}"/></svg>'


_SHAPES = {
    "circle": "M16 6a4 4 0 1 1-8 0a4 4 0 1 1 8 0z",
    "square": "M8 2h8v8h-8z",
    "triangle-up": "M12 1l5 9h-10z",
    "diamond": "M12 1l5 5l-5 5l-5-5z",
    "triangle-down": "M7 2h10l-5 9z",
    "cross": "M10 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "x": "M8 1l4 3l4-3l2 2l-4 3l4 3l-2 2l-4-3l-4 3l-2-2l4-3l-4-3z",
    "star": "M12 0l1.6 4.2l4.4.2l-3.5 2.7l1.2 4.3l-3.7-2.4l-3.7 2.4l1.2-4.3l-3.5-2.7l4.4-.2z",
}


def _table(table: Table) -> str:
    heads = [html.escape(column) for column in table.columns]
    if not table.fixed:
        heads = [f'<button type="button">{head}</button>' for head in heads]
    rows = [[_cell(content) for content in row] for row in table.rows]
    numbers = [any(row[place].startswith("<td class=n") for row in rows) for place in range(len(heads))]
    head = "".join(
        f'<th scope="col"{" class=n" if number else ""}>{text}</th>'
        for text, number in zip(heads, numbers, strict=True)
    )
    if table.fixed:  # the first cell names its row
        rows = [[f'<th scope="row"{first[3:-5]}</th>', *others] for first, *others in rows]
    caption, note = html.escape(table.title), _under(table.note)
    inside = f'<div class="wide" role="region" aria-label="{html.escape(table.title, quote=True)}" tabindex="0">'
    kind = " class=board" if table.fixed else ""
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    inside += f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    if table.folded:
        return f"<details><summary>{caption}</summary>{inside}</details>"
    return f'<p class="caption">{caption}</p>{inside}'


def _cell(content: object) -> str:
    if isinstance(content, Cell):
        return _rich(content)
    shown, key = content if isinstance(content, tuple) else (content, None)
    if isinstance(shown, float):
        shown, key = f"{shown:,.2f}", shown
    elif isinstance(shown, int) and not isinstance(shown, bool):
        shown, key = f"{shown:,}", shown
    number = isinstance(key, int | float)
    return f"<td{' class=n' if number or shown == '-' else ''}{_sorted_by(key)}>{html.escape(str(shown))}</td>"


def _rich(cell: Cell) -> str:
    shown = html.escape(cell.shown)
    if cell.opens:
        shown = f'<button type="button" data-opens="{html.escape(cell.opens, quote=True)}">{shown}</button>'
    if cell.link:
        shown = f'<a href="{html.escape(cell.link, quote=True)}">{shown}</a>'
    detail = "".join(f"<small>{html.escape(line)}</small>" for line in cell.detail.splitlines())
    return f"<td{f' class={cell.tone}' if cell.tone else ''}{_sorted_by(cell.key)}>{shown}{detail}</td>"


def _sorted_by(key: object) -> str:
    if key is None:
        return ""
    return f' data-k="{key!r}"' if isinstance(key, int | float) else f' data-k="{html.escape(str(key), quote=True)}"'
