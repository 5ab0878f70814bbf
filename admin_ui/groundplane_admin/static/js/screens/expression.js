// An expression of the filter language: a real textarea over its own words in colour, completion of fields (also of
// related records), operators, values and macros, and what the server finds wrong, at its place. The element says
// where the words come from (data-words) and who checks (data-check, with the text as `filter`).

import { say } from "../words.js";

const TOKEN = /(\/\/[^\n]*)|("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)|(@[\w.:]*)|([A-Za-z_][\w.:]*)|(-?\d+(?:\.\d+)?)|(\?{0,1}(?:!=|>=|<=|!~|=|>|<|~)|&&|\|\|)|([()[\],])|(\s+)|(.)/g;
const KINDS = ["comment", "string", "macro", "field", "number", "op", "mark", "space", "bad"];
const CHECK_MS = 200;
const MOST = 12;
let number = 0;

export function tokens(text) {
  const found = [];
  for (const match of text.matchAll(TOKEN)) {
    const kind = KINDS[match.slice(1).findIndex((each) => each !== undefined)];
    found.push({ kind, text: match[0], at: match.index });
  }
  return found;
}

const vocabularies = new Map();
function vocabulary(address) {
  if (!vocabularies.has(address)) vocabularies.set(address, fetch(address).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null));
  return vocabularies.get(address);
}

