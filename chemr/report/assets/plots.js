// Line charts of series that were thinned beforehand, with a reading for pointer and arrow keys and a table behind each.
const axis = { unit: "steps" };

function clockOf(run, step) {
  const [steps, seconds] = data.runs[run].clock;
  if (!steps.length) return 0;
  let low = 0, high = steps.length - 1;
  if (step <= steps[0]) return seconds[0] / 60;
  if (step >= steps[high]) return seconds[high] / 60;
  while (high - low > 1) { const middle = (low + high) >> 1; if (steps[middle] <= step) low = middle; else high = middle; }
  const share = (step - steps[low]) / Math.max(1, steps[high] - steps[low]);
  return (seconds[low] + share * (seconds[high] - seconds[low])) / 60;
}
const place = (run, step) => (axis.unit === "steps" ? step : clockOf(run, step));

function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, wanted);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

// Colour and shape tell runs apart where there are several, and names where there is one; dashes always tell names apart.
function styled(series) {
  const names = [...new Set(series.map((one) => one.name))];
  return series.map((one) => {
    const name = names.indexOf(one.name);
    const label = several ? (names.length > 1 ? `${data.runs[one.run].name}, ${one.name}` : data.runs[one.run].name) : one.name;
    const dash = DASHES[(names.length > 1 || !several ? name : one.run) % DASHES.length];
    return { ...one, style: (several ? one.run : name) % STYLES, dash, label };
  });
}

// Of several runs with several names: the runs by colour and shape, then the names by dash, and not every pair of them.
function legend(series) {
  const names = [...new Map(series.map((one) => [one.name, one])).values()];
  const key = (tone, dash, shape, text) => html("li", null,
    svg("svg", { width: 28, height: 12, "aria-hidden": "true" }, svg("path", { class: `line ${tone}`, d: "M1 6H27", "stroke-dasharray": dash }), shape), text);
  const one = (line, text) => key(`s${line.style}`, line.dash, marker(line.style, 14, 6, 2.6), text);
  if (!several || names.length === 1) return html("ul", { class: "legend" }, series.map((line) => one(line, line.label)));
  const runs = [...new Map(series.map((line) => [line.run, line])).values()];
  return html("ul", { class: "legend" }, runs.map((line) => one({ ...line, dash: "" }, data.runs[line.run].name)), names.map((line) => key("plain", line.dash, null, line.name)));
}

function nearest(xs, x) {
  let best = 0;
  for (let index = 1; index < xs.length; index++) if (Math.abs(xs[index] - x) < Math.abs(xs[best] - x)) best = index;
  return best;
}

