// The page from top to bottom. The head and the results are built at once, everything below when it is about to be seen.
const main = document.getElementById("main");
const contents = [];

function section(id, title, note, build) {
  const place = html("div", null);
  const made = html("section", { id, class: build ? "later" : null, "aria-labelledby": `${id}-title` }, html("h2", { id: `${id}-title` }, title), note ? html("p", { class: "faint" }, note) : null, place);
  contents.push(html("li", null, html("a", { href: `#${id}` }, title)));
  main.append(made);
  if (build) later(made, () => build(place));
  return place;
}

function head() {
  const unit = choice("Horizontal axis", [["steps", "optimiser steps"], ["minutes", "minutes of running time"]], "steps", (value) => { axis.unit = value; redrawAll(); });
  unit.id = "axis";
  document.getElementById("head").append(html("h1", null, several ? `Comparison of ${data.runs.length} runs` : data.runs[0].name), unit, themeButton());
  document.getElementById("foot").append(`Made ${data.made} by chemr ${data.version} from the runs' own files. ${data.live === undefined ? "This file needs no network." : "Served by this machine, for this machine."}`);
}

function summary() {
  const place = section("summary", "Summary");
  for (const run of data.runs) {
    if (!run.problems.length) continue;
    place.append(html("div", { class: "notice", role: "note" }, html("strong", null, `${several ? `${run.name}: ` : ""}Not everything could be read`), html("ul", null, run.problems.map((problem) => html("li", null, problem)))));
  }
  if (!several) {
    place.append(html("dl", { class: "facts" }, data.runs[0].facts.map(([name, value]) => html("div", null, html("dt", null, name), html("dd", null, value)))));
    return;
  }
  const names = [...new Set(data.runs.flatMap((run) => run.facts.map(([name]) => name)))];
  const facts = data.runs.map((run) => new Map(run.facts));
  place.append(legend(styled(data.runs.map((run, index) => ({ run: index, name: "run" })))),
    scrolling("Summary of the runs", table(["", ...data.runs.map((run) => run.name)], [["folder", ...data.runs.map((run) => run.folder)], ...names.map((name) => [name, ...facts.map((fact) => fact.get(name) || "–")])], { text: true })));
}

function score(cell, style, top) {
  if (!cell) return "–";
  const [mean, low, high] = cell;
  const meter = html("div", { class: `meter s${style}`, "aria-hidden": "true" }, html("i", null), low === null ? null : html("b", null));
  meter.children[0].style.width = `${(100 * mean) / top}%`;
  meter.children[0].style.background = "var(--s)";
  if (low !== null) {
    meter.children[1].style.left = `${(100 * low) / top}%`;
    meter.children[1].style.width = `${(100 * (high - low)) / top}%`;
  }
  return html("div", null, percent(mean), low === null ? null : html("span", { class: "faint" }, ` [${percent(low)}, ${percent(high)}]`), meter);
}
const change = (after, before) => (after && before ? `${after[0] >= before[0] ? "+" : "−"}${percent(Math.abs(after[0] - before[0]))}` : "–");

function results() {
  const { stages, rows } = data.table;
  if (!rows.length) {
    section("results", "Results", "No stage has been finished yet: there is no held-out evaluation of the whole test set to show.");
    return;
  }
  const note = "Held-out mean reward in per cent, with its 95 % interval (bootstrap over prompts).";
  const place = section("results", "Results", several ? `${note} Differences are to the first run; the intervals are those of each run alone.` : note);
  const top = Math.max(...rows.flatMap((row) => Object.values(row.cells).map((cell) => cell[2] ?? cell[0])), 0.01);
  const holder = html("div", null);
  const show = (stage) => {
    const heads = several
      ? ["task", ...data.runs.flatMap((run, index) => (index ? [run.name, "difference"] : [run.name]))]
      : ["task", ...stages, ...(stages.length > 1 ? ["change"] : []), "greedy", "solved", "prompts"];
    const body = rows.map((row) => {
      const cell = (run, at) => row.cells[`${run}/${at}`];
      const last = cell(0, stages[stages.length - 1]);
      const columns = several
        ? data.runs.flatMap((_, run) => (run ? [score(cell(run, stage), run % STYLES, top), change(cell(run, stage), cell(0, stage))] : [score(cell(0, stage), 0, top)]))
        : [...stages.map((at, place) => score(cell(0, at), place % STYLES, top)), ...(stages.length > 1 ? [change(last, cell(0, stages[0]))] : []), percent(last?.[3]), percent(last?.[4]), number(last?.[5])];
      return { cells: [row.title, ...columns], total: row.task === "mean" };
    });
    holder.replaceChildren(scrolling("Results by task", table(heads, body, { numbers: 1 })));
  };
  if (several && stages.length > 1) place.append(html("div", { class: "bar" }, choice("After stage", stages.map((stage) => [stage, stage]), stages[stages.length - 1], show)));
  place.append(holder);
  show(stages[stages.length - 1]);
}

