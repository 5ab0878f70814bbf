// The panel beside the content: its width, closing it, and where the focus goes.

const LEAST = 400, MOST = 900, STEP = 24;
const KEY = "panel-width";

const slot = () => document.getElementById("panel");
const panel = () => slot()?.querySelector(".panel");

function setWidth(width) {
  const kept = Math.round(Math.max(LEAST, Math.min(MOST, width)));
  document.documentElement.style.setProperty("--w-panel", `${kept}px`);
  panel()?.querySelector(".panel-edge")?.setAttribute("aria-valuenow", String(kept));
  return kept;
}

function keep(width) {
  localStorage.setItem(KEY, String(width));
  dispatchEvent(new Event("resize"));
}

const stored = Number(localStorage.getItem(KEY));
if (stored) setWidth(stored);

document.addEventListener("pointerdown", (event) => {
  const edge = event.target.closest?.(".panel-edge");
  if (!edge) return;
  event.preventDefault();
  edge.setPointerCapture(event.pointerId);
  const right = panel().getBoundingClientRect().right;
  let width = 0;
  const move = (moved) => { width = setWidth(right - moved.clientX); };
  edge.addEventListener("pointermove", move);
  edge.addEventListener("pointerup", () => { edge.removeEventListener("pointermove", move); if (width) keep(width); }, { once: true });
});

document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.(".panel-edge")) return;
  const by = { ArrowLeft: STEP, ArrowRight: -STEP }[event.key];
  if (!by) return;
  event.preventDefault();
  keep(setWidth(panel().offsetWidth + by));
});

export const isOpen = () => Boolean(panel());

// The link that closes it knows the address without it.
export function close() {
  panel()?.querySelector("[data-close-panel]")?.click();
}
