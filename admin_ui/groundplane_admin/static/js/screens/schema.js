// The collection editor: what is typed goes into the draft on the server as it is typed, lines are dragged, and what
// is open stays open.

import { sortable } from "../sort-list.js";

const CALM_MS = 250;
const LEFT_OUT = ["add_name", "add_type", "columns", "unique"];

export function mount(form) {
  let timer = 0;
  let pending = null;

  async function send() {
    const body = new URLSearchParams(new FormData(form));
    body.set("do", "keep");
    body.delete("add_name");
    const answer = await fetch(form.action, { method: "POST", body, headers: { "HX-Request": "true", "X-Quiet": "1" } }).catch(() => null);
    const place = form.querySelector("[data-count]");
    if (!answer?.ok || answer.redirected || !place) return;
    const part = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceChildren(...part.body.childNodes);
  }
  function keep() {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = 0; pending = send().finally(() => { pending = null; }); }, CALM_MS);
  }
  form.addEventListener("change", (event) => { if (!LEFT_OUT.includes(event.target.name)) keep(); });
  // A button sends all of the form anyhow; it must not be overtaken by what is under way.
  form.addEventListener("submit", (event) => {
    clearTimeout(timer);
    timer = 0;
    if (!pending) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { submitter } = event;
    pending.then(() => form.requestSubmit(submitter));
  }, { capture: true });
  for (const list of form.querySelectorAll("[data-sort-list]")) sortable(list, keep);
  for (const details of form.querySelectorAll("details")) {
    details.addEventListener("toggle", () => {
      const line = details.closest("[data-key]");
      line?.querySelector("input[name=open]")?.remove();
      if (!line || !details.open) return;
      line.append(Object.assign(document.createElement("input"), { type: "hidden", name: "open", value: line.dataset.key }));
    });
  }
  // What was typed last before a link was followed is kept, too.
  return () => { if (timer) { clearTimeout(timer); send(); } };
}