const grid = (charts) => html("div", { class: "grid" }, charts);
const wide = (charts) => html("div", { class: "wide" }, charts);
const named = (run, title) => (several ? `${title}, ${data.runs[run].name}` : title);
const taskTitle = new Map(data.curves.map((chart) => [chart.task, chart.title]));
const titleOf = (task) => taskTitle.get(task) || titles.get(task) || task;

function charts() {
  if (data.curves.length) {
    section("learning", "Learning curves", several ? "Mean reward by task: moving means of the rollouts, and held-out evaluations." : "Mean reward by task. Thin: every step of the rollouts (extremes kept); thick: their moving mean; marked: held-out evaluations.",
      (place) => place.append(grid(data.curves.map((chart) => linePlot({ ...chart, unit: "reward", from: 0 })))));
  }
  if (data.curriculum.length) {
    section("curriculum", "Curriculum", "Share of the prompts that each task gets, over optimiser steps.",
      (place) => place.append(wide(data.curriculum.map((map) => heatMap(named(map.run, "Share of prompts"), "by task", map, titleOf)))));
  }
  if (data.reasons.length) {
    section("reasons", "Reasons of rewards", "Share of the answers with each reason, over optimiser steps; over all tasks it is the unweighted mean.", (place) => {
      const holder = html("div", null);
      const tasks = [...new Set(data.reasons.flatMap((entry) => Object.keys(entry.tasks)))];
      const show = (task) => holder.replaceChildren(wide(data.reasons.filter((entry) => entry.tasks[task]).map((entry) => heatMap(named(entry.run, task === "all" ? "All tasks" : titleOf(task)), "by reason", { edges: entry.edges, ...entry.tasks[task] }, (reason) => reason.replaceAll("_", " ")))));
      place.append(html("div", { class: "bar" }, choice("Task", tasks.map((task) => [task, task === "all" ? "all tasks" : titleOf(task)]), "all", show)), holder);
      show("all");
    });
  }
  if (data.timeline.length) {
    section("timeline", "Who waited for whom", "The driver's time in a step, and below it how idle learner and generators were (strongest colour = always).",
      (place) => place.append(wide(data.timeline.map(timeline))));
  }
  for (const [id, title] of [["training", "Training"], ["speed", "Speed and age"], ["weights", "Weights and buffer"]]) {
    const some = data.lines.filter((chart) => chart.section === id);
    if (some.length) section(id, title, null, (place) => place.append(grid(some.map(linePlot))));
  }
  if (data.histograms.length) section("histograms", "Histograms", "Ages are of every step; the others are of the answers that were sampled into trajectories.", (place) => place.append(grid(data.histograms.map(histogram))));
}

function eventList() {
  section("events", "Events", "Stages, restarts, failures, drops, weights and alerts, and what the run told.", (place) => {
    for (const run of data.runs) {
      const holder = html("div", null);
      const kinds = [...new Set(run.events.map((event) => event[1]))];
      const show = (kind) => holder.replaceChildren(scrolling(`Events of ${run.name}`, table(["step", "kind", "what"], run.events.filter((event) => !kind || event[1] === kind).map(([step, name, text]) => [number(step), name, text])), true));
      if (several) place.append(html("h3", null, run.name));
      if (kinds.length > 1) place.append(html("div", { class: "bar" }, choice(several ? `Kind, ${run.name}` : "Kind", [["", "all kinds"], ...kinds.map((kind) => [kind, kind])], "", show)));
      place.append(holder);
      show("");
    }
  });
}

function configuration() {
  const one = (key) => {
    const maps = data.runs.map((run) => new Map(run[key]));
    const names = [...new Set(maps.flatMap((map) => [...map.keys()]))];
    return { names, maps, differing: names.filter((name) => new Set(maps.map((map) => map.get(name))).size > 1) };
  };
  section("configuration", "Configuration and environment", null, (place) => {
    for (const [key, title] of [["config", "Configuration"], ["environment", "Environment"]]) {
      const { names, maps, differing } = one(key);
      const rows = (some) => some.map((name) => [name, ...maps.map((map) => map.get(name))]);
      const heads = [key === "config" ? "field" : "what", ...(several ? data.runs.map((run) => run.name) : ["value"])];
      if (several) place.append(html("h3", null, `${title}: what differs`), differing.length ? scrolling(`${title}, differences`, table(heads, rows(differing), { text: true })) : html("p", null, "Nothing."));
      if (names.length) place.append(html("details", { open: !several && key === "environment", "data-open": !several && key === "environment" }, html("summary", null, `${title}, ${names.length} fields`), scrolling(title, table(heads, rows(names), { text: true }), true)));
      else place.append(html("p", { class: "faint" }, `${title}: not recorded.`));
    }
  });
}

head();
summary();
results();
charts();
if (data.gallery.samples.length) section("answers", "Answers", null, (place) => place.append(gallery()));
else section("answers", "Answers", "No trajectories have been sampled (grpo.sample_every).");
eventList();
configuration();
document.getElementById("contents").append(html("ul", null, contents));
