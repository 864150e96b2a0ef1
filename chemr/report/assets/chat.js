// The playground: one question, the answer as it is written, and then what of it is true. Served by `chemr chat --page` only.
const main = document.getElementById("main");
const byTask = new Map(data.tasks.map((task) => [task.task, task]));
let asking = null;

document.getElementById("head").append(html("h1", null, "Ask the model"), html("p", { class: "faint", id: "model" }, `${data.model}, on ${data.device}`), themeButton());
document.getElementById("contents").remove();
document.getElementById("foot").append("Served by this machine, for this machine. The model sees one question at a time, worded as in training.");

const field = (label, control, extra) => html("label", { class: extra || null }, label, control);
const taskList = html("select", { id: "task", onchange: () => showTask() }, data.tasks.map((task) => html("option", { value: task.task }, task.title)));
const text = html("input", { type: "text", id: "text", autocomplete: "off", spellcheck: "false", maxlength: 4000, "aria-describedby": "hint" });
const textName = document.createTextNode("");
const settings = html("div", { class: "bar", id: "settings" });
const seed = html("input", { type: "number", id: "seed", min: 0, step: 1, value: data.sampling.seed });
const temperature = html("input", { type: "number", id: "temperature", min: 0, max: 10, step: 0.1, value: data.sampling.temperature });
const tokens = html("input", { type: "number", id: "tokens", min: 1, step: 1, value: data.sampling.max_new_tokens });
const send = html("button", { type: "submit", class: "first" }, "Ask");
const stop = html("button", { type: "button", disabled: true, onclick: () => asking?.abort() }, "Stop");
const hint = html("p", { class: "faint", id: "hint" });
const problem = html("p", { id: "problem", role: "alert" });
const form = html("form", { "aria-label": "Question", onsubmit: (event) => { event.preventDefault(); ask(); } },
  html("div", { class: "bar" }, field("Task", taskList), html("label", { class: "grow" }, textName, text), send, stop),
  settings, hint,
  html("details", { id: "sampling" }, html("summary", null, "How the answer is drawn"),
    html("div", { class: "bar" }, field("Seed", seed), field("Temperature", temperature), field("Tokens at most", tokens)),
    html("p", { class: "faint" }, "Temperature 0 takes the likeliest token every time. Above it, equal seeds give equal answers on one machine.")));
const answers = html("div", { id: "answers", "aria-live": "polite", "aria-busy": "false" });
main.append(html("section", { id: "ask", "aria-label": "Question" }, form, problem), html("section", { id: "replies", "aria-label": "Answers" }, answers));

function showTask() {
  const task = byTask.get(taskList.value);
  textName.data = task.label;
  text.placeholder = task.example;
  const needsName = task.kind === "name" || task.kind === "molecule";
  hint.replaceChildren("For example ", html("button", { type: "button", class: "example", onclick: () => { text.value = task.example; text.focus(); } }, task.example), ".",
    needsName && data.names ? ` ${capital(data.names)}.` : "");
  settings.replaceChildren(...Object.entries(task.settings).map(([name, choices]) => field(name,
    choices.length ? html("select", { name }, choices.map((one) => html("option", { value: one }, one.replaceAll("_", " "))))
      : html("input", { type: "text", name, autocomplete: "off", placeholder: name === "by" ? "a number" : "SMILES" + (name === "candidates" ? ", joined by commas" : "") }))));
}

