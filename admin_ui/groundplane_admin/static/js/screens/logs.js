// Follows the log: every two seconds while it is wanted, seen, and nobody reads further down.

const EVERY = 2000;

export function mount(form) {
  let busy = false;
  const timer = setInterval(async () => {
    const body = document.getElementById("log-body");
    const scroller = body?.querySelector("[data-log-scroll]");
    if (busy || body?.dataset.live !== "on" || document.hidden || scroller?.scrollTop > 0) return;
    if (body.contains(document.activeElement) || document.querySelector("#panel .panel")) return;
    busy = true;
    try {
      await window.htmx.ajax("GET", body.dataset.address, { target: "#log-body", swap: "outerHTML" });
    } catch {
      // The next turn tries again; what is on the screen stays.
    } finally {
      busy = false;
    }
  }, EVERY);
  return () => clearInterval(timer);
}
