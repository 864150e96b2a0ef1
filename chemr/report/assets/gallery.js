// The answers, filtered and sorted as arrays of indices; only the cards of one page are elements.
const PAGE = 12;
const GROUP = { run: 0, step: 1, uid: 2, task: 3, question: 4, reference: 5, asked: 6, drawn: 7, inputs: 8 };
const SAMPLE = { group: 0, reward: 1, reason: 2, tokens: 3, oldest: 4, newest: 5, generator: 6, reasoning: 7, answer: 8, drawn: 9, figures: 10, toReference: 11, toAsked: 12 };
const titles = new Map(data.gallery.tasks);

function outcome(reward) {
  if (reward === null) return ["lost", "?", "not scored"];
  if (reward >= 1) return ["good", "✓", "correct"];
  return reward > 0 ? ["part", "◐", "partial"] : ["bad", "✗", "worth nothing"];
}

// Lower case of everything that is searched: made while the browser has nothing to do, or when it is needed.
const haystacks = [];
function haystack(index) {
  while (haystacks.length <= index) {
    const sample = data.gallery.samples[haystacks.length], group = data.gallery.groups[sample[SAMPLE.group]];
    haystacks.push([group[GROUP.uid], group[GROUP.question], group[GROUP.reference], sample[SAMPLE.reasoning], sample[SAMPLE.answer]].join("\n").toLowerCase());
  }
  return haystacks[index];
}
function makeHaystacks(deadline) {
  while (haystacks.length < data.gallery.samples.length && deadline.timeRemaining() > 1) haystack(haystacks.length);
  if (haystacks.length < data.gallery.samples.length) requestIdleCallback(makeHaystacks);
}

// Indices of the samples that pass, in the order asked for.
function select({ task, verdict, run, text, order }) {
  const { samples, groups } = data.gallery;
  const wanted = text.trim().toLowerCase();
  const found = [];
  for (let index = 0; index < samples.length; index++) {
    const sample = samples[index], group = groups[sample[SAMPLE.group]];
    if (task && group[GROUP.task] !== task) continue;
    if (run !== "" && group[GROUP.run] !== +run) continue;
    if (verdict.startsWith("=") ? outcome(sample[SAMPLE.reward])[0] !== verdict.slice(1) : verdict && sample[SAMPLE.reason] !== verdict) continue;
    if (wanted && !haystack(index).includes(wanted)) continue;
    found.push(index);
  }
  const step = (index) => groups[samples[index][SAMPLE.group]][GROUP.step];
  const known = (index) => (samples[index][SAMPLE.reward] === null ? 2 : samples[index][SAMPLE.reward]);
  if (order === "newest") found.sort((a, b) => step(b) - step(a) || a - b);
  else if (order === "best") found.sort((a, b) => (known(b) % 2) - (known(a) % 2) || step(b) - step(a) || a - b);
  else if (order === "worst") {
    // Least reward first; among equals, where the model usually succeeds: those failures say most. Unscored ones come last.
    const means = taskMeans();
    const usual = (index) => means.get(groups[samples[index][SAMPLE.group]][GROUP.task]) || 0;
    found.sort((a, b) => known(a) - known(b) || usual(b) - usual(a) || step(b) - step(a) || a - b);
  }
  return found;
}

let means = null;
function taskMeans() {
  if (means) return means;
  const sums = new Map();
  for (const sample of data.gallery.samples) {
    if (sample[SAMPLE.reward] === null) continue;
    const task = data.gallery.groups[sample[SAMPLE.group]][GROUP.task];
    const [sum, count] = sums.get(task) || [0, 0];
    sums.set(task, [sum + sample[SAMPLE.reward], count + 1]);
  }
  means = new Map([...sums].map(([task, [sum, count]]) => [task, sum / count]));
  return means;
}

