// Messages in the corner: they leave after a while, not under the pointer or the focus, and errors stay.

const STAY_MS = 8000;
const MOST = 3;
const box = document.getElementById("toasts");
const ICON = { ok: "ok", error: "error", info: "info" };

function show() {
  if (!box.childElementCount) { if (box.matches(":popover-open")) box.hidePopover(); return; }
  // Shown again, it comes above a dialog that was opened later.
  if (box.matches(":popover-open")) box.hidePopover();
  box.showPopover();
}

function begin(toast) {
  if (toast.dataset.toast === "error") return;
  let timer = setTimeout(() => remove(toast), STAY_MS);
  const hold = () => clearTimeout(timer);
  const go = () => { clearTimeout(timer); timer = setTimeout(() => remove(toast), STAY_MS); };
  toast.addEventListener("pointerenter", hold);
  toast.addEventListener("pointerleave", go);
  toast.addEventListener("focusin", hold);
  toast.addEventListener("focusout", go);
}

function remove(toast) {
  toast.remove();
  if (!box.childElementCount && box.matches(":popover-open")) box.hidePopover();
}

export function toast(text, kind = "ok", action = null) {
  const made = document.createElement("div");
  made.className = "toast";
  made.dataset.toast = kind;
  made.setAttribute("role", kind === "error" ? "alert" : "status");
  const mark = document.createElement("span");
  mark.className = kind;
  mark.append(icon(ICON[kind] ?? "info"));
  const words = document.createElement("span");
  words.className = "grow";
  words.textContent = text;
  made.append(mark, words);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn link";
    button.textContent = action.label;
    button.addEventListener("click", () => { remove(made); action.run(); });
    made.append(button);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn tiny-icon";
  close.dataset.closeToast = "";
  close.setAttribute("aria-label", document.querySelector("#words")?.content.querySelector("[data-name=close]")?.textContent ?? "");
  close.append(icon("close"));
  made.append(close);
  box.append(made);
  return made;
}

export function icon(name) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", new URL(`../icons.svg#${name}`, import.meta.url).pathname + `#${name}`);
  picture.append(use);
  return picture;
}

box.addEventListener("click", (event) => {
  const close = event.target.closest("[data-close-toast]");
  if (close) remove(close.closest(".toast"));
  else if (event.target.closest("form button")) setTimeout(() => event.target.closest(".toast")?.remove(), 0);
});
new MutationObserver((changes) => {
  let added = false;
  for (const change of changes) for (const node of change.addedNodes) {
    if (node.nodeType !== 1 || !node.matches(".toast")) continue;
    begin(node);
    added = true;
  }
  while (box.childElementCount > MOST) box.firstElementChild.remove();
  if (added) show();
}).observe(box, { childList: true });
for (const each of box.children) begin(each);
show();
