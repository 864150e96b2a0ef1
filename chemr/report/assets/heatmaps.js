// Heat maps of shares over steps, the timeline of a step, and histograms. One hue by strength, and patterns, so that colour alone says nothing.
function bucketName(edges, column) {
  return edges[column + 1] - edges[column] > 1 ? `steps ${number(edges[column])} to ${number(edges[column + 1] - 1)}` : `step ${number(edges[column])}`;
}

// A picture whose cells are read with pointer and arrow keys. ``hit`` turns a place of the pointer into a row and a column.
function cells(title, unit, rows, columns, say, drawInto, more) {
  const area = html("div", { class: "plot", tabindex: 0, role: "group", "aria-label": `${title}: arrow keys read values` });
  const reading = html("p", { class: "reading", "aria-live": "polite" });
  const figure = html("figure", null, html("figcaption", null, html("h3", null, title), html("span", { class: "faint" }, unit)), more.legend || null, area, reading, more.table || null);
  let at = null, geometry = null;
  function read(row, column) {
    at = [row, column];
    const { boxOf, box } = geometry;
    const [x, y, width, height] = boxOf(row, column);
    for (const [name, value] of Object.entries({ x, y, width, height })) box.setAttribute(name, value);
    reading.textContent = say(row, column);
  }
  area.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9] }[event.key];
    if (!move || !geometry) return;
    event.preventDefault();
    const [row, column] = at || [0, -Math.sign(move[1])];
    read(Math.min(rows - 1, Math.max(0, row + move[0])), Math.min(columns - 1, Math.max(0, column + move[1])));
  });
  area.addEventListener("pointermove", (event) => {
    if (!geometry) return;
    const box = area.getBoundingClientRect();
    const found = geometry.hit(event.clientX - box.left, event.clientY - box.top);
    if (found) read(...found);
  });
  responsive(area, (full) => {
    const made = drawInto(full);
    const box = svg("rect", { class: "box", width: 0, height: 0 });
    made.picture.append(box);
    area.replaceChildren(made.picture);
    geometry = { ...made, box };
    if (at) read(...at);
  });
  return figure;
}

function heatMap(title, unit, map, label) {
  const columns = map.edges.length - 1;
  const top = Math.max(...map.cells.flat().filter((value) => value !== null), 1e-9);
  const ends = map.cells.map((row, index) => {
    const known = row.filter((value) => value !== null);
    return `${label(map.rows[index])} from ${percent(known[0])} to ${percent(known[known.length - 1])} %`;
  });
  return cells(title, `${unit}; strongest colour = ${percent(top)} %`, map.rows.length, columns,
    (row, column) => `${label(map.rows[row])}, ${bucketName(map.edges, column)}: ${percent(map.cells[row][column])} %`,
    (full) => {
      const left = full < 480 ? 128 : 190, height = 19, bottom = map.rows.length * height;
      const width = (full - left - 4) / columns;
      const letters = Math.floor((left - 8) / 6.7);
      const picture = svg("svg", { width: full, height: bottom + 20, viewBox: `0 0 ${full} ${bottom + 20}`, role: "img", "aria-label": `${title}. ${ends.join("; ")}.` });
      map.rows.forEach((name, row) => {
        const text = label(name);
        picture.append(svg("text", { x: left - 6, y: row * height + 14, "text-anchor": "end" }, text.length > letters ? `${text.slice(0, letters - 1)}…` : text));
        map.cells[row].forEach((value, column) => {
          const box = { x: (left + column * width).toFixed(2), y: row * height + 1, width: Math.max(1, width - (width > 4 ? 0.6 : 0)).toFixed(2), height: height - 2 };
          picture.append(value === null ? svg("rect", { ...box, class: "empty", "fill-opacity": 0.35 })
            : svg("rect", { ...box, class: "heat", "fill-opacity": (0.06 + 0.94 * (value / top) ** 0.8).toFixed(3) }));
        });
      });
      for (const at of ticks(map.edges[0], map.edges[columns], Math.max(3, Math.floor((full - left) / 90)))) {
        const x = left + (width * columns * (at - map.edges[0])) / (map.edges[columns] - map.edges[0]);
        if (x < full - 8) picture.append(svg("text", { x, y: bottom + 15, "text-anchor": "middle" }, number(at)));
      }
      return {
        picture,
        boxOf: (row, column) => [left + column * width, row * height, width, height],
        hit: (x, y) => (x < left || y >= bottom ? null : [Math.min(map.rows.length - 1, Math.max(0, Math.floor(y / height))), Math.min(columns - 1, Math.max(0, Math.floor((x - left) / width)))]),
      };
    },
    { table: dataTable(title, () => table(["steps", ...map.rows.map(label)], Array.from({ length: columns }, (_, column) => [bucketName(map.edges, column), ...map.cells.map((row) => percent(row[column]))]), { numbers: 1 })) });
}