export function mount(root) {
  const area = root.querySelector("textarea");
  number += 1;
  const paint = document.createElement("pre");
  paint.className = "expression-paint";
  paint.setAttribute("aria-hidden", "true");
  area.before(paint);
  area.classList.add("is-painted");
  const list = document.createElement("ul");
  list.className = "listbox expression-list";
  list.id = `expression-${number}`;
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", root.dataset.suggestions ?? "Suggestions");
  const note = document.createElement("p");
  note.className = "expression-note";
  note.hidden = true;
  root.append(list, note);
  area.setAttribute("aria-haspopup", "listbox");
  area.setAttribute("aria-controls", list.id);
  area.setAttribute("aria-autocomplete", "list");
  let words = null;
  let wrongAt = -1;
  let timer = 0;
  let sequence = 0;

  function draw() {
    paint.replaceChildren();
    for (const token of tokens(area.value)) {
      const span = document.createElement("span");
      span.className = `t-${token.kind}`;
      if (wrongAt >= 0 && wrongAt >= token.at && wrongAt < token.at + token.text.length) span.classList.add("is-wrong");
      span.textContent = token.text;
      paint.append(span);
    }
    if (wrongAt >= area.value.length && area.value) {
      const end = document.createElement("span");
      end.className = "is-wrong";
      end.textContent = "  ";
      paint.append(end);
    }
    paint.append("\n");
    paint.scrollTop = area.scrollTop;
  }

  async function check() {
    if (!root.dataset.check) return;
    sequence += 1;
    const mine = sequence;
    let problem = "";
    let column = 0;
    if (area.value.trim()) {
      const answer = await fetch(`${root.dataset.check}?filter=${encodeURIComponent(area.value)}`).catch(() => null);
      if (mine !== sequence || !answer?.ok) return;
      ({ problem, column } = await answer.json());
    }
    const lead = area.value.length - area.value.trimStart().length;
    wrongAt = problem && column ? column - 1 + lead : -1;
    note.hidden = !problem;
    note.textContent = problem ? (column ? `${column}: ${problem}` : problem) : "";
    area.setAttribute("aria-invalid", String(Boolean(problem)));
    draw();
  }

  // What may stand at the caret

  function context() {
    const caret = area.selectionStart;
    const before = tokens(area.value.slice(0, caret));
    const last = before.at(-1);
    const isTyping = last && ["field", "macro", "op", "string"].includes(last.kind) && last.at + last.text.length === caret;
    const typed = isTyping ? last.text : "";
    const rest = before.slice(0, isTyping ? -1 : undefined).filter((each) => each.kind !== "space");
    return { caret, start: caret - typed.length, typed, kind: isTyping ? last.kind : "", previous: rest.at(-1), earlier: rest.at(-2) };
  }

  function candidates({ typed, kind, previous, earlier }) {
    const wanted = typed.toLowerCase();
    const found = [];
    const add = (text, detail) => { if (text.toLowerCase().startsWith(wanted) && text !== typed) found.push({ text, detail }); };
    const afterOperand = previous && ["field", "macro", "string", "number"].includes(previous.kind);
    const isComparison = previous?.kind === "op" && !["&&", "||"].includes(previous.text);
    if (afterOperand && kind !== "field" && kind !== "macro") {
      const right = earlier?.kind === "op" && !["&&", "||"].includes(earlier.text);
      for (const each of right ? ["&&", "||"] : words.operators) add(each, "");
      return found;
    }
    if (kind === "macro" || wanted.startsWith("@")) {
      for (const each of words.macros) add(each, "macro");
      return found;
    }
    if (isComparison && earlier) {
      for (const value of words.values[earlier.text] ?? []) add(`"${value}"`, "value");
      if (words.fields[earlier.text] === "bool") for (const each of ["true", "false"]) add(each, "value");
      if (["date", "autodate"].includes(words.fields[earlier.text])) for (const each of words.macros) add(each, "macro");
    }
    const depth = typed.split(".").length;
    for (const [name, type] of Object.entries(words.fields)) {
      if (name.split(".").length <= depth && (name.includes(":") ? typed.includes(":") : true)) add(name, type);
    }
    if (isComparison) for (const each of words.literals) add(each, "");
    for (const each of words.functions) if (typed) add(each, "function");
    return found;
  }

  function close() {
    list.hidden = true;
    area.removeAttribute("aria-activedescendant");
  }
  const options = () => [...list.children];
  function choose(at) {
    const all = options();
    const to = (at + all.length) % all.length;
    all.forEach((each, n) => each.setAttribute("aria-selected", String(n === to)));
    area.setAttribute("aria-activedescendant", all[to].id);
    all[to].scrollIntoView({ block: "nearest" });
  }
  async function suggest() {
    words ??= await vocabulary(root.dataset.words);
    if (!words || document.activeElement !== area) return;
    const here = context();
    const found = candidates(here).slice(0, MOST);
    if (!found.length || (!here.typed && !here.previous && area.value.trim())) { close(); return; }
    list.replaceChildren(...found.map((each, n) => {
      const option = document.createElement("li");
      option.className = "option mono";
      option.id = `${list.id}-${n}`;
      option.setAttribute("role", "option");
      option.dataset.text = each.text;
      option.append(each.text);
      if (each.detail) { const detail = document.createElement("small"); detail.textContent = each.detail; option.append(detail); }
      return option;
    }));
    list.hidden = false;
    choose(0);
    say(String(found.length));
  }
  function insert(text) {
    const { caret, start } = context();
    area.setRangeText(text.endsWith("(") || text.includes(".") && words.fields[text] === "relation" ? text : `${text} `, start, caret, "end");
    close();
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  area.addEventListener("input", () => {
    wrongAt = -1;
    note.hidden = true;
    draw();
    suggest();
    clearTimeout(timer);
    timer = setTimeout(check, CHECK_MS);
  });
  area.addEventListener("scroll", () => { paint.scrollTop = area.scrollTop; });
  area.addEventListener("blur", () => setTimeout(close, 150));
  area.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.findIndex((each) => each.getAttribute("aria-selected") === "true");
    const isOpen = !list.hidden && all.length > 0;
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); suggest(); return; }
    if (event.key === "ArrowDown" && isOpen) choose(at + 1);
    else if (event.key === "ArrowUp" && isOpen) choose(at - 1);
    else if (event.key === "Tab" && isOpen && context().typed) insert(all[at].dataset.text);
    else if (event.key === "Escape" && isOpen) { close(); event.stopPropagation(); }
    else if (event.key === "Enter" && !event.shiftKey) {
      if (isOpen && context().typed && all[at].dataset.text !== context().typed && area.dataset.moved) { insert(all[at].dataset.text); delete area.dataset.moved; }
      else { close(); area.form?.requestSubmit(); }
    } else { if (event.key.length === 1) delete area.dataset.moved; return; }
    if (event.key.startsWith("Arrow")) area.dataset.moved = "1";
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) { event.preventDefault(); insert(option.dataset.text); }
  });
  draw();
  return () => clearTimeout(timer);
}
