"""Reports: figures say what they show, axes their unit, synthetic data its nature; and a browser shows it all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from live_rig import START, Simulated, rig
from matplotlib.figure import Figure
from typer.testing import CliRunner

import ewmalab as ew
from ewmalab import notebook as nb
from ewmalab.analysis.compare import compare, scores_of
from ewmalab.analysis.ranking import Ranking
from ewmalab.analysis.review import review_backtest
from ewmalab.analysis.serving import serving
from ewmalab.analysis.sweep_rows import SweepRow, TriedValue, read_sweep
from ewmalab.cli import app
from ewmalab.errors import ExperimentError, MissingDataError
from ewmalab.experiments.store import Experiment, save_experiment
from ewmalab.inference.intervals import MIN_DIFFERENCES
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.track_record import track_record
from ewmalab.market.cache import local_cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.reproduce import reproduce_prompts, telling_prompts
from ewmalab.replay.results import SummaryRow, summarise
from ewmalab.report.figures import static, style
from ewmalab.report.figures.chart import Axis, Chart, Panel, Series, Tiles
from ewmalab.report.figures.interactive import described
from ewmalab.report.figures.sweep import heat_maps
from ewmalab.report.pages.backtest import backtest_report
from ewmalab.report.pages.leaderboard import leaderboard_report
from ewmalab.report.pages.live import live_report
from ewmalab.report.pages.page import Cell, Report, Section, Table, named_figures
from ewmalab.report.pages.render import render_page, write_reports
from ewmalab.report.pages.sources import report_of
from ewmalab.report.pages.sweep import sweep_report
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY

BEGIN = "2026-01-15"
NOW = START + 4 * DAY
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    folder = tmp_path_factory.mktemp("reported")
    return load_settings(
        environ={},
        flags={
            "data.feed": "simulated",
            "data.cache_dir": str(folder / "cache"),
            "run.experiments_dir": str(folder / "experiments"),
            "feeds.simulated.gaps": 0.01,
        },
    )


@pytest.fixture(scope="module")
def experiment(settings: LoadedSettings) -> Experiment:
    return ew.backtest(
        "ewma",
        "ewma@seed",
        "random-walk",
        start=BEGIN,
        days=2,
        assets=["BTC", "TSLAX"],
        cadence="2h",
        rules="2026-01-28",
        num_simulations=100,
        settings=settings,
        workers=2,
    )


@pytest.fixture(scope="module")
def small(settings: LoadedSettings) -> Experiment:
    """One that is drawn sooner."""
    return ew.backtest(
        "ewma", "random-walk", start=BEGIN, days=2, assets=["BTC"], cadence="4h", num_simulations=50, settings=settings
    )


@pytest.fixture(scope="module")
def sweeps(settings: LoadedSettings) -> dict[int, ew.SweepResult]:
    common: dict[str, Any] = {
        "start": BEGIN,
        "days": 2,
        "assets": ["BTC"],
        "competitions": ["1h"],
        "settings": settings,
    }
    return {
        1: ew.sweep({"half_life_1m": ["10m", "1h", "6h"]}, walk_forward="1d/1d", name="curve", **common),
        2: ew.sweep({"half_life_1m": ["10m", "1h"], "nu_1m": [3, 8]}, name="map", **common),
    }


@pytest.fixture(scope="module")
def leaderboard(settings: LoadedSettings) -> dict[str, Any]:
    flags = [
        f"--set={key}={settings.values.data.cache_dir if 'cache' in key else settings.values.run.experiments_dir}"
        for key in ("data.cache_dir", "run.experiments_dir")
    ]
    arguments = [
        "leaderboard",
        "ewma",
        "random-walk",
        "--feed",
        "simulated",
        "--start",
        BEGIN,
        "--days",
        "1",
        "--assets",
        "BTC",
        "--cadence",
        "2h",
        "--every",
        "6h",
        "--emission",
        "10",
        "--json",
        *flags,
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return orjson.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def live_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoadedSettings]:
    """The log of a miner that answered a few prompts, and settings whose cache knows what became of the prices."""
    folder = tmp_path_factory.mktemp("answered")
    with rig(folder, assets=("BTC",)) as running:
        validator = running.prober()
        for minutes in (2, 3, 4):
            for horizon in ("1h", "24h"):
                assert validator.ask(running.prompt(horizon=horizon, minutes=minutes)).accepted
        settings = running.miner.settings
        log_dir = Path(settings.values.live.log_dir)
    cache, name = local_cache(settings.values.data.cache_dir), LiveLog.read(log_dir).answers[0]["feed"]
    begin = START // DAY * DAY
    bars = Simulated("BTC").between(begin, begin + 3 * DAY)
    cache.write(
        name,
        "BTC",
        bars,
        [(begin, begin + 3 * DAY)],
        Provenance("the market of the test", NOW, synthetic=True),
        replace=True,
    )
    return log_dir, settings


def kept(name: str, settings: LoadedSettings) -> Experiment:
    [path] = Path(settings.values.run.experiments_dir).glob(f"*-{name}-*")
    return Experiment(path)


@pytest.fixture(scope="module")
def reports(
    experiment: Experiment,
    settings: LoadedSettings,
    sweeps: dict[int, ew.SweepResult],
    leaderboard: dict[str, Any],
    live_log: tuple[Path, LoadedSettings],
) -> dict[str, Report]:
    log = LiveLog.read(live_log[0])
    return {
        "backtest": backtest_report(review_backtest(experiment, settings.values.data.cache_dir)),
        "curve": sweep_report(kept("curve", settings)),
        "map": sweep_report(kept("map", settings)),
        "leaderboard": leaderboard_report(Ranking.read(leaderboard)),
        "live": live_report(serving(log.answers), track_record(log, live_log[1], now=NOW)),
    }


@pytest.fixture(scope="module")
def page(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page of them all."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(list(reports.values())))
    return path


KINDS = {"backtest": 14, "curve": 1, "map": 1, "leaderboard": 2, "live": 5}
"""By kind of report the least number of figures."""


def charts_of(report: Report) -> list[Chart]:
    return [chart for _, chart in named_figures([report])]


@pytest.fixture(scope="module")
def drawings(reports: dict[str, Report]) -> dict[str, list[Figure]]:
    """The figures of each kind of report, drawn by matplotlib."""
    return {kind: [static.drawn(chart) for chart in charts_of(report)] for kind, report in reports.items()}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


# --------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_what_it_shows_and_on_how_many_prompts_it_rests(
    kind: str, drawings: dict[str, list[Figure]]
) -> None:
    figures = drawings[kind]
    assert len(figures) >= KINDS[kind]
    for figure in figures:
        note = figure.get_supxlabel().replace("\n", " ")
        assert figure.get_suptitle().strip()
        assert re.search(r"[\d,]+ (prompts|start times|answers)", note), (figure.get_suptitle().strip(), note)
        assert figure.get_supxlabel().replace("\n", " ") == note


@pytest.mark.parametrize("kind", KINDS)
def test_every_axis_of_every_figure_is_named(kind: str, drawings: dict[str, list[Figure]]) -> None:
    for figure in drawings[kind]:
        drawn = [axes for axes in figure.axes if axes.get_visible()]
        assert drawn
        for axes in drawn:
            named = axes.get_xlabel(), axes.get_ylabel()
            assert all(named) or "points of % above the best" in named, (
                figure.get_suptitle().strip(),
                axes.get_title(loc="left"),
            )
        assert any(axes.get_ylabel() for axes in drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_data_is_watermarked_in_every_figure_and_on_the_page(
    kind: str, reports: dict[str, Report], drawings: dict[str, list[Figure]], page: Path
) -> None:
    report = reports[kind]
    assert report.synthetic
    assert all("SYNTHETIC DATA" in texts(figure) for figure in drawings[kind])
    marks = [panel["layout"].get("annotations", []) for c in charts_of(report) for panel in described(c)["panels"]]
    assert all("SYNTHETIC DATA" in [mark["text"] for mark in found] for found in marks)
    shown = page.read_text().partition(f">{report.title}</h1>")[2].split("</p>")
    assert any(
        text.startswith('<p class="synthetic">SYNTHETIC DATA: simulated prices, not a market.') for text in shown[:2]
    )
    assert '<body class="marked">' in page.read_text()


def test_real_data_is_not(experiment: Experiment) -> None:
    rows = compare({name: scores_of(experiment, name) for name in ("random-walk", "ewma")})
    chart = nb.draw.change_by_asset(rows, "random-walk", synthetic=False)
    assert "SYNTHETIC DATA" not in texts(static.drawn(chart))
    assert "SYNTHETIC" not in own_text(render_page([Report("r", [], False, [Section("s", [], [chart])])]))


def test_equal_figures_have_equal_bytes(experiment: Experiment) -> None:
    one, two = (nb.plot_change(experiment) for _ in range(2))
    assert static.svg(one) == static.svg(two)
    assert static.png(one) == static.png(two)


@pytest.mark.ci
def test_a_date_axis_of_any_span_has_ticks_and_shows_the_span_alone() -> None:
    panel = Figure().add_subplot()
    for span in (None, 0.0, 0.4, 1.0, 61.0, *np.geomspace(90, 30 * 365.25 * DAY, 50).tolist()):
        at = [1.77e9] if span is None else [1.77e9, 1.77e9 + span]
        panel.clear()
        panel.plot(static.seconds(at), at, "o")
        static.date_axis(panel)
        low, high = panel.get_xlim()
        ticks = panel.xaxis.get_majorticklocs()
        assert 1 <= sum(low <= tick <= high for tick in ticks) <= 8, span
        assert any(panel.xaxis.get_major_formatter().format_ticks(ticks)), span
        shown = (high - low) * DAY
        assert shown <= max(1.2 * (at[-1] - at[0]), 125.0), span


def test_things_look_different_in_colour_and_without() -> None:
    found = [(style.COLOURS[i % 7], style.MARKERS[style.turned(i)], style.DASHES[style.turned(i)]) for i in range(20)]
    assert len({(colour, marker) for colour, marker, _ in found}) == 20
    assert len({(marker, dash) for _, marker, dash in found[:7]}) == 7
    assert len(style.DARK_COLOURS) == len(style.COLOURS)
    assert style.DARK_MEANINGS.keys() == style.MEANINGS.keys()


# --------------------------------------------------------------------------------------------- the page


def own_text(page: str) -> str:
    """Return a page without the library that draws its figures."""
    return re.sub(r'<script type="text/plain" id="library">.*?</script>', "", page, flags=re.DOTALL)


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = own_text(page.read_text())
    assert len(text) < 2_500_000
    assert page.stat().st_size < 8_000_000
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "fetch(" not in text


def test_every_figure_has_a_place_an_alternative_text_and_its_numbers(reports: dict[str, Report], page: Path) -> None:
    text, charts = page.read_text(), [chart for report in reports.values() for chart in charts_of(report)]
    assert text.count("<figure data-chart=") == len(charts) == text.count("Numbers of this figure")
    alternatives = re.findall(r'role="img" aria-label="([^"]+)"', text)
    assert len(alternatives) == sum(len(chart.panels) for chart in charts)
    assert all(len(words) > 40 for words in alternatives)


def test_both_drawings_of_a_figure_show_the_same_numbers(reports: dict[str, Report]) -> None:
    (chart,) = [c for c in charts_of(reports["backtest"]) if c.title.startswith("Cumulative")]
    drawn = [line.get_ydata() for axes in static.drawn(chart).axes for line in axes.lines if len(line.get_xdata()) > 2]
    plotted = [trace["y"] for panel in described(chart)["panels"] for trace in panel["traces"]]
    assert len(drawn) == len(plotted) > 0
    for one, other in zip(drawn, plotted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.ci
def test_plotly_accepts_every_figure(reports: dict[str, Report]) -> None:
    from plotly.graph_objects import Figure as Plot

    themes = dict(enumerate(style.COLOURS)) | style.MEANINGS
    for report in reports.values():
        for chart in charts_of(report):
            for panel in orjson.loads(re.sub(rb'"@(\w+)"', b'"grey"', orjson.dumps(described(chart))))["panels"]:
                Plot(data=panel["traces"], layout=panel["layout"])  # refuses whatever plotly does not know
            named = set(re.findall(r'"@(\w+)"', orjson.dumps(described(chart)).decode()))
            assert named <= {str(name) for name in themes}


def test_a_panel_without_numbers_is_left_out() -> None:
    nothing, one = np.array([np.nan]), np.array([1.0])
    panels = [
        Panel(name, Axis("x"), Axis("y"), [Series("s", one, y, 0)]) for name, y in (("no", nothing), ("yes", one))
    ]
    chart = Chart("title", "note").of(panels)
    assert [panel.title for panel in chart.panels] == ["yes"]
    report = Report("r", [], False, [Section("s", [], [Chart("title", "note").of(panels[:1])])])
    assert "<figure" not in render_page([report])


def test_equal_values_written_differently_share_a_place_on_a_map() -> None:
    def tried(half_life: str, nu: float, change: float, **more: bool) -> TriedValue:
        label, value = f"{half_life} {nu}", {"half_life": half_life, "nu": nu}
        marks = {"not_ruled_out": True, "equivalent": False, "configured": False, "best": False, **more}
        return TriedValue("1h", "BTC", value, label, 1.0, change, *[np.nan] * 2, 1.0, 1.0, **marks)

    rows = [tried("30m", 8.0, 0.0, configured=True), tried("1800s", 12, 0.2), tried("1h", 8, -0.01, best=True)]
    row = SweepRow("1h", "BTC", 9, rows[0], rows[2], rows, 0.0, True, "", False, None)
    (panel,) = heat_maps([row], ["half_life", "nu"]).panels
    assert [text for _, text in panel.x.ticks] == ["30m", "1h"]
    assert [text for _, text in panel.y.ticks] == ["8", "12"]
    (tiles,) = [mark for mark in panel.marks if isinstance(mark, Tiles)]
    assert np.argwhere(tiles.shade == 0.0).tolist() == [[0, 1]]
    assert np.isnan(tiles.value[1, 1])


def test_weekdays_are_not_compared_by_single_dates_and_intervals_have_their_bounds(reports: dict[str, Report]) -> None:
    titles = [chart.title for chart in charts_of(reports["backtest"])]
    assert any("hour of day" in title for title in titles)
    assert not any("weekday" in title for title in titles)
    (chart,) = [c for c in charts_of(reports["backtest"]) if c.title.startswith("By scoring interval")]
    marks = [mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Series)]
    assert marks
    assert not any(mark.line for mark in marks)
    assert any(mark.low is not None and np.isfinite(mark.low).any() for mark in marks)


def test_a_mean_over_assets_is_not_shown_as_basis_points(reports: dict[str, Report]) -> None:
    (section,) = [section for section in reports["live"].sections if section.title == "Score"]
    (table,) = [item for item in section.content if isinstance(item, Table)]
    place = list(table.columns).index("mean CRPS")
    shown = {row[1]: row[place][0] for row in table.rows}  # type: ignore[index]
    assert all(text.endswith(" %" if asset == "all" else " bp") for asset, text in shown.items())


def test_figures_become_png_and_svg_if_asked_for_and_older_ones_are_gone(
    reports: dict[str, Report], tmp_path: Path
) -> None:
    (tmp_path / "figures").mkdir()
    old, own = tmp_path / "figures/99-of-another-report.png", tmp_path / "figures/mine.png"
    old.touch()
    own.touch()
    path = write_reports([reports["curve"]], tmp_path)
    assert path == tmp_path / "report.html"
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["mine.png"]
    write_reports([reports["curve"]], tmp_path, figures=True)
    name = "01-sweep-of-ewma-half-life-1m"
    assert [p.name for p in sorted((tmp_path / "figures").iterdir())] == [f"{name}.png", f"{name}.svg", "mine.png"]
    assert (tmp_path / f"figures/{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / f"figures/{name}.svg").read_bytes()


def test_whatever_stands_in_data_is_shown_as_text() -> None:
    evil = "<script>alert(1)</script>"
    table = Table(evil, [evil], [[evil], [(evil, evil)], [Cell(evil, evil, detail=evil, opens=evil)]], note=evil)
    chart = Chart(evil, evil).of([Panel(evil, Axis(evil), Axis(evil), [Series(evil, np.ones(1), np.ones(1), 0)])])
    page = render_page([Report(evil, [(evil, evil)], False, [Section(evil, [evil], [table, chart])], name=f"{evil}2")])
    assert "<script>alert" not in page


def test_a_page_shows_commands_as_code_and_the_cells_that_name_rows_as_heads() -> None:
    card = Table("t", ["", "n"], [["a <b>", ("1", 1)]], note="see `x --y`", fixed=True)
    page = render_page([Report("r", [], False, [Section("s", ["run `a <b>`"], [card, replace(card, fixed=False)])])])
    assert "<p>run <code>a &lt;b&gt;</code></p>" in page
    assert page.count("see <code>x --y</code>") == 2
    assert page.count('<th scope="row">a &lt;b&gt;</th>') == page.count("<td>a &lt;b&gt;</td>") == 1
    assert page.count('<th scope="col" class=n>') == page.count("<td class=n") == 2


def test_a_report_of_several_sources_holds_them_all(reports: dict[str, Report], page: Path) -> None:
    text = page.read_text()
    for report in reports.values():
        assert f">{report.title}</h1>" in text
    anchors = re.findall(r'id="(r[\ds]+)"', text)
    assert len(set(anchors)) == len(anchors) > 10


def browser_of() -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for switch in SWITCHES:
        options.add_argument(switch)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver on this machine")
    made = browser_of()
    yield made
    made.quit()


@pytest.mark.ci
def test_a_browser_draws_every_figure_on_a_dark_telephone_without_a_word_on_its_console(
    browser: Any, reports: dict[str, Report], tmp_path: Path
) -> None:
    few = [with_few_panels(report) for report in reports.values()]
    look_like(browser, 400, "dark")
    browser.get(write_reports(few, tmp_path).as_uri())
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    panels = sum(1 if c.one_at_a_time else len(c.panels) for report in few for c in charts_of(report))
    assert browser.execute_script("return document.querySelectorAll('.js-plotly-plot').length") == panels
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    titles = "return [...document.querySelectorAll('.modebar button')].map(b => b.getAttribute('aria-label'))"
    assert "Share chart..." not in browser.execute_script(titles)
    assert browser.get_log("browser") == []
    look_like(browser, 1280, "light")


@pytest.mark.ci
def test_names_switch_off_everywhere_and_a_bad_prompt_opens_its_paths(
    browser: Any, reports: dict[str, Report], tmp_path: Path
) -> None:
    whole = reports["backtest"]
    parts = [section for section in whole.sections if section.title in ("Against random-walk", "Single prompts")]
    browser.get(write_reports([replace(whole, sections=parts)], tmp_path).as_uri())
    every = "dispatchEvent(new Event('beforeprint'))"
    browser.execute_script(every)
    shown = "return [...document.querySelectorAll('.js-plotly-plot')].flatMap(p => p.data).filter("
    shown += "t => t.name === 'ewma' && t.visible !== false).length"
    assert browser.execute_script(shown) > 0
    button = browser.find_element("css selector", ".switches [data-name=ewma]")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    browser.execute_script(every)
    assert browser.execute_script(shown) == 0
    button.click()
    folded = browser.find_elements("css selector", "details:not(.data), figure:first-of-type details.data")
    browser.execute_script("arguments[0].forEach(d => { d.open = true; })", folded)
    opener = browser.find_elements("css selector", "[data-opens]")[-1]
    key = opener.get_attribute("data-opens")
    browser.execute_script("arguments[0].click()", opener)
    chosen = "const f = document.activeElement.closest('figure'); "
    chosen += "return f.querySelector('.panel:not([hidden]) h4').textContent"
    asset, start = key.split()[1], int(key.split()[2])
    title = browser.execute_script(chosen)
    assert asset in title
    assert pd.Timestamp(start, unit="s").strftime("%Y-%m-%d %H:%M") in title
    assert browser.execute_script("return document.querySelectorAll('details.data td').length") > 20


def with_few_panels(report: Report) -> Report:
    """Every figure of a report with its first panels, so that a browser draws them soon."""
    sections = [
        replace(s, content=[replace(c, panels=c.panels[:2]) if isinstance(c, Chart) else c for c in s.content])
        for s in report.sections
    ]
    return replace(report, sections=sections)


def look_like(browser: Any, width: int, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.ci
def test_a_table_sorts_by_a_click_numbers_as_numbers(browser: Any, tmp_path: Path) -> None:
    rows = [("b", 10.0, "-"), ("a", 9.0, ("+1.00", 1.0)), ("c", -3.0, ("-20.00", -20.0))]
    report = Report("r", [], False, [Section("s", [], [Table("t", ["name", "value", "change"], rows)])])
    browser.get(write_reports([report], tmp_path).as_uri())

    def shown() -> str:
        return "".join(
            browser.execute_script("return [...document.querySelectorAll('td:first-child')].map(c => c.textContent)")
        )

    assert shown() == "bac"
    for column, upwards, downwards in ((0, "abc", "cba"), (1, "cab", "bac"), (2, "cab", "bac")):
        button = browser.find_elements("css selector", "th button")[column]
        button.click()
        assert shown() == upwards
        button.click()
        assert shown() == downwards


@pytest.mark.ci
def test_a_page_of_twenty_thousand_prompts_opens_and_tells_how_fast(
    browser: Any, settings: LoadedSettings, tmp_path: Path
) -> None:
    results = many_prompts()
    notes = {"sources": [], "layers": []}
    made = save_experiment(
        tmp_path,
        "large",
        now=NOW,
        inputs=inputs_like(["ewma", "random-walk"]),
        notes=notes,
        results=results,
        summary=[],
        text="",
    )
    from selenium.webdriver.support.ui import WebDriverWait

    page = write_reports([backtest_report(review_backtest(made, "nowhere"))], tmp_path / "page")
    look_like(browser, 1280, "light")
    browser.get(page.as_uri())
    browser.execute_script("document.querySelector('figure').scrollIntoView()")
    shown = "return document.querySelectorAll('.js-plotly-plot').length > 0"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(shown))
    took = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    drawn = browser.execute_script("return performance.getEntriesByName('figure')[0].startTime")
    size = page.stat().st_size / 1e6
    print(f"{results.num_rows:,} rows, {size:.1f} MB: loaded after {took:.0f} ms, first figure after {drawn:.0f} ms")
    assert page.stat().st_size < 8_000_000
    assert browser.execute_script("return document.querySelectorAll('figure').length") >= 9
    panels = browser.execute_script("return document.querySelectorAll('.plot').length")
    early = browser.execute_script("return document.querySelectorAll('.js-plotly-plot').length")
    assert early <= 8 < panels / 3, (early, panels)  # the others are drawn when they come into view


def many_prompts() -> Any:
    """Results of two forecasters on 20 000 prompts."""
    import pyarrow as pa

    rng = np.random.default_rng(3)
    parts = []
    for name in ("ewma", "random-walk"):
        for asset in ("BTC", "ETH", "SOL", "XAU"):
            count = 5000
            frame = pd.DataFrame({"start_time": ew_start() + 720 * np.arange(count)})
            frame = frame.assign(forecaster=name, asset=asset, competition="1h", rule="crypto-1h", anchor=100.0)
            frame = frame.assign(crps=rng.gamma(4.0, 100.0, count), reason=None)
            for interval in ("1min", "5min", "60min_abs"):
                frame[f"crps_{interval}"] = rng.gamma(4.0, 30.0, count)
            for horizon in (60, 300, 3600):
                frame[f"pit_{horizon}"], frame[f"spread_{horizon}"] = (
                    rng.uniform(size=count),
                    rng.gamma(4.0, 5.0, count),
                )
                frame[f"error_{horizon}"] = rng.normal(0.0, 20.0, count)
            parts.append(frame)
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), preserve_index=False)


def ew_start() -> int:
    return 1_768_435_200


def inputs_like(names: list[str]) -> dict[str, Any]:
    return {
        "kind": "backtest",
        "forecasters": names,
        "days": 7,
        "start": ew_start(),
        "synthetic": True,
        "rules": "as-of",
        "rulebook": {"version": "test"},
        "data": {},
        "options": {"prompts": None},
        "settings": {"data": {"feed": "simulated", "scored_feed": ""}, "run": {"seed": 1}},
    }


# --------------------------------------------------------------------------------------------- single prompts


def test_single_prompts_are_simulated_again_bit_for_bit(experiment: Experiment, settings: LoadedSettings) -> None:
    results = nb.results(experiment)
    for name in ("ewma", "ewma@seed", "random-walk"):
        chosen = telling_prompts(results, name, "24h")
        assert len(reproduce_prompts(experiment, settings.values.data.cache_dir, list(chosen.values()))) == 3


def test_worst_median_and_best_are_what_they_are_called(experiment: Experiment) -> None:
    results = nb.results(experiment)
    mine = results[(results["forecaster"] == "ewma") & (results["competition"] == "24h")]
    relative = mine["crps"] / mine.groupby("asset")["crps"].transform("mean")
    chosen = telling_prompts(results, "ewma", "24h")
    at = {
        word: relative[(mine["asset"] == key[2]) & (mine["start_time"] == key[3])].item()
        for word, key in chosen.items()
    }
    assert at["worst"] == relative.max()
    assert at["best"] == relative.min()
    assert (relative < at["median"]).sum() == len(relative) // 2


def test_other_bars_or_other_scores_than_those_of_the_run_are_noticed(
    experiment: Experiment, settings: LoadedSettings, tmp_path: Path
) -> None:
    key = next(iter(telling_prompts(nb.results(experiment), "ewma", "1h").values()))
    with pytest.raises(MissingDataError):
        reproduce_prompts(experiment, tmp_path / "empty", [key])
    manifest = orjson.loads(orjson.dumps(experiment.manifest))
    partition = next(k for k in manifest["inputs"]["data"] if k.endswith(f"/{key[2]}"))
    manifest["inputs"]["data"][partition] = "0" * 64
    changed = Experiment(experiment.path)
    changed.__dict__["manifest"] = manifest
    with pytest.raises(ExperimentError, match="other bars"):
        reproduce_prompts(changed, settings.values.data.cache_dir, [key])
    table = experiment.results
    column = table.column_names.index("crps")
    wrong = Experiment(experiment.path)
    wrong.__dict__["results"] = table.set_column(column, "crps", [np.nan_to_num(table["crps"].to_numpy()) * 1.01])
    with pytest.raises(ExperimentError, match="the code has changed"):
        reproduce_prompts(wrong, settings.values.data.cache_dir, [key])


def test_without_its_bars_a_report_says_what_is_not_drawn(small: Experiment, tmp_path: Path) -> None:
    report = backtest_report(review_backtest(small, tmp_path / "empty"))
    assert any("Not drawn" in text for section in report.sections for text in section.text)
    assert len(charts_of(report)) == KINDS["backtest"]


def test_a_single_forecaster_has_a_report_without_differences(settings: LoadedSettings) -> None:
    alone = ew.backtest(
        "ewma", start=BEGIN, days=0.5, assets=["BTC"], cadence="2h", num_simulations=50, settings=settings
    )
    titles = [
        section.title for section in backtest_report(review_backtest(alone, settings.values.data.cache_dir)).sections
    ]
    assert titles == ["Single prompts", "Calibration", "Mean CRPS"]


def test_a_sweep_of_too_few_prompts_for_an_interval_has_a_report(settings: LoadedSettings) -> None:
    result = ew.sweep(
        {"half_life_1m": ["10m", "1h"]}, start=BEGIN, days=0.05, assets=["BTC"], name="few", settings=settings
    )
    kept_rows = read_sweep(kept("few", settings).summary)
    assert [value.label for row in kept_rows for value in row.values] == ["10m", "30m", "1h"] * len(kept_rows)
    for row in (*read_sweep(result.summary), *kept_rows):
        assert row.prompts < MIN_DIFFERENCES
        assert np.isnan([row.best.low, row.best.high]).all()
        assert row.best.change <= row.configured.change == 0.0
    card = sweep_report(kept("few", settings)).card
    assert card is not None
    (table,) = card.boards
    assert not any("[" in line[-1].detail or "p " in line[-1].detail for line in table.rows)  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------- typed results


def test_a_summary_is_read_back_from_its_experiment(experiment: Experiment) -> None:
    rows = [SummaryRow.read(row) for row in experiment.summary]
    assert rows == summarise(experiment.results, "random-walk")
    assert [row.plain() for row in rows] == experiment.summary
    older = {key: value for key, value in experiment.summary[0].items() if key != "daily"}
    assert SummaryRow.read(older) == replace(rows[0], daily={})


def test_a_ranking_is_read_back_from_its_json(leaderboard: dict[str, Any]) -> None:
    ranking = Ranking.read(leaderboard)
    assert orjson.loads(orjson.dumps(ranking)) == leaderboard
    assert {row.when for row in ranking.final} == {ranking.when}
    assert all(np.isnan(row.average) == (row.competition == "") for row in ranking.standings)


@pytest.mark.ci
def test_a_leaderboard_leaves_its_ranks_for_the_report_of_its_replay(
    settings: LoadedSettings, leaderboard: dict[str, Any]
) -> None:
    report = report_of(kept("leaderboard", settings), settings, now=NOW)
    assert report.card is not None
    told = dict(report.card.facts)["What it is worth"]
    assert any("rank 1 of 2" in text and "alpha/day" in text for text in told)
    assert [section.title for section in report.sections][:2] == ["Ranks and weights", "Earnings, an estimate"]


# --------------------------------------------------------------------------------------------- verdicts in words


def test_a_page_says_that_a_window_speaks_for_itself(reports: dict[str, Report]) -> None:
    (section,) = [section for section in reports["backtest"].sections if section.title == "When"]
    assert "speaks for the market of these days alone" in " ".join(section.text)


def test_the_words_follow_the_interval(reports: dict[str, Report], experiment: Experiment) -> None:
    words = next(section for section in reports["backtest"].sections if section.title.startswith("Against")).text
    rows = ew.compare(experiment).frame
    pooled = rows[rows["asset"] == "all"]
    assert len(words) == len(pooled)
    for text, row in zip(words, pooled.to_dict("records"), strict=True):
        assert text.startswith(f"{row['competition']}: ")
        said = "beats" if row["high"] < 0 else "is worse than" if row["low"] > 0 else "cannot tell"
        said = row["shortage"] or said
        assert said in text


# --------------------------------------------------------------------------------------------- command and API


def test_the_command_takes_any_kind_of_source(
    sweeps: dict[int, ew.SweepResult],
    settings: LoadedSettings,
    leaderboard: dict[str, Any],
    live_log: tuple[Path, LoadedSettings],
    tmp_path: Path,
) -> None:
    field = tmp_path / "field.json"
    field.write_bytes(orjson.dumps(leaderboard))
    swept = kept("curve", settings)
    arguments = ["report", swept.name, str(field), "-o", str(tmp_path / "out"), "--json"]
    arguments += [f"--set=run.experiments_dir={settings.values.run.experiments_dir}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    told = orjson.loads(done.stdout)
    assert told == {"report": str(tmp_path / "out/report.html"), "figures": 3, "sources": [swept.name, "field"]}
    assert report_of(live_log[0], live_log[1], now=NOW).synthetic
    assert report_of("latest", settings, now=NOW).sections


@pytest.mark.parametrize(("content", "words"), [("{", "JSONDecodeError"), ("{}", "KeyError"), ("[]", "TypeError")])
def test_a_file_that_is_no_leaderboard_is_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ExperimentError, match=words):
        report_of(path, load_settings(environ={}), now=NOW)


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="neither an experiment nor a live log"):
        report_of(tmp_path, load_settings(environ={}), now=NOW)


@pytest.mark.ci
def test_helpers_for_notebooks_return_tables_and_figures_and_nothing_else(
    small: Experiment,
    sweeps: dict[int, ew.SweepResult],
    settings: LoadedSettings,
    live_log: tuple[Path, LoadedSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ewmalab.api.audit.make_clock", lambda _: SimpleNamespace(now=lambda: NOW))  # on any date
    bars = ew.load_bars("BTC", BEGIN, days=1, settings=settings)
    prompt = ew.make_prompt("BTC", "2026-01-16", "1h")
    forecaster = ew.make_forecaster("ewma", "BTC", settings)
    paths = forecaster.simulate(forecaster.update(forecaster.initial_state(), bars), prompt, prompt.stream(1))
    record = ew.track_record(live_log[0], settings=live_log[1])
    tables = [
        nb.bars(bars),
        nb.gaps(bars),
        nb.results(small),
        nb.summary(small),
        nb.changes(small),
        nb.coverage(small),
        nb.volatility(small),
        nb.values(sweeps[1]),
        nb.answers(live_log[0]),
        nb.track(record),
    ]
    figures = [
        nb.plot_bars(bars),
        nb.plot_paths(prompt, 100.0, paths),
        nb.plot_change(small),
        nb.plot_by(small, "hour"),
        nb.plot_by(small, "interval"),
        nb.plot_by(small, "weekday"),
        nb.plot_over_time(small),
        nb.plot_cumulative(small),
        nb.plot_pit(small, "1h"),
        nb.plot_coverage(small, "1h"),
        nb.plot_volatility(small, "24h"),
        nb.plot_spread_skill(small, "24h"),
        nb.plot_prompts(small, "1h", cache_dir=settings.values.data.cache_dir),
        nb.plot_sweep(sweeps[1]),
        nb.plot_sweep(sweeps[2]),
        nb.plot_track(record),
        nb.plot_latency(live_log[0]),
        nb.plot_state_age(live_log[0]),
    ]
    assert all(isinstance(table, pd.DataFrame) and len(table.columns) for table in tables)
    assert all(isinstance(figure, Figure) and figure.axes for figure in figures)  # reports and notebooks draw them all
    twice = 3  # figures of a function that is in the list already
    assert len(tables) + len(figures) - twice == sum(1 for name in dir(nb) if callable_here(name))


def callable_here(name: str) -> bool:
    found = getattr(nb, name)
    return callable(found) and not name.startswith("_") and getattr(found, "__module__", "") == nb.__name__


def test_times_and_names_may_be_given_as_texts(settings: LoadedSettings, experiment: Experiment) -> None:
    bars = ew.load_bars("BTC", BEGIN, "2026-01-15T01:00", settings=settings)
    assert bars.timestamp[0] == ew_start()
    assert len(nb.bars(bars)) == len(bars) <= 60
    assert ew.load_experiment(experiment.name, settings).path == experiment.path
    assert ew.make_prompt("BTC", BEGIN).start_time == ew.make_prompt("BTC", ew_start()).start_time
    with pytest.raises(ew.EwmalabError, match="in no competition"):
        ew.make_prompt("TSLAX", "2026-02-15", "1h")
