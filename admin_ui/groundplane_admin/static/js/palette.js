// The command palette: the server finds, this walks the list. Without script it is the page /_/palette.

const dialog = document.getElementById("palette");
let sequence = 0;
let timer = 0;

const input = () => dialog.querySelector("input");
const options = () => [...dialog.querySelectorAll("[role=option]")];

function choose(number) {
  const all = options();
  if (!all.length) return;
  const at = (number + all.length) % all.length;
  all.forEach((each, n) => each.setAttribute("aria-selected", String(n === at)));
  input().setAttribute("aria-activedescendant", all[at].id);
  all[at].scrollIntoView({ block: "nearest" });
}

const chosen = () => options().findIndex((each) => each.getAttribute("aria-selected") === "true");

async function load(query) {
  sequence += 1;
  const mine = sequence;
  const answer = await fetch(`/_/palette?q=${encodeURIComponent(query)}`, { headers: { "HX-Request": "true" } });
  if (mine !== sequence) return;
  if (answer.status === 401) { location.reload(); return; }
  const text = await answer.text();
  const made = new DOMParser().parseFromString(text, "text/html");
  if (!input()) {
    dialog.replaceChildren(...made.body.childNodes);
    window.htmx?.process(dialog);
  } else {
    dialog.querySelector("[data-results]").replaceWith(made.querySelector("[data-results]"));
    window.htmx?.process(dialog);
  }
  choose(0);
}

export async function openPalette(query = "") {
  if (dialog.open) { dialog.close(); return; }
  dialog.replaceChildren();
  await load(query);
  dialog.showModal();
  input().value = query;
  input().focus();
}

dialog?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => load(input().value), 120);
});
dialog?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") choose(chosen() + 1);
  else if (event.key === "ArrowUp") choose(chosen() - 1);
  else if (event.key === "Enter") {
    const option = options()[chosen()];
    if (!option) return;
    dialog.close();
    if (event.ctrlKey || event.metaKey) window.open(option.href, "_blank", "noopener");
    else option.click();
  } else return;
  event.preventDefault();
});
dialog?.addEventListener("click", (event) => {
  if (event.target.closest("[role=option]") || event.target === dialog) dialog.close();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-palette]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  openPalette();
}, true);