const PARTS = {
  train: "training", wait_rollouts: "learner waits for rollouts", publish: "weights are handed over", eval: "evaluation",
  checkpoint: "checkpoint", unaccounted: "rest",
};
const PATTERNS = [null, "M0 6L6 0", "M0 3H6", "M3 0V6", "M0 0L6 6M0 6L6 0", "M3 2v2"];

function hatched(picture, style) {
  if (!PATTERNS[style]) return () => null;
  const id = unique("hatch");
  picture.append(svg("defs", null, svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, svg("path", { class: "hatch", d: PATTERNS[style] }))));
  return (box) => svg("rect", { ...box, fill: `url(#${id})` });
}

function timeline(entry) {
  const names = Object.keys(PARTS).filter((name) => entry.parts[name]);
  const columns = entry.edges.length - 1;
  const sums = Array.from({ length: columns }, (_, column) => names.reduce((sum, name) => sum + (entry.parts[name][column] || 0), 0));
  const known = [...sums].sort((a, b) => a - b);
  // One slow step (an evaluation, a restart) must not flatten the others: what is above the scale is cut and says so when it is read.
  const top = Math.min(known[known.length - 1], 3 * known[Math.floor(known.length / 2)]) || 1;
  const idle = Object.entries(entry.idle);
  const title = several ? `Timeline of a step, ${data.runs[entry.run].name}` : "Timeline of a step";
  const key = html("ul", { class: "legend" }, names.map((name, style) => {
    const box = svg("svg", { width: 18, height: 12, "aria-hidden": "true" });
    const cover = hatched(box, style);
    box.append(svg("rect", { class: `area s${style}`, width: 18, height: 12 }));
    const hatch = cover({ width: 18, height: 12 });
    if (hatch) box.append(hatch);
    return html("li", null, box, `${PARTS[name]}, mean ${number(entry.part_mean[name])} s`);
  }));
  return cells(title, "seconds of a step, mean of each range of steps", 1, columns,
    (_, column) => `${bucketName(entry.edges, column)}: ${number(sums[column])} s${sums[column] > top ? " (cut in the picture)" : ""}: ${names.map((name) => `${PARTS[name]} ${number(entry.parts[name][column])}`).join(", ")}${idle.map(([who, values]) => `; ${who} idle ${percent(values[column])} %`).join("")}`,
    (full) => {
      const left = full < 480 ? 76 : 110, height = 190, bottom = height - 4, lane = 20, end = bottom + 8 + idle.length * lane;
      const width = (full - left - 4) / columns;
      const spoken = [...names.map((name) => `${PARTS[name]} ${number(entry.part_mean[name])} s`), ...Object.entries(entry.idle_mean).map(([who, share]) => `${who} idle ${percent(share)} %`)];
      const picture = svg("svg", { width: full, height: end + 20, viewBox: `0 0 ${full} ${end + 20}`, role: "img", "aria-label": `${title}. Means: ${spoken.join(", ")}.` });
      for (const at of ticks(0, top, 4)) {
        const y = bottom - ((bottom - 6) * at) / top;
        picture.append(svg("path", { class: "gridline", d: `M${left} ${y}H${full - 4}` }), svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, `${number(at)} s`));
      }
      const covers = names.map((_, style) => hatched(picture, style));
      for (let column = 0; column < columns; column++) {
        let base = 0;
        names.forEach((name, style) => {
          const value = Math.min(entry.parts[name][column] || 0, Math.max(0, top - base));
          const tall = ((bottom - 6) * value) / top;
          const box = { x: (left + column * width).toFixed(2), y: (bottom - ((bottom - 6) * base) / top - tall).toFixed(2), width: Math.max(1, width - 0.8).toFixed(2), height: tall.toFixed(2) };
          if (tall > 0.1) {
            picture.append(svg("rect", { class: `area s${style}`, ...box }));
            const hatch = covers[style](box);
            if (hatch) picture.append(hatch);
          }
          base += value;
        });
        idle.forEach(([, values], row) => {
          const box = { x: (left + column * width).toFixed(2), y: bottom + 9 + row * lane, width: Math.max(1, width - 0.8).toFixed(2), height: lane - 4 };
          const value = values[column];
          picture.append(value === null ? svg("rect", { ...box, class: "empty" }) : svg("rect", { ...box, class: "heat", "fill-opacity": (0.06 + 0.94 * value).toFixed(3) }));
        });
      }
      idle.forEach(([who], row) => picture.append(svg("text", { x: left - 6, y: bottom + 21 + row * lane, "text-anchor": "end" }, full < 480 ? `${who.slice(0, 5)}. idle` : `${who} idle`)));
      for (const at of ticks(entry.edges[0], entry.edges[columns], Math.max(3, Math.floor((full - left) / 90)))) {
        const x = left + (width * columns * (at - entry.edges[0])) / (entry.edges[columns] - entry.edges[0]);
        if (x < full - 8) picture.append(svg("text", { x, y: end + 15, "text-anchor": "middle" }, number(at)));
      }
      return { picture, boxOf: (_, column) => [left + column * width, 2, width, end - 2], hit: (x) => (x < left ? null : [0, Math.min(columns - 1, Math.floor((x - left) / width))]) };
    },
    {
      legend: key,
      table: dataTable(title, () => table(["steps", ...names.map((name) => `${PARTS[name]}, s`), ...idle.map(([who]) => `${who} idle, %`)],
        sums.map((_, column) => [bucketName(entry.edges, column), ...names.map((name) => number(entry.parts[name][column])), ...idle.map(([, values]) => percent(values[column]))]), { numbers: 1 })),
    });
}

