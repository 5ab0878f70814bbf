// Links in mails, such as /_/#/auth/confirm-verification/TOKEN, lead to a page of their own, whatever page this is.

function follow() {
  const [, page, mailed = ""] = location.hash.match(/^#\/auth\/([a-z0-9-]+)(?:\/([^/]*))?$/) ?? [];
  if (page) location.replace(`/_/auth/${page}${mailed ? `#token=${mailed}` : ""}`);
}

follow();
addEventListener("hashchange", follow); // a link that is opened where the console is open already

const form = document.querySelector("form[data-mail-link]");
const [, token] = location.hash.match(/^#token=(.+)$/) ?? [];
if (form && token) {
  // The token stands in the fragment, which browsers do not send, so it is in no access log.
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = token;
  form.querySelector("[data-typed]").hidden = true;
}

// The app goes on with it.
const app = document.querySelector("a[data-follow]");
if (app) location.replace(app.href);

// The window of another sign-in service has done its work.
if (document.querySelector("[data-close]")) window.close();