function card(index) {
  const sample = data.gallery.samples[index], group = data.gallery.groups[sample[SAMPLE.group]];
  const [tone, sign, words] = outcome(sample[SAMPLE.reward]);
  const answer = sample[SAMPLE.answer], reasoning = sample[SAMPLE.reasoning];
  const written = group[GROUP.reference];
  const verdict = html("span", { class: `verdict ${tone}` }, `${sign} ${sample[SAMPLE.reason].replaceAll("_", " ")}`);
  const versions = sample[SAMPLE.oldest] === sample[SAMPLE.newest] ? `version ${sample[SAMPLE.oldest]}` : `versions ${sample[SAMPLE.oldest]} to ${sample[SAMPLE.newest]}`;
  const made = html("article", { class: "card", "aria-label": `${titles.get(group[GROUP.task])}, ${words}` },
    html("header", null, html("h3", null, titles.get(group[GROUP.task])), verdict,
      html("span", null, `reward ${sample[SAMPLE.reward] === null ? "unknown" : number(sample[SAMPLE.reward])}`),
      several ? html("span", null, data.runs[group[GROUP.run]].name) : null,
      html("span", null, `step ${group[GROUP.step]}, ${versions}`), html("span", null, `${sample[SAMPLE.tokens]} tokens`)));
  const list = html("dl", null);
  const line = (name, text, long) => { if (text) list.append(html("dt", null, name), html("dd", long && text.length > 600 ? { class: "long", tabindex: 0 } : null, text)); };
  line("question", group[GROUP.question]);
  if (answer === null) line("text", reasoning || "(empty)", true);
  else {
    line("reasoning", reasoning, true);
    line("answer", answer, true);
  }
  line("reference", written, true);
  line("scores", sample[SAMPLE.figures].map(([name, value]) => `${name} ${number(value)}`).join(", "));
  made.append(list);
  const structures = html("div", { class: "molecules" });
  const atomsOf = (atoms, one, more) => `${atoms.length} ${atoms.length === 1 ? `atom ${one}` : `atoms ${more}`}`;
  const count = (atoms, what) => (atoms === null || atoms === undefined ? "" : atoms.length ? `, ${atomsOf(atoms, "differs", "differ")} from ${what}` : `, as ${what}`);
  const toAsked = sample[SAMPLE.toAsked], toReference = sample[SAMPLE.toReference];
  group[GROUP.asked].forEach((place, at) => structures.append(molecule(place, at === 0 && toAsked ? toAsked[1] : null, "asked", `structure of the question${at === 0 && toAsked ? `, ${atomsOf(toAsked[1], "not", "not")} in the answer` : ""}`)));
  if (sample[SAMPLE.drawn] !== null) {
    // What an edit changed is shown against the molecule it began with; everything else against the reference.
    if (toAsked) structures.append(molecule(sample[SAMPLE.drawn], toAsked[0], `answer${count(toAsked[0], "the asked one")}`, `structure of the answer${count(toAsked[0], "the asked molecule")}`));
    if (!toAsked || (toReference && toReference[0].length)) {
      structures.append(molecule(sample[SAMPLE.drawn], toReference ? toReference[0] : null, `answer${count(toReference && toReference[0], "the reference")}`, `structure of the answer${count(toReference && toReference[0], "the reference")}`));
    }
  }
  if (group[GROUP.drawn] !== null) structures.append(molecule(group[GROUP.drawn], toReference ? toReference[1] : null, `reference${toReference && toReference[1].length ? `, ${atomsOf(toReference[1], "not", "not")} in the answer` : ""}`, "structure of the reference"));
  if (structures.childElementCount) made.append(structures);
  made.append(html("details", null, html("summary", null, "More"), html("dl", null,
    html("dt", null, "group"), html("dd", null, group[GROUP.uid]), html("dt", null, "generator"), html("dd", null, sample[SAMPLE.generator]),
    group[GROUP.inputs] ? [html("dt", null, "inputs"), html("dd", null, group[GROUP.inputs])] : null)));
  return made;
}

function gallery() {
  const { samples, groups, tasks, total } = data.gallery;
  const state = { task: "", verdict: "", run: "", text: "", order: "newest" };
  let found = [], page = 0, pending = 0;
  const status = html("p", { class: "faint", "aria-live": "polite", id: "found" });
  const list = html("div", { id: "cards" });
  const previous = html("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const next = html("button", { type: "button", onclick: () => turn(1) }, "Next");
  const where = html("span", { class: "faint" });
  const pager = html("div", { class: "bar", role: "group", "aria-label": "Pages of answers" }, previous, where, next);

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(pages - 1, Math.max(0, page));
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
    if (!found.length) list.append(html("p", null, "No answer passes these filters."));
    where.textContent = `page ${page + 1} of ${pages}`;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }
  function turn(by) {
    page += by;
    show();
    status.scrollIntoView({ block: "start" });
    list.querySelector("summary")?.focus({ preventScroll: true });
  }
  function filter() {
    const began = performance.now();
    found = select(state);
    page = 0;
    const rewards = found.map((index) => samples[index][SAMPLE.reward]).filter((reward) => reward !== null);
    const mean = rewards.length ? `, mean reward ${number(rewards.reduce((a, b) => a + b, 0) / rewards.length)}` : "";
    status.textContent = `${found.length.toLocaleString("en")} of ${samples.length.toLocaleString("en")} answers${mean}`;
    show();
    performance.measure("filter", { start: began, end: performance.now() });
  }
  const set = (name) => (value) => { state[name] = value; filter(); };

  const reasons = [...new Set(samples.map((sample) => sample[SAMPLE.reason]))].sort();
  const search = html("input", { type: "search", placeholder: "SMILES, name, word", oninput: () => { clearTimeout(pending); pending = setTimeout(() => set("text")(search.value), 120); } });
  const order = choice("Order", [["newest", "newest first"], ["worst", "worst failures first"], ["best", "best first"]], "newest", set("order"));
  const bar = html("form", { class: "bar", role: "search", "aria-label": "Filter the answers", onsubmit: (event) => event.preventDefault() },
    choice("Task", [["", "all tasks"], ...tasks], "", set("task")),
    choice("Verdict", [["", "all verdicts"], ["=good", "✓ correct"], ["=part", "◐ partial"], ["=bad", "✗ worth nothing"], ["=lost", "? not scored"], ...reasons.map((reason) => [reason, reason.replaceAll("_", " ")])], "", set("verdict")),
    several ? choice("Run", [["", "all runs"], ...data.runs.map((run, index) => [String(index), run.name])], "", set("run")) : null,
    order, html("label", { class: "grow" }, "Text", search));
  const notes = [];
  if (samples.length < total) notes.push(`${samples.length.toLocaleString("en")} of the ${total.toLocaleString("en")} sampled answers are in this file, spread evenly over the steps (--samples).`);
  if (data.gallery.skipped_differences) notes.push(`For ${data.gallery.skipped_differences} pairs of molecules the difference was not computed: they are large, or it took too long.`);
  if (!groups.some((group) => group[GROUP.reference] !== null)) notes.push("These answers were sampled by a version of chemr that did not keep references and inputs, so there are no differences to show.");
  const whole = html("div", null, notes.length ? html("p", { class: "faint" }, notes.join(" ")) : null, bar, status, list, pager);
  filter();
  if (globalThis.requestIdleCallback) requestIdleCallback(makeHaystacks);
  return whole;
}
