// What every page needs, and the modules of screens: `<… data-module="records">` loads js/screens/records.js and
// calls its `mount(element)` once for each element; what it returns is called when the element is gone.

import "./mail_links.js";
import "./toasts.js";
import { markCurrent } from "./menus.js";
import "./keyboard.js";
import { dirtyForms, guard, keepDrafts, mayLeave, settle } from "./unsaved.js";
import { toast } from "./toasts.js";
import { say, shout, word } from "./words.js";

const mounted = new Map();

async function mount(root) {
  const found = [...(root.matches?.("[data-module]") ? [root] : []), ...root.querySelectorAll("[data-module]")];
  for (const element of found) {
    if (mounted.has(element)) continue;
    mounted.set(element, () => {});
    const module = await import(`./screens/${element.dataset.module}.js`);
    if (element.isConnected) mounted.set(element, module.mount(element) ?? (() => {}));
  }
  for (const form of root.querySelectorAll("form[data-guard]")) guard(form);
}

function unmount() {
  for (const [element, end] of mounted) if (!element.isConnected) { end(); mounted.delete(element); }
}

// Where the focus goes: to the heading of a new page or panel, else it stays where it is.
document.addEventListener("htmx:after:swap", (event) => {
  const { ctx } = event.detail;
  unmount();
  // A header of the answer may have named another target, as a selector.
  const named = typeof ctx.target === "string" ? document.querySelector(ctx.target) : ctx.target;
  const target = named?.isConnected ? named : document.body;
  mount(document.body);
  markCurrent();
  if (target.id === "workspace" || target === document.body) {
    const heading = document.querySelector("#main h1");
    if (heading && !document.querySelector("#workspace [autofocus]")) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
    say(document.title);
  } else if (target.id === "panel" && ctx.sourceEvent?.type === "click" && !ctx.sourceElement?.dataset.keepFocus) {
    const heading = target.querySelector("h2");
    if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
  }
  for (const first of target.querySelectorAll?.("[data-focus-first]") ?? []) { first.focus(); break; }
  const dialog = document.getElementById("dialog");
  if (target === dialog || dialog.contains(target)) openDialog(dialog);
  else if (dialog.open && (target.id === "workspace" || dialog.contains(ctx.sourceElement))) dialog.close();
});

function openDialog(dialog) {
  if (dialog.childElementCount && !dialog.open) {
    dialog.showModal();
    dialog.querySelector("[autofocus], [data-safe]")?.focus();
  }
}
document.getElementById("dialog")?.addEventListener("close", (event) => { event.target.replaceChildren(); });

// A form that saves in place answers itself; `data-saved` on the answer says that it is clean now.
document.addEventListener("htmx:after:swap", () => {
  for (const form of document.querySelectorAll("form[data-saved]")) { form.removeAttribute("data-saved"); settle(form); }
});

// Changes are not lost by a click on a link.
let passing = null;
document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  const target = ctx.target;
  if (ctx.request.method !== "GET" || !target || passing === ctx.sourceElement) return;
  const root = target.id === "workspace" || target === document.body ? document : target.id === "panel" ? target : null;
  if (!root || !dirtyForms(root).length) return;
  event.preventDefault();
  const source = ctx.sourceElement;
  mayLeave(root).then((may) => {
    if (!may) return;
    passing = source;
    source.matches("form") ? source.requestSubmit() : source.click();
    passing = null;
  });
});

// Signed out elsewhere: the way leads to the sign-in page and back.
document.addEventListener("htmx:after:request", (event) => {
  if (event.detail.ctx.response.status === 401) keepDrafts();
});

// What went wrong on the way.
document.addEventListener("htmx:error", (event) => {
  const { ctx } = event.detail;
  if (!ctx?.request) return;
  toast(word("lost"), "error", retry(ctx));
  shout(word("lost"));
});
document.addEventListener("htmx:response:error", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.status < 500) return;
  const id = ctx.response.headers.get("x-request-id") ?? "";
  toast(`${word("fault")} (${id.slice(0, 8)})`, "error", retry(ctx));
  shout(word("fault"));
});
const retry = (ctx) => ctx.sourceElement?.isConnected
  ? { label: word("retry"), run: () => (ctx.sourceElement.matches("form") ? ctx.sourceElement.requestSubmit() : ctx.sourceElement.click()) }
  : null;

// The server renders times in the viewer's zone, once it knows it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && zone !== document.body.dataset.zone && !document.cookie.includes("gp_zone=")) {
  document.cookie = `gp_zone=${zone}; Path=/_; Max-Age=31536000; SameSite=Lax${location.protocol === "https:" ? "; Secure" : ""}`;
}

mount(document.body).then(() => { document.body.dataset.ready = ""; });
markCurrent();
