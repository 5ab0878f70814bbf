// The SQL console: runs with Ctrl Enter, keeps what is typed in this tab, inserts names, goes to where an error is.

const KEY = () => `sql:${document.body.dataset.user}`;

export function mount(root) {
  const form = root.querySelector("[data-sql-form]");
  const area = form.querySelector("textarea");
  const run = form.querySelector("[data-run]");
  const confirmation = form.querySelector("[name=confirm]");
  const mode = form.querySelector("[data-sql-mode]");

  if ("fresh" in area.dataset && !area.value) area.value = sessionStorage.getItem(KEY()) ?? "";
  area.addEventListener("input", () => {
    try { sessionStorage.setItem(KEY(), area.value); } catch { /* full: nothing is kept */ }
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(run);
    }
  });
  const show = () => {
    const writes = confirmation.value.trim().toLowerCase() === "write";
    form.classList.toggle("may-write", writes);
    mode.textContent = writes ? mode.dataset.write : mode.dataset.read;
  };
  confirmation.addEventListener("input", show);
  show();
  root.addEventListener("click", (event) => {
    const name = event.target.closest("[data-insert]")?.dataset.insert;
    if (!name) return;
    const text = /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name}"`;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
    area.focus();
  });
  const point = () => {
    const problem = root.querySelector("#sql-result [data-line]");
    if (!problem) return;
    const lines = area.value.split("\n");
    const line = Number(problem.dataset.line) - 1;
    const at = lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0) + Number(problem.dataset.column) - 1;
    const word = /^\w+/.exec(area.value.slice(at))?.[0].length ?? 1;
    area.focus();
    area.setSelectionRange(at, Math.min(at + word, area.value.length));
  };
  const swapped = (event) => { if (event.detail.ctx.target?.id === "sql-result" || event.detail.ctx.target === "#sql-result") point(); };
  document.addEventListener("htmx:after:swap", swapped);
  return () => document.removeEventListener("htmx:after:swap", swapped);
}
