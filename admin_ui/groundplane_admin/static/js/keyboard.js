// Shortcuts: the ones of every page are here, a screen adds its own with `onKeys`.

import { close, isOpen } from "./panel.js";
import { openPalette } from "./palette.js";
import { toggleSidebar } from "./menus.js";

const OFF = "single-keys-off";
const GO = { h: "/_/", c: "/_/palette?q=%23", l: "/_/logs", r: "/_/rules", s: "/_/settings" };
// What screens have added, the newest last.
const layers = [];
let waitsForGo = 0;

export const inField = (target) => target.matches?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true], [contenteditable='']");

// `keys` maps a key (as in event.key, with "Ctrl ", "Shift " or "Alt " before it) to [label, run].
// It counts while `root` is on the page.
export function onKeys(root, keys) {
  layers.push({ root, keys });
}

const nameOf = (event) => `${event.ctrlKey || event.metaKey ? "Ctrl " : ""}${event.altKey ? "Alt " : ""}${event.shiftKey && event.key.length > 1 ? "Shift " : ""}${event.key.length === 1 && (event.ctrlKey || event.metaKey) ? event.key.toLowerCase() : event.key}`;

function live() {
  for (let n = layers.length - 1; n >= 0; n -= 1) if (!layers[n].root.isConnected) layers.splice(n, 1);
  return layers;
}

function nextRegion(back) {
  const regions = ["sidebar", "main", "panel"].map((id) => document.getElementById(id)).filter((each) => each?.childElementCount && each.checkVisibility());
  const at = regions.findIndex((each) => each.contains(document.activeElement));
  const to = regions[(at + (back ? -1 : 1) + regions.length) % regions.length];
  const first = to.querySelector("h1, h2[tabindex], [aria-current], a, button, input");
  (first?.matches("h1") ? first : (first ?? to)).focus();
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const key = nameOf(event);
  if (key === "Ctrl k") { event.preventDefault(); openPalette(); return; }
  if (key === "F6" || key === "Shift F6") { event.preventDefault(); nextRegion(event.shiftKey); return; }
  if (document.querySelector("dialog:modal")) return;
  if (key === "Ctrl s") {
    const form = event.target.closest?.("form[data-save]") ?? document.querySelector("#panel form[data-save], #main form[data-save]");
    if (form) { event.preventDefault(); form.requestSubmit(); }
    return;
  }
  for (const layer of [...live()].reverse()) {
    const found = layer.keys[key];
    if (!found) continue;
    const isSingle = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (isSingle && (inField(event.target) || localStorage.getItem(OFF))) continue;
    if (found[1](event) !== false) { event.preventDefault(); return; }
  }
  if (key === "Escape" && !inField(event.target) && isOpen() && !document.querySelector("[popover]:popover-open:not(.toasts)")) { event.preventDefault(); close(); return; }
  if (inField(event.target) || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem(OFF)) return;
  if (waitsForGo) {
    clearTimeout(waitsForGo);
    waitsForGo = 0;
    const link = document.querySelector(`#sidebar a[href="${GO[event.key] ?? ""}"]`);
    if (GO[event.key]) { event.preventDefault(); link ? link.click() : (location.href = GO[event.key]); }
    return;
  }
  switch (event.key) {
    case "g": waitsForGo = setTimeout(() => { waitsForGo = 0; }, 1200); break;
    case "?": event.preventDefault(); help(); break;
    case "/": {
      const filter = document.querySelector("[data-filter-input]");
      if (filter) { event.preventDefault(); filter.focus(); filter.select?.(); }
      break;
    }
    case "[": toggleSidebar(); break;
    case "]": if (isOpen()) close(); break;
    default: return;
  }
});

export async function help() {
  const dialog = document.getElementById("dialog");
  const page = await fetch("/_/keys", { headers: { "HX-Request": "true" } });
  if (!page.ok) return;
  dialog.innerHTML = await page.text();
  const list = dialog.querySelector("[data-own-keys]");
  for (const layer of live()) for (const [key, [label]] of Object.entries(layer.keys)) {
    if (!label) continue;
    const term = document.createElement("dt");
    for (const part of key.split(" ")) { const shown = document.createElement("kbd"); shown.textContent = part; term.append(shown, " "); }
    const text = document.createElement("dd");
    text.textContent = label;
    list?.append(term, text);
  }
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) help();
  const single = event.target.closest("[data-single-keys]");
  if (single) {
    if (localStorage.getItem(OFF)) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
    single.setAttribute("aria-checked", String(!localStorage.getItem(OFF)));
  }
  if (event.target.closest("[data-close-dialog]")) event.target.closest("dialog")?.close();
});
for (const single of document.querySelectorAll("[data-single-keys]")) single.setAttribute("aria-checked", String(!localStorage.getItem(OFF)));
