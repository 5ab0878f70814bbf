// The form of a section of the settings: counts its changes, adds and removes rate limits.

import { changesOf, guard } from "../unsaved.js";

export function mount(form) {
  guard(form);
  const counter = form.querySelector("[data-changes]");
  form.addEventListener("gp:changes", () => {
    const count = new Set(changesOf(form)).size;
    counter.textContent = !count ? "" : count === 1 ? form.dataset.one : form.dataset.other.replace("{n}", String(count));
  });
  const rules = form.querySelector("[data-rules] tbody");
  if (!rules) return;
  const add = form.querySelector("[data-rule-add]");
  add.hidden = false;
  const blank = rules.querySelector("[data-blank]");
  const pattern = blank.cloneNode(true);
  blank.remove();
  const changed = () => form.dispatchEvent(new Event("input", { bubbles: true }));
  const number = () => {
    [...rules.querySelectorAll("tr:has(input)")].forEach((row, at) => {
      for (const each of row.querySelectorAll("[aria-label]")) each.setAttribute("aria-label", each.getAttribute("aria-label").replace(/\d+$/, String(at + 1)));
    });
  };
  const show = () => { for (const button of rules.querySelectorAll("[data-rule-remove]")) button.hidden = false; };
  add.addEventListener("click", () => {
    const row = pattern.cloneNode(true);
    rules.append(row);
    show();
    number();
    row.querySelector("input").focus();
    changed();
  });
  rules.addEventListener("click", (event) => {
    const row = event.target.closest("[data-rule-remove]")?.closest("tr");
    if (!row) return;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    if (row.nextElementSibling?.matches(".settings-rule-error")) row.nextElementSibling.remove();
    row.remove();
    number();
    (next?.querySelector("input") ?? add).focus();
    changed();
  });
  show();
}
