// The strip above the report of a run that goes on, and when the page is loaded again. Only in pages that `chemr watch --page` serves.
const LOOK_MS = 2000;

function liveStrip() {
  const facts = html("dl", { class: "facts", id: "live-facts" });
  const told = html("div", { id: "live-told" });
  const state = html("span", { id: "live-state", role: "status" });
  const follow = html("input", { type: "checkbox", id: "follow" });
  let on = true;
  try { on = sessionStorage.getItem("chemr-follow") !== "no"; } catch { /* then it is not remembered */ }
  follow.checked = on;
  follow.addEventListener("change", () => { try { sessionStorage.setItem("chemr-follow", follow.checked ? "yes" : "no"); } catch { /* same */ } look(); });
  const reload = html("button", { type: "button", id: "reload", hidden: true, onclick: () => again() }, "Show the newest");
  const strip = html("section", { id: "live", "aria-labelledby": "live-title" },
    html("div", { class: "bar" }, html("h2", { id: "live-title" }, "Now"), state, html("label", { class: "check" }, follow, "load again when the run goes on"), reload),
    facts, told);

  // Whoever filters answers or reads a table does not want the page to begin again under his hands.
  function busy() {
    const active = document.activeElement;
    return (active && active.closest("form, .scroll, .plot, select")) || document.querySelector("main details[open]:not([data-open])") !== null || String(getSelection()) !== "";
  }

  // The section that is being read stays where it is.
  function again() {
    const read = [...document.querySelectorAll("main > section")].reverse().find((one) => one.getBoundingClientRect().top < 120);
    try { sessionStorage.setItem("chemr-place", JSON.stringify(read && scrollY > 0 ? [read.id, read.getBoundingClientRect().top] : [])); } catch { /* then at the top */ }
    location.reload();
  }
  function backInPlace() {
    try {
      const [id, top] = JSON.parse(sessionStorage.getItem("chemr-place") || "[]");
      sessionStorage.removeItem("chemr-place");
      const read = id && document.getElementById(id);
      if (read) scrollTo({ top: read.getBoundingClientRect().top + scrollY - top, behavior: "instant" });
    } catch { /* at the top */ }
  }

  let timer = 0;
  async function look() {
    clearTimeout(timer);
    try {
      const answer = await fetch("now", { cache: "no-store" });
      const now = await answer.json();
      if (!answer.ok) throw new Error(now.error);
      facts.replaceChildren(...now.facts.map(([label, text]) => html("div", null, html("dt", null, label), html("dd", null, text))));
      const list = (title, kind, items) => (items.length ? html("div", { class: "notice" }, html("strong", { class: kind }, title), html("ul", null, items.map((one) => html("li", null, one)))) : null);
      told.replaceChildren(...[list("Alerts", "part", now.alerts), list("Last failures", "bad", now.failures), list("Last notes", "plain", now.notes)].filter(Boolean));
      state.textContent = now.quiet;
      const other = now.newer || now.shown !== data.live;
      reload.hidden = !other || (follow.checked && !busy());
      if (other && follow.checked && !busy()) { again(); return; }
    } catch {
      state.textContent = "chemr watch does not answer: it has ended, or this machine sleeps.";
    }
    timer = setTimeout(look, document.hidden ? 5 * LOOK_MS : LOOK_MS);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  look();
  return { strip, backInPlace };
}
const live = liveStrip();
main.prepend(live.strip);
if (!document.querySelector('#contents a[href="#live"]')) document.querySelector("#contents ul").prepend(html("li", null, html("a", { href: "#live" }, "Now")));
history.scrollRestoration = "manual";
live.backInPlace();
