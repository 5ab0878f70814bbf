// The filter builder: rows come and go; the server reads and writes the expression.

export function mount(root) {
  const rows = root.querySelector("[data-rows]");
  root.addEventListener("click", (event) => {
    if (event.target.closest("[data-add-row]")) {
      const row = rows.lastElementChild.cloneNode(true);
      for (const input of row.querySelectorAll("input")) input.value = "";
      for (const select of row.querySelectorAll("select")) select.selectedIndex = 0;
      rows.append(row);
      row.querySelector("select").focus();
    }
    const remove = event.target.closest("[data-remove-row]");
    if (!remove) return;
    const row = remove.closest(".build-row");
    if (rows.childElementCount > 1) row.remove();
    else row.querySelector("select").selectedIndex = 0;
  });
}
