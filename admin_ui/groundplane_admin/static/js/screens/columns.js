// The dialog of columns: lines are moved, the form says the rest.

import { sortable } from "../sort-list.js";

export function mount(root) {
  for (const list of root.querySelectorAll("[data-sort-list]")) sortable(list);
}
