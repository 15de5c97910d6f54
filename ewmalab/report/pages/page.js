"use strict";
(() => {
// ------------------------------------------------------------------------------------------- tables
document.querySelectorAll("th button").forEach(b => b.addEventListener("click", () => {
  const th = b.parentNode, i = th.cellIndex, body = th.closest("table").tBodies[0];
  const up = th.getAttribute("aria-sort") !== "ascending";
  th.parentNode.querySelectorAll("th").forEach(o => o.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = r => { const c = r.cells[i]; return "k" in c.dataset ? c.dataset.k : c.textContent; };
  const rows = [...body.rows].map(r => [key(r), r]);
  const missing = k => k === "" || k === "-", n = rows.every(([k]) => missing(k) || !isNaN(k));
  const value = k => missing(k) ? Infinity : Number(k);
  rows.sort(([a], [b]) => n ? value(a) - value(b) : a.localeCompare(b));
  if (!up) rows.reverse();
  body.append(...rows.map(r => r[1]));
}));

// ------------------------------------------------------------------------------------------- figures
const source = document.getElementById("charts"), library = document.getElementById("library");
if (!source) return;
const { charts, themes } = JSON.parse(source.textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)"), coarse = matchMedia("(pointer: coarse)").matches;
const hidden = new Set(), drawn = new Set(), stale = new Set(), inView = new Set(), panels = new Map();
const theme = () => themes[darkness.matches ? "dark" : "light"];
const config = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", displayModeBar: coarse ? false : "hover", responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" }, doubleClick: "reset+autosize" };

function painted(thing) {
  if (typeof thing === "string" && thing[0] === "@") return theme()[thing.slice(1)];
  if (Array.isArray(thing)) return thing.length && typeof thing[0] === "object" && thing[0] && !Array.isArray(thing[0])
    ? thing.map(painted) : thing;
  if (thing && typeof thing === "object") return Object.fromEntries(Object.entries(thing).map(([k, v]) => [k, painted(v)]));
  return thing;
}
function layoutOf(panel) {
  const ink = theme().ink, grid = "rgba(128,128,128,.25)";
  const axis = { automargin: true, gridcolor: grid, linecolor: grid, zeroline: false, fixedrange: coarse };
  const own = painted(panel.layout);
  const axes = Object.fromEntries(["xaxis", "yaxis"].map(name => [name, { ...axis, ...own[name],
    title: { font: { size: 11 }, standoff: 4, ...own[name].title } }]));
  return { hovermode: "closest", barmode: "overlay", showlegend: false, dragmode: coarse ? false : "zoom",
    margin: { l: 48, r: 10, t: 8, b: 36 }, font: { size: 11, color: ink, family: "system-ui, sans-serif" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "kept",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme().grey, activecolor: ink },
    hoverlabel: { bgcolor: theme().paper, font: { color: ink } }, ...own, ...axes };
}
function load() {  // the library is compiled after the page is shown
  if (typeof Plotly !== "undefined") return;
  document.head.append(Object.assign(document.createElement("script"), { textContent: library.textContent }));
  performance.mark("library");
}
function draw(plot) {
  load();
  const panel = panels.get(plot);
  const traces = panel.traces.map(t => ({ ...painted(t), visible: !hidden.has(t.name) }));
  const first = !drawn.has(plot);
  drawn.add(plot);
  stale.delete(plot);
  Plotly.react(plot, traces, layoutOf(panel), config);
  plot.querySelectorAll(".modebar button").forEach(b => { b.tabIndex = -1; });  // the numbers are in the table below
  if (drawn.size === 1) performance.mark("figure");
  if (first) plot.on("plotly_click", event => {
    const point = event.points[0], opens = (point.data.meta || {}).opens;
    if (opens && opens[point.pointIndex]) open(opens[point.pointIndex]);
  });
}
const seen = new IntersectionObserver(entries => entries.forEach(entry => {
  const plot = entry.target;
  if (!entry.isIntersecting) { inView.delete(plot); return; }
  inView.add(plot);
  if (!drawn.has(plot) || stale.has(plot)) later(plot);
}), { rootMargin: "300px" });
const waiting = new Set();
function later(plot) {  // one figure at a time, so that the first is seen soon and scrolling is not held up
  if (!waiting.size) setTimeout(next);
  waiting.add(plot);
}
function next() {
  const [plot] = waiting;
  if (inView.has(plot)) draw(plot);
  waiting.delete(plot);
  if (waiting.size) setTimeout(next);
}
function redraw(concerned) {  // what is out of view is drawn when it comes into view
  drawn.forEach(plot => {
    if (!concerned(panels.get(plot))) return;
    if (inView.has(plot)) draw(plot); else stale.add(plot);
  });
}

document.querySelectorAll("figure[data-chart]").forEach(figure => {
  const chart = charts[figure.dataset.chart];
  figure.querySelectorAll(".plot").forEach((plot, i) => panels.set(plot, chart.panels[i]));
  const choice = figure.querySelector("select");
  if (choice) { choice.addEventListener("change", arrange); }
  figure.querySelector("details.data").addEventListener("toggle", event => {
    const box = event.target.querySelector(".wide");
    if (event.target.open && !box.firstChild) box.append(tableOf(chart));
  });
});
function arrange() {  // which panels are shown, of those that one chooses and those of assets that are switched off
  document.querySelectorAll("figure[data-chart]").forEach(figure => {
    const choice = figure.querySelector("select");
    figure.querySelectorAll(".panel").forEach((box, i) => {
      const panel = charts[figure.dataset.chart].panels[i];
      box.hidden = panel.about.some(name => hidden.has(name)) || Boolean(choice && choice.selectedIndex !== i);
    });
  });
}
function open(key) {
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const at = charts[figure.dataset.chart].panels.findIndex(panel => panel.key === key);
    const choice = figure.querySelector("select");
    if (at < 0 || !choice) continue;
    choice.selectedIndex = at;
    arrange();
    figure.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    choice.focus({ preventScroll: true });
  }
}
document.querySelectorAll("[data-opens]").forEach(b => b.addEventListener("click", () => open(b.dataset.opens)));
document.querySelectorAll("button.name").forEach(b => b.addEventListener("click", () => {
  const name = b.dataset.name, off = !hidden.has(name);
  if (off) hidden.add(name); else hidden.delete(name);
  document.querySelectorAll("button.name").forEach(o => {
    if (o.dataset.name === name) o.setAttribute("aria-pressed", String(!off));
  });
  arrange();
  redraw(panel => panel.traces.some(trace => trace.name === name));
}));
const dateOf = value => new Date(value).toISOString().slice(0, 16).replace("T", " ");
function tableOf(chart) {  // the numbers behind a figure
  const table = document.createElement("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const name of ["panel", "series", "at", "value", "95 %, from", "to"])
    head.append(Object.assign(document.createElement("th"), { textContent: name, scope: "col" }));
  const line = cells => { const row = body.insertRow(); cells.forEach(c => { row.insertCell().textContent = c ?? "-"; }); };
  for (const panel of chart.panels) for (const trace of panel.traces) {
    if (trace.meta && trace.meta.band) continue;
    if (trace.type === "heatmap") {
      trace.text.forEach((row, y) => row.forEach((value, x) =>
        line([panel.title, trace.name, trace.customdata[y][x].join(", "), value])));
      continue;
    }
    const sideways = Boolean(trace.error_x) || trace.orientation === "h";
    const at = sideways ? trace.y : trace.x, value = sideways ? trace.x : trace.y;
    at.forEach((x, i) => line([panel.title, trace.name, trace.text && trace.text[i] ? trace.text[i]
      : panel.layout.xaxis.type === "date" && x !== null ? dateOf(x) : x, value[i], ...(trace.customdata ? trace.customdata[i] : [])]));
  }
  return table;
}
darkness.addEventListener("change", () => redraw(() => true));
addEventListener("beforeprint", () => panels.forEach((_, plot) => {
  if (!plot.closest(".panel").hidden && (!drawn.has(plot) || stale.has(plot))) draw(plot);
}));
arrange();
addEventListener("load", () => setTimeout(() => panels.forEach((_, plot) => seen.observe(plot))));
})();
