// Elements, numbers and styles. Text of the run is only ever put in as text nodes and attribute values, never parsed as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const STYLES = 8;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 4", "12 4", "6 2 2 2 2 2"];
const several = data.runs.length > 1;

function element(kind, attributes, children, space) {
  const made = space ? document.createElementNS(space, kind) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) {
    if (Array.isArray(child)) made.append(...child.filter((one) => one !== null && one !== undefined));
    else if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}
const html = (kind, attributes, ...children) => element(kind, attributes, children);
const svg = (kind, attributes, ...children) => element(kind, attributes, children, SVG);

let counter = 0;
const unique = (prefix) => `${prefix}-${++counter}`;

function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(+value.toPrecision(size >= 1 ? 4 : 3));
}
const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

// Builds a part of the page when it comes near the view, or before the page is printed.
const waiting = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) buildNow(entry.target);
}, { rootMargin: "600px" });
function buildNow(place) {
  const build = waiting.get(place);
  if (!build) return;
  waiting.delete(place);
  watcher.unobserve(place);
  build();
}
function later(place, build) {
  waiting.set(place, build);
  watcher.observe(place);
}
addEventListener("beforeprint", () => { for (const place of [...waiting.keys()]) buildNow(place); });

// Draws again when the width changes: text keeps its size on a phone.
const drawn = new Map();
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const one = drawn.get(entry.target);
    const width = Math.round(entry.contentRect.width);
    if (one && width && width !== one.width) { one.width = width; one.draw(width); }
  }
});
function responsive(place, draw) {
  drawn.set(place, { width: 0, draw });
  sizes.observe(place);
}
function redrawAll() {
  for (const [place, one] of drawn) if (place.isConnected && one.width) one.draw(one.width);
}

function marker(style, x, y, size = 3.2) {
  const shapes = [
    () => svg("circle", { cx: x, cy: y, r: size }),
    () => svg("rect", { x: x - size, y: y - size, width: 2 * size, height: 2 * size }),
    () => svg("path", { d: `M${x} ${y - size - 1}L${x + size + 1} ${y + size}L${x - size - 1} ${y + size}Z` }),
    () => svg("path", { d: `M${x} ${y - size - 1.5}L${x + size + 1.5} ${y}L${x} ${y + size + 1.5}L${x - size - 1.5} ${y}Z` }),
    () => svg("path", { d: `M${x} ${y + size + 1}L${x + size + 1} ${y - size}L${x - size - 1} ${y - size}Z` }),
    () => svg("path", { d: `M${x - size} ${y}H${x + size}M${x} ${y - size}V${y + size}` }),
    () => svg("path", { d: `M${x - size} ${y - size}L${x + size} ${y + size}M${x - size} ${y + size}L${x + size} ${y - size}` }),
    () => svg("path", { d: `M${x - size} ${y - 1}H${x + size}M${x - size} ${y + 2}H${x + size}` }),
  ];
  const shape = shapes[style % shapes.length]();
  shape.setAttribute("class", `mark s${style % STYLES}`);
  return shape;
}

function table(heads, rows, options = {}) {
  const cell = (kind, content, place, scope) => {
    const made = html(kind, { class: options.numbers && place >= options.numbers ? "number" : options.text ? "text" : null, scope });
    made.append(content === null || content === undefined ? "–" : content);
    return made;
  };
  const head = html("thead", null, html("tr", null, heads.map((one, place) => cell("th", one, place, "col"))));
  const body = html("tbody", null, rows.map((row) => html("tr", { class: row.total ? "total" : null },
    (row.cells || row).map((one, place) => (place ? cell("td", one, place) : cell("th", one, place, "row"))))));
  return html("table", null, options.caption ? html("caption", { class: "faint" }, options.caption) : null, head, body);
}
// Regions that scroll have to be reachable by keyboard.
const scrolling = (label, content, tall) => html("div", { class: tall ? "scroll tall" : "scroll", tabindex: 0, role: "region", "aria-label": label }, content);

function dataTable(label, make) {
  const details = html("details", null, html("summary", null, "Data as a table"));
  details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(scrolling(`${label}, data`, make(), true)); });
  return details;
}

function choice(label, options, chosen, onchange) {
  const select = html("select", { onchange: () => onchange(select.value) },
    options.map(([value, text]) => html("option", { value, selected: value === chosen }, text)));
  return html("label", null, label, select);
}

function themeButton() {
  const names = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const order = Object.keys(names);
  let now = "auto";
  try { now = order.includes(localStorage.getItem("chemr-theme")) ? localStorage.getItem("chemr-theme") : "auto"; } catch { /* a file may have no storage */ }
  const button = html("button", { type: "button", id: "theme" });
  const apply = () => {
    if (now === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", now);
    button.textContent = names[now];
    try { localStorage.setItem("chemr-theme", now); } catch { /* then it is forgotten */ }
  };
  button.addEventListener("click", () => { now = order[(order.indexOf(now) + 1) % order.length]; apply(); });
  apply();
  return button;
}