function histogram(chart) {
  const bins = chart.edges.length - 1;
  const top = Math.max(...chart.series.flatMap((one) => one.counts), 1);
  const whole = Math.abs(chart.edges[0] % 1) === 0.5;  // a bar for every whole number, named by it
  const range = (bin) => (whole ? number(chart.edges[bin] + 0.5) : `${number(chart.edges[bin])} to ${number(chart.edges[bin + 1])}`);
  const named = (one) => (several ? `${data.runs[one.run].name} ` : "");
  const key = several ? html("ul", { class: "legend" }, chart.series.map((one) => {
    const box = svg("svg", { width: 18, height: 12, "aria-hidden": "true" });
    const cover = hatched(box, one.run % PATTERNS.length);
    box.append(svg("rect", { class: `area s${one.run % STYLES}`, width: 18, height: 12 }));
    const hatch = cover({ width: 18, height: 12 });
    if (hatch) box.append(hatch);
    return html("li", null, box, data.runs[one.run].name);
  })) : null;
  return cells(chart.title, `${chart.counted} by ${chart.unit}`, 1, bins,
    (_, bin) => `${chart.unit} ${range(bin)}: ${chart.series.map((one) => named(one) + number(one.counts[bin])).join(", ")} ${chart.counted}`,
    (full) => {
      const left = 46, height = 150, bottom = height - 22, width = (full - left - 6) / bins;
      const totals = chart.series.map((one) => `${named(one)}${number(one.counts.reduce((a, b) => a + b, 0))} ${chart.counted}, most at ${range(one.counts.indexOf(Math.max(...one.counts)))}`);
      const picture = svg("svg", { width: full, height, viewBox: `0 0 ${full} ${height}`, role: "img", "aria-label": `${chart.title}. ${totals.join("; ")}.` });
      for (const at of ticks(0, top, 3)) {
        const y = bottom - ((bottom - 6) * at) / top;
        picture.append(svg("path", { class: "gridline", d: `M${left} ${y}H${full - 6}` }), svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, number(at)));
      }
      chart.series.forEach((one, which) => {
        const cover = hatched(picture, several ? one.run % PATTERNS.length : 0);
        const part = (width - 1.5) / chart.series.length;
        one.counts.forEach((count, bin) => {
          if (!count) return;
          const tall = Math.max(1, ((bottom - 6) * count) / top);
          const box = { x: (left + bin * width + which * part).toFixed(2), y: (bottom - tall).toFixed(2), width: Math.max(1, part).toFixed(2), height: tall.toFixed(2) };
          picture.append(svg("rect", { class: `area s${one.run % STYLES}`, ...box }));
          const hatch = cover(box);
          if (hatch) picture.append(hatch);
        });
      });
      const marks = ticks(chart.edges[0], chart.edges[bins], Math.max(2, Math.floor((full - left) / 70)));
      for (const at of whole ? marks.filter((mark) => Number.isInteger(mark)) : marks) {
        const x = left + (width * bins * (at - chart.edges[0])) / (chart.edges[bins] - chart.edges[0]);
        picture.append(svg("text", { x: Math.min(x, full - 10), y: bottom + 16, "text-anchor": "middle" }, number(at)));
      }
      return { picture, boxOf: (_, bin) => [left + bin * width, 4, width, bottom - 4], hit: (x) => (x < left ? null : [0, Math.min(bins - 1, Math.floor((x - left) / width))]) };
    },
    { legend: key, table: dataTable(chart.title, () => table([chart.unit, ...chart.series.map((one) => (several ? data.runs[one.run].name : chart.counted))], Array.from({ length: bins }, (_, bin) => [range(bin), ...chart.series.map((one) => number(one.counts[bin]))]), { numbers: 1 })) });
}
