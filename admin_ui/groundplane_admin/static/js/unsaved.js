// Forms that must not be lost: `<form data-guard>`. They count their changes, ask before they are left, keep a
// draft in this browser tab, and say with `beforeunload` when they have changes.

import { word } from "./words.js";

const SKIP = new Set(["_csrf"]);
const EVERY_MS = 2000;
const states = new WeakMap();

const names = (form) => new Set([...form.elements].map((each) => each.name).filter((name) => name && !SKIP.has(name)));
function read(form) {
  const values = new Map();
  for (const name of names(form)) values.set(name, []);
  for (const [name, value] of new FormData(form)) {
    if (!SKIP.has(name)) values.get(name)?.push(value instanceof File ? (value.size ? `file:${value.name}:${value.size}` : "") : value);
  }
  return new Map([...values].map(([name, all]) => [name, JSON.stringify(all.length ? all : [""])]));
}

export function changesOf(form) {
  const state = states.get(form);
  if (!state) return [];
  const now = read(form);
  const found = [];
  for (const name of new Set([...now.keys(), ...state.clean.keys()])) {
    if ((now.get(name) ?? '[""]') !== (state.clean.get(name) ?? '[""]')) found.push(name);
  }
  return found;
}

const draftKey = (form) => `draft:${document.body.dataset.user}:${form.dataset.guard}`;

function keepDraft(form) {
  if (!form.dataset.guard) return;
  const changed = changesOf(form);
  if (!changed.length) { sessionStorage.removeItem(draftKey(form)); return; }
  const secret = new Set([...form.querySelectorAll("input[type=password], [data-secret]")].map((each) => each.name));
  const values = [...new FormData(form)].filter(([name, value]) => changed.includes(name) && !secret.has(name) && typeof value === "string");
  try { sessionStorage.setItem(draftKey(form), JSON.stringify({ at: Date.now(), values })); } catch { /* full: no draft */ }
}

export function draftOf(form) {
  try { return JSON.parse(sessionStorage.getItem(draftKey(form))); } catch { return null; }
}

export function forgetDraft(form) {
  if (form.dataset.guard) sessionStorage.removeItem(draftKey(form));
}

function tell(form) {
  const count = changesOf(form).length;
  form.toggleAttribute("data-dirty", count > 0);
  form.dispatchEvent(new CustomEvent("gp:changes", { bubbles: true, detail: { count } }));
  return count;
}

export function guard(form) {
  if (states.has(form)) return;
  states.set(form, { clean: read(form), timer: 0 });
  const changed = () => {
    tell(form);
    const state = states.get(form);
    clearTimeout(state.timer);
    state.timer = setTimeout(() => keepDraft(form), EVERY_MS);
  };
  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  form.addEventListener("reset", () => setTimeout(changed));
}

// After a save: what is in the form now is what is stored.
export function settle(form) {
  const state = states.get(form);
  if (!state) { guard(form); return; }
  clearTimeout(state.timer);
  state.clean = read(form);
  forgetDraft(form);
  tell(form);
}

export function restoreDraft(form) {
  const draft = draftOf(form);
  if (!draft) return false;
  const byName = new Map();
  for (const [name, value] of draft.values) byName.set(name, [...(byName.get(name) ?? []), value]);
  for (const [name, all] of byName) {
    const inputs = [...form.elements].filter((each) => each.name === name && each.type !== "file");
    for (const input of inputs) {
      if (input.type === "checkbox" || input.type === "radio") input.checked = all.includes(input.value);
      else if (input.type === "hidden" && inputs.length > 1) continue;
      else if (input.multiple) for (const option of input.options) option.selected = all.includes(option.value);
      else input.value = all.length === inputs.length ? all[inputs.indexOf(input)] : all.at(-1);
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  return true;
}

export const dirtyForms = (root = document) => [...root.querySelectorAll("form[data-guard][data-dirty]")];

// Asks what becomes of the changes; gives "save", "discard" or "stay".
export function ask() {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "unsaved-title");
  const head = document.createElement("div");
  head.className = "dialog-head";
  const title = document.createElement("h2");
  title.id = "unsaved-title";
  title.textContent = word("unsaved");
  head.append(title);
  const body = document.createElement("div");
  body.className = "dialog-body";
  body.textContent = word("unsaved_text");
  const foot = document.createElement("form");
  foot.method = "dialog";
  foot.className = "dialog-foot";
  for (const [value, kind] of [["save", "primary"], ["stay", "secondary"], ["discard", "danger-quiet"]]) {
    const button = document.createElement("button");
    button.className = `btn ${kind}`;
    button.value = value;
    button.textContent = word(value);
    if (value === "stay") button.autofocus = true;
    foot.append(button);
  }
  dialog.append(head, body, foot);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue || "stay"); });
  });
}

// True when the page, or the part of it, may go.
export async function mayLeave(root = document) {
  for (const form of dirtyForms(root)) {
    const answer = await ask();
    if (answer === "stay") return false;
    if (answer === "save") { form.requestSubmit(); return false; }
    forgetDraft(form);
    form.removeAttribute("data-dirty");
  }
  return true;
}

// Before the page goes by itself: what was typed is in the drafts, and nobody is asked.
export function keepDrafts() {
  for (const form of dirtyForms()) {
    keepDraft(form);
    form.removeAttribute("data-dirty");
  }
}

addEventListener("beforeunload", (event) => {
  if (dirtyForms().length) {
    for (const form of dirtyForms()) keepDraft(form);
    event.preventDefault();
  }
});
