// Structures from coordinates, bonds and labels that RDKit made. Drawn only when a card that shows them is on the page.
function molecule(index, differs, caption, spoken) {
  const { p, b, l } = data.gallery.molecules[index];
  const atoms = p.length / 2;
  const margin = 20, scale = 0.95;
  // How far a label reaches beyond its atom, on the side of its hydrogens.
  const reach = ([, symbol, hydrogens, charge, isotope]) => 10 + 5 * symbol.length + (hydrogens ? (hydrogens > 1 ? 18 : 11) : 0) + (charge ? (Math.abs(charge) > 1 ? 12 : 7) : 0) + (isotope ? 6 * String(isotope).length : 0);
  const left = Math.max(margin, ...l.filter((label) => label[5] < 0).map((label) => reach(label) - p[2 * label[0]] * scale));
  const x = (atom) => left + p[2 * atom] * scale;
  const y = (atom) => margin + p[2 * atom + 1] * scale;
  let width = 0, height = 0;
  for (let atom = 0; atom < atoms; atom++) { width = Math.max(width, x(atom) + margin); height = Math.max(height, y(atom) + margin); }
  for (const label of l) if (label[5] > 0) width = Math.max(width, x(label[0]) + reach(label));
  width = Math.max(width, 60);
  height = Math.max(height, 44);
  const shrink = Math.min(1, 300 / width, 230 / height);
  const picture = svg("svg", { width: Math.round(width * shrink), height: Math.round(height * shrink), viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken });
  const marked = new Set(differs || []);
  const labels = new Map(l.map((label) => [label[0], label]));
  const neighbours = Array.from({ length: atoms }, () => []);
  for (let at = 0; at < b.length; at += 3) { neighbours[b[at]].push(b[at + 1]); neighbours[b[at + 1]].push(b[at]); }

  for (const atom of marked) picture.append(svg("circle", { class: "differs", cx: x(atom), cy: y(atom), r: 4 }));
  for (let at = 0; at < b.length; at += 3) {
    if (marked.has(b[at]) && marked.has(b[at + 1])) picture.append(svg("path", { class: "differs", d: `M${x(b[at])} ${y(b[at])}L${x(b[at + 1])} ${y(b[at + 1])}` }));
  }
  for (let at = 0; at < b.length; at += 3) drawBond(b[at], b[at + 1], b[at + 2]);
  for (const label of l) picture.append(atomLabel(label));
  return html("figure", { class: "molecule" }, html("figcaption", null, caption), picture);

  function drawBond(from, to, kind) {
    const dx = x(to) - x(from), dy = y(to) - y(from), long = Math.hypot(dx, dy) || 1;
    const ux = dx / long, uy = dy / long;
    const room = (atom) => (!labels.has(atom) ? 0 : labels.get(atom)[1].length > 1 ? 12 : 8.5);
    const start = room(from), end = long - room(to);
    if (end <= start) return;
    const line = (aside, cut = 0) => svg("path", {
      class: "bond",
      d: `M${(x(from) + ux * (start + cut) - uy * aside).toFixed(1)} ${(y(from) + uy * (start + cut) + ux * aside).toFixed(1)}L${(x(from) + ux * (end - cut) - uy * aside).toFixed(1)} ${(y(from) + uy * (end - cut) + ux * aside).toFixed(1)}`,
    });
    if (kind === 4) {
      picture.append(svg("path", { class: "wedge", d: `M${x(from) + ux * start} ${y(from) + uy * start}L${x(from) + ux * end - uy * 4} ${y(from) + uy * end + ux * 4}L${x(from) + ux * end + uy * 4} ${y(from) + uy * end - ux * 4}Z` }));
    } else if (kind === 5) {
      for (let step = 1; step <= 6; step++) {
        const far = start + ((end - start) * step) / 6, wide = (4 * step) / 6;
        picture.append(svg("path", { class: "bond", d: `M${x(from) + ux * far - uy * wide} ${y(from) + uy * far + ux * wide}L${x(from) + ux * far + uy * wide} ${y(from) + uy * far - ux * wide}` }));
      }
    } else if (kind === 3) picture.append(line(0), line(3.4, 2), line(-3.4, 2));
    else if (kind === 2) {
      // The second line lies on the side where more neighbours are, inside of a ring; between both at the end of a chain.
      let side = 0;
      for (const [atom, other] of [[from, to], [to, from]]) for (const next of neighbours[atom]) if (next !== other) side += Math.sign(ux * (y(next) - y(from)) - uy * (x(next) - x(from)));
      const terminal = neighbours[from].length === 1 || neighbours[to].length === 1;
      if (side === 0 || (terminal && (labels.has(from) || labels.has(to)))) picture.append(line(2), line(-2));
      else picture.append(line(0), line(Math.sign(side) * 4, 3));
    } else picture.append(line(0));
  }

  function atomLabel([atom, symbol, hydrogens, charge, isotope, side]) {
    const small = (text, shift) => svg("tspan", { class: "small", dy: shift }, text);
    const text = svg("text", { x: x(atom), y: y(atom) + 4.5 });
    const counted = hydrogens > 1 ? [small(String(hydrogens), 3)] : [];
    const back = hydrogens > 1 ? -3 : 0;
    const signs = charge ? [small(`${Math.abs(charge) > 1 ? Math.abs(charge) : ""}${charge > 0 ? "+" : "−"}`, -5 + (side > 0 ? back : 0))] : [];
    const heavy = isotope ? [small(String(isotope), -5), svg("tspan", { dy: 5 }, symbol)] : [svg("tspan", side < 0 && back ? { dy: back } : {}, symbol)];
    const hydrogen = hydrogens ? [svg("tspan", {}, "H"), ...counted] : [];
    text.append(...(side < 0 ? [...hydrogen, ...heavy, ...signs] : [...heavy, ...hydrogen, ...signs]));
    // The symbol stays on its atom: the anchor is at the end on which the symbol stands.
    const wide = 4.7;
    if (hydrogens || charge) {
      text.setAttribute("x", x(atom) + (side < 0 ? wide + (charge ? 6 : 0) : -wide));
      text.classList.add(side < 0 ? "ends" : "starts");
    }
    return text;
  }
}