async function ask() {
  if (asking) return;
  problem.textContent = "";
  asking = new AbortController();
  send.disabled = true;
  stop.disabled = false;
  answers.setAttribute("aria-busy", "true");
  const given = Object.fromEntries([...settings.querySelectorAll("select, input")].map((one) => [one.name, one.value]));
  const number = (control) => (control.value === "" ? null : Number(control.value));
  const body = { task: taskList.value, text: text.value, settings: given, seed: number(seed), temperature: number(temperature), max_new_tokens: number(tokens) };
  let draft = null;
  try {
    const answer = await fetch("ask", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: asking.signal });
    if (!answer.ok) throw new Error((await answer.json()).error);
    for await (const line of linesOf(answer.body)) {
      if (line.question !== undefined) { draft = draftOf(line); answers.prepend(draft.card); }
      if (line.text !== undefined) draft.text.append(line.text);
      if (line.error !== undefined) throw new Error(line.error);
      if (line.reply !== undefined) { draft.card.replaceWith(reply(line.reply)); draft = null; }
    }
    if (draft) draft.text.append(" … (it was not finished)");
  } catch (error) {
    if (error.name === "AbortError") { if (draft) draft.text.append(" … (stopped)"); }
    else problem.textContent = error instanceof TypeError ? "chemr chat does not answer: it has ended, or this machine sleeps." : error.message;
  } finally {
    asking = null;
    send.disabled = false;
    stop.disabled = true;
    answers.setAttribute("aria-busy", "false");
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

function draftOf({ question, notes }) {
  const written = html("pre", { class: "draft" });
  return { text: written, card: html("article", { class: "card", "aria-label": question }, html("header", null, html("h2", null, question)), notes.map((note) => html("p", { class: "faint" }, note)), written) };
}

const SIGNS = new Map([[true, ["good", "✓ true"]], [false, ["bad", "✗ false"]], [null, ["lost", "? cannot be told"]]]);
function claimLine(claim) {
  const what = claim.what.replaceAll("_", " ");
  const named = { group: `has the group ${what}`, formula: `formula ${what}`, rings: `${what} rings` }[claim.kind] || "what this step says";
  const where = claim.of === "both" ? ", of question and answer" : claim.of ? `, of the ${claim.of}` : "";
  const [tone, words] = SIGNS.get(claim.true);
  return html("li", null, html("span", { class: `verdict ${tone}` }, words), ` ${named}${where}`);
}

function reply(found) {
  const counts = [true, false].map((truth) => found.claims.filter((claim) => claim.true === truth).length);
  const told = found.claims.length ? `${counts[0]} of ${found.claims.length} checked claims true${counts[1] ? `, ${counts[1]} false` : ""}` : "no claim that can be checked";
  const made = html("article", { class: "card", "aria-label": found.question },
    html("header", null, html("h2", null, found.question), html("span", null, byTask.get(found.task).title), html("span", null, told)),
    found.notes.map((note) => html("p", { class: "faint" }, note)));
  if (found.steps.length) {
    made.append(html("ol", { class: "steps", "aria-label": "Reasoning" }, found.steps.map((step, place) => {
      const claims = found.claims.filter((claim) => claim.step === place);
      return html("li", null, html("div", { class: "step" }, step.title ? html("strong", null, `${step.number}. ${step.title}: `) : null, html("span", { class: "said" }, step.claim || "(nothing)")),
        claims.length ? html("ul", { class: "claims" }, claims.map(claimLine)) : null);
    })));
  }
  if (found.answer === null) made.append(html("p", { class: "answer" }, html("span", { class: "verdict bad" }, "No answer in the form <answer>…</answer>."), ` It ended ${found.ended}.`));
  else made.append(html("p", { class: "answer" }, "Answer: ", html("strong", { class: "said" }, found.answer)));
  const score = found.score;
  made.append(html("p", { class: "score" }, score.value === null ? html("span", { class: "faint" }, capital(score.why) + ".")
    : [html("span", { class: `verdict ${score.value >= 1 ? "good" : score.value > 0 ? "part" : "bad"}` }, `${score.value >= 1 ? "✓" : score.value > 0 ? "◐" : "✗"} score ${number(score.value)}, ${score.reason.replaceAll("_", " ")}`), html("span", { class: "faint" }, ` ${score.why}`)]));
  const { molecules, asked, answer, difference } = found.drawings;
  const first = data.gallery.molecules.length;
  data.gallery.molecules.push(...molecules);
  const structures = html("div", { class: "molecules" });
  asked.forEach((place, at) => structures.append(molecule(first + place, at === 0 && difference ? difference[1] : null, at === 0 && difference && difference[1].length ? "asked, marked: not in the answer" : "asked", "structure of the question")));
  if (answer !== null) structures.append(molecule(first + answer, difference ? difference[0] : null, difference && difference[0].length ? "answer, marked: what differs" : "answer", "structure of the answer"));
  if (structures.childElementCount) made.append(structures);
  const drawn = found.sampling.temperature > 0 ? `temperature ${found.sampling.temperature}, seed ${found.sampling.seed}` : "likeliest tokens";
  made.append(html("details", null, html("summary", null, `${found.tokens} tokens in ${found.seconds.toFixed(1)} s, ended ${found.ended}, ${drawn}`),
    html("pre", { class: "draft", tabindex: 0 }, found.completion || "(empty)")));
  return made;
}
const capital = (words) => words.slice(0, 1).toUpperCase() + words.slice(1);

showTask();
text.focus();
