// Lists whose lines are moved: by their handle, or with Alt and the arrows on it.

import { say } from "./words.js";

export function sortable(list, changed = () => {}) {
  const lines = () => [...list.children];
  const tell = (line) => say(`${line.textContent.trim()}, ${lines().indexOf(line) + 1} / ${lines().length}`);
  list.addEventListener("keydown", (event) => {
    const line = event.target.closest("[data-grip]")?.closest("li");
    if (!line || !event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "ArrowUp") line.previousElementSibling?.before(line);
    else line.nextElementSibling?.after(line);
    event.target.focus();
    tell(line);
    changed();
  });
  list.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("[data-grip]");
    if (!grip) return;
    event.preventDefault();
    const line = grip.closest("li");
    grip.setPointerCapture(event.pointerId);
    line.classList.add("is-moving");
    const move = (moved) => {
      const over = lines().find((each) => { const at = each.getBoundingClientRect(); return moved.clientY >= at.top && moved.clientY <= at.bottom; });
      if (!over || over === line) return;
      if (lines().indexOf(over) < lines().indexOf(line)) over.before(line);
      else over.after(line);
    };
    grip.addEventListener("pointermove", move);
    grip.addEventListener("pointerup", () => { grip.removeEventListener("pointermove", move); line.classList.remove("is-moving"); tell(line); changed(); }, { once: true });
  });
}
