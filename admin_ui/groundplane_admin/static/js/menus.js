// Menus (popovers beside their button, walked with the arrows), tooltips, copying, the sidebar, the theme.

import { toast } from "./toasts.js";
import { say, word } from "./words.js";

const GAP = 4;

export function place(box, anchor, { end = false } = {}) {
  const at = anchor.getBoundingClientRect();
  const size = box.getBoundingClientRect();
  let left = end ? at.right - size.width : at.left;
  left = Math.max(GAP, Math.min(left, innerWidth - size.width - GAP));
  let top = at.bottom + GAP;
  if (top + size.height > innerHeight - GAP) top = Math.max(GAP, at.top - size.height - GAP);
  box.style.left = `${left}px`;
  box.style.top = `${top}px`;
}

// A swap copies attributes between elements of one id, and the policy allows no copied style.
document.addEventListener("htmx:before:swap", () => {
  for (const box of document.querySelectorAll("[data-menu][style], [data-popover][style]")) {
    if (box.matches(":popover-open")) box.hidePopover();
    box.removeAttribute("style");
  }
});

const itemsOf = (menu) => [...menu.querySelectorAll(".menu-item:not(:disabled)")].filter((item) => item.checkVisibility());

document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (!menu.matches?.("[data-menu], [data-popover]")) return;
  const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
  button?.setAttribute("aria-expanded", String(event.newState === "open"));
  if (event.newState !== "open") {
    if (menu.contains(document.activeElement) || document.activeElement === document.body) button?.focus();
    return;
  }
  if (button) place(menu, button, { end: button.getBoundingClientRect().left > innerWidth / 2 });
  if (menu.matches("[data-menu]")) itemsOf(menu)[0]?.focus({ preventScroll: true });
}, true);

document.addEventListener("keydown", (event) => {
  const menu = event.target.closest?.("[data-menu]:popover-open");
  if (!menu) return;
  const items = itemsOf(menu);
  const at = items.indexOf(document.activeElement);
  let to = -1;
  if (event.key === "ArrowDown") to = (at + 1) % items.length;
  else if (event.key === "ArrowUp") to = (at - 1 + items.length) % items.length;
  else if (event.key === "Home") to = 0;
  else if (event.key === "End") to = items.length - 1;
  else if (event.key === "Tab") { menu.hidePopover(); return; }
  else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.target.matches("input")) {
    const letter = event.key.toLowerCase();
    to = [...items.keys()].map((n) => (at + 1 + n) % items.length).find((n) => items[n].textContent.trim().toLowerCase().startsWith(letter)) ?? -1;
  }
  if (to < 0) return;
  event.preventDefault();
  event.stopPropagation();
  items[to]?.focus();
});

document.addEventListener("click", (event) => {
  const item = event.target.closest(".menu-item");
  if (item && !item.matches("[data-keep-open], label")) item.closest("[popover]")?.hidePopover();
  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(copy.dataset.copy);
  if (event.target.closest("[data-sidebar]")) toggleSidebar();
  else if (sidebar?.classList.contains("is-open") && (!sidebar.contains(event.target) || event.target.closest("a"))) toggleSidebar(false);
});

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard of that kind.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(word("copied"));
}

// The sidebar, below 1280 pixels a rail, below 960 a drawer.

const sidebar = document.getElementById("sidebar");

export function toggleSidebar(open = !sidebar.classList.contains("is-open")) {
  sidebar.classList.toggle("is-open", open);
  for (const button of document.querySelectorAll("[data-sidebar]")) button.setAttribute("aria-expanded", String(open));
  if (open) sidebar.querySelector("a[aria-current], a")?.focus();
}
sidebar?.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && sidebar.classList.contains("is-open")) {
    toggleSidebar(false);
    document.querySelector("[data-sidebar]")?.focus();
  }
});
sidebar?.addEventListener("input", (event) => {
  if (!event.target.matches("[data-nav-filter]")) return;
  const wanted = event.target.value.trim().toLowerCase();
  let left = 0;
  for (const line of sidebar.querySelectorAll("[data-nav-list] > li")) {
    line.hidden = !line.textContent.toLowerCase().includes(wanted);
    left += line.hidden ? 0 : 1;
  }
  say(String(left));
});

export function markCurrent() {
  const path = location.pathname;
  for (const link of sidebar?.querySelectorAll("a.nav-item") ?? []) {
    const href = link.getAttribute("href");
    const is = href === "/_/" ? path === "/_/" || path === "/_" : path === href || path.startsWith(`${href}/`);
    if (is) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// The theme changes at once; the form behind it says it to the server.

document.addEventListener("submit", (event) => {
  const form = event.target.closest?.("[data-theme-form]");
  if (!form || !event.submitter) return;
  event.preventDefault();
  const theme = event.submitter.value;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const body = new URLSearchParams(new FormData(form));
  body.set("theme", theme);
  fetch(form.action, { method: "POST", body, redirect: "manual" });
  for (const item of form.querySelectorAll("[role=menuitemradio]")) item.setAttribute("aria-checked", String(item.value === theme));
  form.closest("[popover]")?.hidePopover();
}, true);

// Tooltips: on focus at once, under the pointer after a moment.

const tip = document.getElementById("tip");
let tipTimer = 0;
const hideTip = () => { clearTimeout(tipTimer); if (tip?.matches(":popover-open")) tip.hidePopover(); };
function showTip(owner, wait) {
  hideTip();
  tipTimer = setTimeout(() => {
    if (!owner.isConnected) return;
    tip.textContent = owner.dataset.tip;
    tip.showPopover();
    place(tip, owner);
  }, wait);
}
document.addEventListener("pointerover", (event) => {
  const owner = event.pointerType === "mouse" ? event.target.closest("[data-tip]") : null;
  if (owner) showTip(owner, 400);
});
document.addEventListener("pointerout", (event) => { if (event.target.closest("[data-tip]")) hideTip(); });
document.addEventListener("focusin", (event) => {
  const owner = event.target.closest("[data-tip]");
  if (owner?.matches(":focus-visible")) showTip(owner, 0);
  else hideTip();
});
document.addEventListener("pointerdown", hideTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

for (const key of document.querySelectorAll("[data-mod]")) {
  if (/mac|iphone|ipad/i.test(navigator.platform)) key.textContent = `⌘ ${key.dataset.mod}`;
}
