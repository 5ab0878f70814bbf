// The record table: rows open the panel, selection, column widths, columns that have no room, keys, live changes.

import { onKeys } from "../keyboard.js";
import { copyText } from "../menus.js";
import { say } from "../words.js";

const csrf = () => JSON.parse(document.body.getAttribute("hx-headers:inherited") ?? "{}")["X-CSRF-Token"] ?? "";

export function mount(root) {
  const collection = root.dataset.collection;
  const base = `/_/c/${encodeURIComponent(collection)}`;
  const rows = () => [...root.querySelectorAll("tbody tr[data-id]")];
  const panelId = () => document.querySelector("#panel [data-panel-record]")?.dataset.panelRecord ?? "";
  const opener = (row) => row?.querySelector("[data-open]");
  let at = null; // the row that keys act on
  let anchor = null; // where a range begins

  // Rows

  const current = () => rows().find((row) => row.dataset.id === at) ?? null;
  function mark() {
    const open = panelId();
    for (const row of rows()) {
      if (row.dataset.id === open) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      row.tabIndex = row.dataset.id === at ? 0 : -1;
    }
    if (!current() && rows()[0]) rows()[0].tabIndex = 0;
  }
  function move(by, { open = Boolean(panelId()), focus = true } = {}) {
    const all = rows();
    if (!all.length) return false;
    const from = all.indexOf(current() ?? all.find((row) => row.dataset.id === panelId()));
    const row = all[Math.max(0, Math.min(all.length - 1, from < 0 ? 0 : from + by))];
    at = row.dataset.id;
    mark();
    if (focus) row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    if (open && at !== panelId()) { const link = opener(row); link.dataset.keepFocus = "1"; link.click(); setTimeout(() => delete link.dataset.keepFocus, 1000); }
    return true;
  }

  root.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr[data-id]");
    if (!row) return;
    at = row.dataset.id;
    const box = event.target.closest("[data-select]");
    if (box) { choose(row, box.checked, event.shiftKey); return; }
    if (event.target.closest("td.pick")) { row.querySelector("[data-select]").click(); return; }
    if (event.target.closest("a, button, input, select, textarea, form, [contenteditable]") || getSelection()?.toString() || event.detail > 1) return;
    if (event.ctrlKey || event.metaKey) { open(opener(row).href, "_blank", "noopener"); return; }
    opener(row)?.click();
  });
  // A cell in its place: double click, Enter saves, Escape puts back what was there.

  const simple = new Set(["text", "email", "url", "number", "bool", "select", "date"]);
  root.addEventListener("dblclick", async (event) => {
    const cell = event.target.closest("tbody td[data-edit]");
    const row = cell?.closest("tr[data-id]");
    if (!row || cell.querySelector("form") || !simple.has(cell.dataset.edit)) return;
    getSelection()?.removeAllRanges();
    const answer = await fetch(`${base}/cell/${encodeURIComponent(row.dataset.id)}/${encodeURIComponent(cell.dataset.label)}${location.search}`, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const before = [...cell.childNodes];
    cell.innerHTML = await answer.text();
    cell.classList.add("is-edited");
    window.htmx?.process(cell);
    const input = cell.querySelector("[data-focus-first]");
    input.focus();
    input.select?.();
    const back = () => { cell.replaceChildren(...before); cell.classList.remove("is-edited"); row.focus({ preventScroll: true }); };
    cell.addEventListener("keydown", (key) => {
      if (key.key === "Escape") { key.stopPropagation(); key.preventDefault(); back(); }
      if (key.key === "Enter") { key.preventDefault(); key.stopPropagation(); cell.querySelector("form")?.requestSubmit(); }
    });
    cell.addEventListener("change", (change) => { if (change.target.matches("select")) cell.querySelector("form")?.requestSubmit(); });
  });
  root.addEventListener("auxclick", (event) => {
    const row = event.target.closest("tbody tr[data-id]");
    if (event.button === 1 && row && !event.target.closest("a")) open(opener(row).href, "_blank", "noopener");
  });
  root.addEventListener("focusin", (event) => {
    const row = event.target.closest("tbody tr[data-id]");
    if (row) at = row.dataset.id;
  });

  // Selection

  const boxes = () => [...root.querySelectorAll("[data-select]")];
  const selected = () => boxes().filter((box) => box.checked);
  function choose(row, on, extend) {
    const all = rows();
    if (extend && anchor) {
      const from = all.findIndex((each) => each.dataset.id === anchor);
      const to = all.indexOf(row);
      if (from >= 0) for (const each of all.slice(Math.min(from, to), Math.max(from, to) + 1)) each.querySelector("[data-select]").checked = on;
    }
    anchor = row.dataset.id;
    showSelection();
  }
  function showSelection() {
    const count = selected().length;
    const bulk = root.querySelector("[data-bulk]");
    const page = root.querySelector("[data-select-page]");
    if (page) { page.checked = count > 0 && count === boxes().length; page.indeterminate = count > 0 && count < boxes().length; }
    if (!bulk) return;
    bulk.hidden = count === 0;
    bulk.querySelector("[data-bulk-count]").textContent = bulk.dataset.words.replace("{n}", String(count));
    const whole = bulk.querySelector("[data-bulk-all]");
    if (whole) whole.hidden = !(count === boxes().length && count > 0);
  }
  root.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-page]")) {
      for (const box of boxes()) box.checked = event.target.checked;
      showSelection();
    }
  });
  root.addEventListener("click", (event) => {
    const out = event.target.closest("[data-bulk-export]");
    if (out) {
      const address = new URL(out.dataset.bulkExport, location.href);
      const whole = root.querySelector("[data-bulk] [name=all]")?.checked;
      if (!whole) for (const box of selected().slice(0, 200)) address.searchParams.append("id", box.value);
      address.searchParams.set("format", "csv");
      location.href = address.href;
    }
    if (!event.target.closest("[data-bulk-clear]")) return;
    for (const box of boxes()) box.checked = false;
    showSelection();
  });

  // Column widths; and as many columns as have room, the rest is named

  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  function fit() {
    const table = root.querySelector("[data-grid]");
    const scroller = root.querySelector(".grid-scroll");
    sheet.replaceSync("");
    if (!table || !scroller || innerWidth < 640) return;
    const room = scroller.clientWidth - 40 - 64;
    const cols = [...table.querySelectorAll("col[data-column]")];
    let used = 0;
    let fits = 0;
    const squeezed = Boolean(document.querySelector("#panel .panel"));
    for (const col of cols) {
      used += squeezed ? Number(col.dataset.least) : Number(col.getAttribute("width"));
      if (used > room && fits > 0 && squeezed) break;
      fits += 1;
    }
    const more = root.querySelector("[data-more-columns]");
    if (squeezed && fits < cols.length) {
      const n = fits + 2;
      const last = cols.length + 1;
      sheet.replaceSync(`.grid tr > :nth-child(n+${n}):nth-child(-n+${last}), .grid colgroup > :nth-child(n+${n}):nth-child(-n+${last}) { display: none; } .grid { width: 100%; }`);
      if (more) { more.hidden = false; more.textContent = more.dataset.words.replace("{n}", String(cols.length - fits)); }
    } else if (more) more.hidden = true;
  }
  const watcher = new ResizeObserver(fit);
  watcher.observe(root);

  function setWidth(col, width) {
    const kept = Math.round(Math.max(Number(col.dataset.least), Math.min(1200, width)));
    const table = root.querySelector("[data-grid]");
    table.setAttribute("width", String(Number(table.getAttribute("width")) + kept - Number(col.getAttribute("width"))));
    col.setAttribute("width", String(kept));
    root.querySelector(`[data-resize="${CSS.escape(col.dataset.column)}"]`)?.setAttribute("aria-valuenow", String(kept));
  }
  let keeping = 0;
  function keepWidths(name, width) {
    clearTimeout(keeping);
    keeping = setTimeout(() => fetch(`${base}/columns/width`, { method: "POST", headers: { "X-CSRF-Token": csrf() }, body: new URLSearchParams({ name, width: String(width) }) }), 400);
  }
  const colOf = (name) => root.querySelector(`col[data-column="${CSS.escape(name)}"]`);
  root.addEventListener("pointerdown", (event) => {
    const edge = event.target.closest("[data-resize]");
    if (!edge) return;
    event.preventDefault();
    edge.setPointerCapture(event.pointerId);
    const col = colOf(edge.dataset.resize);
    const from = event.clientX;
    const before = edge.closest("th").offsetWidth;
    const moved = (each) => setWidth(col, before + each.clientX - from);
    edge.addEventListener("pointermove", moved);
    edge.addEventListener("pointerup", () => { edge.removeEventListener("pointermove", moved); keepWidths(edge.dataset.resize, col.getAttribute("width")); }, { once: true });
  });
  root.addEventListener("keydown", (event) => {
    const edge = event.target.closest("[data-resize]");
    const by = { ArrowLeft: -16, ArrowRight: 16 }[event.key];
    if (!edge || !by) return;
    event.preventDefault();
    const col = colOf(edge.dataset.resize);
    setWidth(col, Number(col.getAttribute("width")) + by);
    keepWidths(edge.dataset.resize, col.getAttribute("width"));
  });

  // The panel's own steps and its closing

  function onPanelClick(event) {
    const step = event.target.closest("#panel [data-step]");
    if (step) { at = panelId(); move(step.dataset.step === "before" ? -1 : 1, { open: true, focus: false }); return; }
    const close = event.target.closest("#panel [data-close-panel], #panel [data-cancel]");
    if (!close || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    closePanel(close.href);
  }
  async function closePanel(href) {
    const { mayLeave } = await import("../unsaved.js");
    const slot = document.getElementById("panel");
    if (!(await mayLeave(slot))) return;
    const was = panelId();
    slot.replaceChildren();
    history.pushState({ htmx: true }, "", href);
    mark();
    fit();
    const row = rows().find((each) => each.dataset.id === was) ?? rows()[0];
    (row ?? document.querySelector("#main h1"))?.focus({ preventScroll: true });
  }
  document.addEventListener("click", onPanelClick);

  function swapped() { mark(); showSelection(); fit(); if (stream) showLive(stream.readyState === 1); }
  document.addEventListener("htmx:after:swap", swapped);

  onKeys(root, {
    j: [root.dataset.wordNext ?? "", () => move(1)],
    k: [root.dataset.wordBefore ?? "", () => move(-1)],
    ArrowDown: ["", (event) => (event.target.closest("tbody tr") && !event.target.closest("input") ? move(1) : false)],
    ArrowUp: ["", (event) => (event.target.closest("tbody tr") && !event.target.closest("input") ? move(-1) : false)],
    Enter: ["", (event) => { if (!event.target.matches("tbody tr")) return false; opener(event.target)?.click(); return true; }],
    o: [root.dataset.wordOpen ?? "", () => { const row = current(); if (!row) return false; opener(row).click(); return true; }],
    " ": [root.dataset.wordSelect ?? "", (event) => { const row = event.target.closest("tbody tr"); if (!row || event.target.matches("input, button, a")) return false; const box = row.querySelector("[data-select]"); box.checked = !box.checked; choose(row, box.checked, event.shiftKey); return true; }],
    n: [root.dataset.wordNew ?? "", () => { const link = document.querySelector("[data-new]"); if (!link) return false; link.click(); return true; }],
    y: [root.dataset.wordCopy ?? "", () => { const id = panelId() || at; if (!id) return false; copyText(id); return true; }],
    "Ctrl a": ["", (event) => { if (!event.target.closest?.(".grid-scroll")) return false; for (const box of boxes()) box.checked = true; showSelection(); return true; }],
    Delete: ["", (event) => { if (!event.target.closest?.(".grid-scroll") || !selected().length) return false; root.querySelector("[data-bulk-delete]")?.click(); return true; }],
  });

  // Live: what changes elsewhere is shown where it stands; new rows wait until they are asked for.

  const live = root.querySelector.bind(root, "[data-live]");
  let stream = null;
  let fresh = 0;
  function showLive(is) {
    const sign = live();
    if (!sign) return;
    sign.hidden = false;
    sign.classList.toggle("is-off", !is);
  }
  async function changedRow(id, mark_) {
    const row = rows().find((each) => each.dataset.id === id);
    if (!row || row.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), select")) return;
    const answer = await fetch(`${base}/row/${encodeURIComponent(id)}${location.search}`, { headers: { "HX-Request": "true" } });
    if (!answer.ok || !row.isConnected) return;
    const made = document.createElement("tbody");
    made.innerHTML = await answer.text();
    const next = made.querySelector("tr");
    if (!next) return;
    const checked = row.querySelector("[data-select]")?.checked;
    row.replaceChildren(...next.childNodes);
    if (checked) row.querySelector("[data-select]").checked = true;
    window.htmx?.process(row);
    if (mark_) { row.classList.add("is-changed"); setTimeout(() => row.classList.remove("is-changed"), 1500); }
    mark();
  }
  function heard(action, id) {
    if (action === "update") changedRow(id, true);
    else if (action === "delete") rows().find((row) => row.dataset.id === id)?.classList.add("is-gone");
    else if (action === "create" && !rows().some((row) => row.dataset.id === id)) {
      fresh += 1;
      const button = root.querySelector("[data-fresh]");
      if (button) { button.hidden = false; button.querySelector("span").textContent = (fresh === 1 ? button.dataset.one : button.dataset.other).replace("{n}", String(fresh)); say(button.textContent.trim()); }
    }
  }
  function listen() {
    if (stream || document.hidden || !root.isConnected) return;
    stream = new EventSource(`/_/live?collection=${encodeURIComponent(root.dataset.collectionId)}`);
    stream.addEventListener("open", () => showLive(true));
    stream.addEventListener("error", () => showLive(false));
    stream.addEventListener("record", (event) => { const { action, id } = JSON.parse(event.data); heard(action, id); });
  }
  function hush() { stream?.close(); stream = null; }
  const visibility = () => (document.hidden ? hush() : listen());
  document.addEventListener("visibilitychange", visibility);
  if (root.dataset.liveOn !== undefined) listen();
  root.addEventListener("click", (event) => {
    if (!event.target.closest("[data-fresh]")) return;
    fresh = 0;
  });

  mark();
  fit();
  showSelection();
  return () => {
    hush();
    watcher.disconnect();
    document.removeEventListener("click", onPanelClick);
    document.removeEventListener("htmx:after:swap", swapped);
    document.removeEventListener("visibilitychange", visibility);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
  };
}
