// A relation: chips, and a box that searches the other collection; Alt with the arrows moves a chip.

import { say } from "../words.js";
import { icon } from "../toasts.js";

let number = 0;

export function mount(root) {
  const input = root.querySelector("input:not([type=hidden])");
  const chips = root.querySelector("[data-chips]");
  const multiple = root.dataset.multiple !== undefined;
  const list = document.createElement("ul");
  number += 1;
  list.id = `options-${number}`;
  list.className = "listbox";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", root.dataset.target);
  root.append(list);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-expanded", "false");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-autocomplete", "list");
  let sequence = 0;
  let timer = 0;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const changed = () => root.closest("form")?.dispatchEvent(new Event("input", { bubbles: true }));
  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function choose(at) {
    const all = options();
    if (!all.length) return;
    const to = (at + all.length) % all.length;
    all.forEach((each, n) => each.setAttribute("aria-selected", String(n === to)));
    input.setAttribute("aria-activedescendant", all[to].id);
    all[to].scrollIntoView({ block: "nearest" });
  }
  async function search() {
    sequence += 1;
    const mine = sequence;
    const answer = await fetch(`/_/c/${encodeURIComponent(root.dataset.target)}/options?q=${encodeURIComponent(input.value.trim())}`, { headers: { "HX-Request": "true" } });
    if (mine !== sequence || !answer.ok) return;
    list.innerHTML = await answer.text();
    options().forEach((each, n) => { each.id = `${list.id}-${n}`; });
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(0);
    say(String(options().length));
  }
  function add(id, name) {
    if ([...chips.querySelectorAll("[data-id]")].some((chip) => chip.dataset.id === id)) { input.value = ""; close(); return; }
    if (!multiple) chips.replaceChildren();
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.dataset.id = id;
    const value = document.createElement("input");
    value.type = "hidden";
    value.name = root.dataset.name;
    value.value = id;
    const link = document.createElement("a");
    link.className = "cut";
    link.href = `/_/c/${encodeURIComponent(root.dataset.target)}/r/${encodeURIComponent(id)}`;
    link.textContent = name;
    link.title = id;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn icon-only";
    button.dataset.removeChip = "";
    button.setAttribute("aria-label", `${root.dataset.remove} ${name}`);
    button.append(icon("close"));
    chip.append(value, link, button);
    chips.append(chip);
    input.value = "";
    close();
    changed();
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 120); });
  input.addEventListener("focus", () => { if (list.hidden && !input.value) search(); });
  input.addEventListener("blur", () => setTimeout(() => { if (!root.contains(document.activeElement)) close(); }, 150));
  input.addEventListener("keydown", (event) => {
    const at = options().findIndex((each) => each.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown") { list.hidden ? search() : choose(at + 1); } else if (event.key === "ArrowUp" && !list.hidden) choose(at - 1);
    else if (event.key === "Enter" && !list.hidden && options()[at]) add(options()[at].dataset.id, options()[at].dataset.name);
    else if (event.key === "Escape" && !list.hidden) { close(); event.stopPropagation(); } else if (event.key === "Backspace" && !input.value) { chips.lastElementChild?.remove(); changed(); return; } else return;
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    event.preventDefault();
    add(option.dataset.id, option.dataset.name);
  });
  chips.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove-chip]");
    if (!button) return;
    button.closest(".chip").remove();
    changed();
    input.focus();
  });
  chips.addEventListener("keydown", (event) => {
    const chip = event.target.closest(".chip");
    if (!event.altKey || !chip || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "ArrowUp") chip.previousElementSibling?.before(chip);
    else chip.nextElementSibling?.after(chip);
    event.target.focus();
    changed();
  });
}
