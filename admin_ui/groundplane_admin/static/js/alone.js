// Sign-in and first run: shows passwords, names their strength, and takes the token out of a set-up link.

import "./mail_links.js";

const [, token] = location.hash.match(/^#\/pbinstall\/(.+)$/) ?? [];
const install = document.querySelector("form[data-install]");
if (token && install) {
  // The token stands in the fragment, which browsers do not send, so it is in no access log.
  history.replaceState(null, "", location.pathname);
  install.elements.token.value = token;
  install.requestSubmit();
}

for (const button of document.querySelectorAll("[data-reveal]")) {
  const input = button.parentElement.querySelector("input");
  button.hidden = false;
  button.addEventListener("click", () => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
    input.focus();
  });
}

for (const meter of document.querySelectorAll("[data-strength]")) {
  const input = document.getElementById(meter.dataset.strength);
  const words = JSON.parse(meter.dataset.words);
  input.addEventListener("input", () => {
    const value = input.value;
    const kinds = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^A-Za-z0-9]/].filter((kind) => kind.test(value)).length;
    const different = new Set(value).size;
    let level = 0;
    if (value.length >= 8) level = 1;
    if (value.length >= 12 && different >= 7) level = 2;
    if ((value.length >= 16 && different >= 9) || (value.length >= 12 && kinds >= 3 && different >= 9)) level = 3;
    meter.textContent = value ? words[level] : "";
  });
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes("gp_zone=")) {
  document.cookie = `gp_zone=${zone}; Path=/_; Max-Age=31536000; SameSite=Lax${location.protocol === "https:" ? "; Secure" : ""}`;
}
