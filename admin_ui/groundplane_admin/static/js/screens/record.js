// The form of a record: counts its changes, marks changed fields, offers a draft, checks JSON, moves the point.

import { changesOf, draftOf, forgetDraft, guard, restoreDraft } from "../unsaved.js";

export function mount(form) {
  guard(form);
  const counter = form.querySelector("[data-changes]");

  let base = {};
  try { base = JSON.parse(form.elements._base.value); } catch { /* none: no "was" */ }
  function showWas(field, changed) {
    const was = field.querySelector("[data-was]");
    const value = base[field.dataset.field];
    if (!was) return;
    was.hidden = !changed || !["string", "boolean"].includes(typeof value) || value === "";
    was.textContent = was.hidden ? "" : was.dataset.was.replace("{value}", String(value).slice(0, 60));
  }

  function show() {
    const names = new Set(changesOf(form).map((name) => name.replace(/^(v|z|x|lon|lat):/, "")));
    names.delete("_base");
    for (const field of form.querySelectorAll("[data-field]")) { const is = names.has(field.dataset.field); field.classList.toggle("is-changed", is); showWas(field, is); }
    if (counter) counter.textContent = names.size ? (names.size === 1 ? counter.dataset.one : counter.dataset.other.replace("{n}", String(names.size))) : "";
  }
  form.addEventListener("gp:changes", show);
  const settled = () => { try { base = JSON.parse(form.elements._base.value); } catch { base = {}; } show(); };
  document.addEventListener("htmx:after:swap", settled);

  const notice = form.querySelector("[data-draft]");
  if (notice && draftOf(form)) notice.hidden = false;
  notice?.addEventListener("click", (event) => {
    if (event.target.closest("[data-draft-restore]")) { restoreDraft(form); notice.hidden = true; }
    if (event.target.closest("[data-draft-discard]")) { forgetDraft(form); notice.hidden = true; }
  });

  form.addEventListener("input", (event) => {
    const input = event.target;
    if (input.matches("[data-json]")) {
      let wrong = false;
      try { if (input.value.trim()) JSON.parse(input.value); } catch { wrong = true; }
      input.setAttribute("aria-invalid", String(wrong));
    }
    const geo = input.closest("[role=group]")?.querySelector("[data-geo]");
    if (geo) {
      const [lon, lat] = [...input.closest("[role=group]").querySelectorAll("input")].map((each) => Number(each.value) || 0);
      geo.setAttribute("cx", String(lon));
      geo.setAttribute("cy", String(-lat));
    }
  });
  return () => document.removeEventListener("htmx:after:swap", settled);
}