function linePlot(chart) {
  const series = styled(chart.series);
  const title = chart.title;
  const area = html("div", { class: "plot", tabindex: 0, role: "group", "aria-label": `${title}: arrow keys read values` });
  const reading = html("p", { class: "reading", "aria-live": "polite" });
  const figure = html("figure", null,
    html("figcaption", null, html("h3", null, title), html("span", { class: "faint" }, chart.unit || "")),
    several || series.length > 1 ? legend(series) : null, area, reading,
    dataTable(title, () => {
      const rows = [];
      for (const one of series) {
        const [xs, ys] = one.sx ? [one.sx, one.sy] : [one.x, one.y];
        const stride = Math.ceil(xs.length / 80);
        for (let index = 0; index < xs.length; index += stride) rows.push([one.label, number(xs[index]), number(clockOf(one.run, xs[index])), number(ys[index])]);
      }
      return table(["series", "step", "minutes", chart.unit || "value"], rows, { numbers: 1 });
    }));
  let cursor = null, geometry = null;

  function read(at) {
    cursor = at;
    const { left, width, low, high, line, top, bottom } = geometry;
    const x = low + (high - low) * at;
    const values = series.map((one) => {
      const ys = one.sy || one.y;
      return `${one.label} ${number(ys[nearest(one.places, x)])}`;
    });
    line.setAttribute("d", `M${left + at * width} ${top}V${bottom}`);
    reading.textContent = `${axis.unit === "steps" ? "step" : "minute"} ${number(axis.unit === "steps" ? Math.round(x) : x)}: ${values.join(", ")}`;
  }
  area.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
    if (!(event.key in moves) || !geometry) return;
    event.preventDefault();
    read(Math.min(1, Math.max(0, (cursor === null ? 0 : cursor) + moves[event.key])));
  });
  area.addEventListener("pointermove", (event) => {
    if (!geometry) return;
    const box = area.getBoundingClientRect();
    read(Math.min(1, Math.max(0, (event.clientX - box.left - geometry.left) / geometry.width)));
  });

  responsive(area, (full) => {
    const left = 46, right = 10, top = 8, height = chart.height || 170, bottom = height - 22, width = Math.max(40, full - left - right);
    let low = Infinity, high = -Infinity, least = Infinity, most = -Infinity;
    for (const one of series) {
      one.places = (one.sx || one.x).map((step) => place(one.run, step));
      for (const step of one.x) { const x = place(one.run, step); low = Math.min(low, x); high = Math.max(high, x); }
      for (const y of one.y) if (y !== null) { least = Math.min(least, y); most = Math.max(most, y); }
    }
    if (chart.from !== undefined) least = Math.min(least, chart.from);
    if (least === Infinity) { least = 0; most = 1; }
    if (most === least) { most += Math.abs(most) * 0.1 || 1; least -= Math.abs(least) * 0.1; }
    if (high <= low) { low -= 1; high += 1; }
    const X = (x) => left + (width * (x - low)) / (high - low);
    const Y = (y) => bottom - ((bottom - top) * (y - least)) / (most - least);
    const points = series.reduce((sum, one) => sum + one.x.length, 0);
    const summary = series.map((one) => {
      const known = (one.sy || one.y).filter((y) => y !== null);
      return `${one.label} from ${number(known[0])} to ${number(known[known.length - 1])}`;
    }).join("; ");
    const picture = svg("svg", { width: full, height, viewBox: `0 0 ${full} ${height}`, role: "img", "aria-label": `${title}. ${summary}.`, "data-points": points });
    for (const at of ticks(least, most, 4)) {
      picture.append(svg("path", { class: "gridline", d: `M${left} ${Y(at)}H${left + width}` }), svg("text", { x: left - 6, y: Y(at) + 4, "text-anchor": "end" }, number(at)));
    }
    for (const at of ticks(low, high, Math.max(2, Math.floor(width / 60)))) {
      picture.append(svg("path", { class: "axis", d: `M${X(at)} ${bottom}v4` }), svg("text", { x: X(at), y: bottom + 16, "text-anchor": "middle" }, number(at)));
    }
    if (!several) for (const span of data.runs[0].spans.slice(1)) {
      const x = place(0, span[1]);
      if (x > low && x < high) picture.append(svg("path", { class: "stage", d: `M${X(x)} ${top}V${bottom}` }, svg("title", null, span[0])));
    }
    for (const one of series) {
      const path = (xs, ys) => {
        let made = "", pen = false;
        for (let index = 0; index < xs.length; index++) {
          if (ys[index] === null) { pen = false; continue; }
          made += `${pen ? "L" : "M"}${X(place(one.run, xs[index])).toFixed(1)} ${Y(ys[index]).toFixed(1)}`;
          pen = true;
        }
        return made;
      };
      const tone = `s${one.style}`;
      // Beside other runs the steps themselves would hide the means.
      if (one.sx && !several) picture.append(svg("path", { class: `raw ${tone}`, d: path(one.x, one.y) }));
      const [xs, ys] = one.sx ? [one.sx, one.sy] : [one.x, one.y];
      picture.append(svg("path", { class: `line ${tone}`, d: path(xs, ys), "stroke-dasharray": one.dash }));
      const stride = xs.length <= 20 ? 1 : Math.ceil(xs.length / 6);
      for (let index = xs.length <= 20 ? 0 : Math.floor(stride / 2); index < xs.length; index += stride) {
        if (ys[index] !== null) picture.append(marker(one.style, X(place(one.run, xs[index])), Y(ys[index])));
      }
    }
    const line = svg("path", { class: "cursor" });
    picture.append(line);
    area.replaceChildren(picture);
    geometry = { left, width, low, high, line, top, bottom };
    if (cursor !== null) read(cursor);
  });
  return figure;
}
