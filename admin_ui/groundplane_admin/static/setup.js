// Makes the first superuser with the token of the set-up link. The token stands in the fragment, which
// browsers do not send, so it is in no access log.

const byId = (id) => document.getElementById(id);

byId("where").textContent = `· ${location.host}`;

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
}

function isExpired(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload)).exp * 1000 < Date.now();
  } catch {
    return true;
  }
}

function showError(name, text) {
  const note = byId(`${name}-error`);
  note.textContent = text;
  note.hidden = !text;
  const input = byId(name);
  input.setAttribute("aria-invalid", String(Boolean(text)));
  if (text) input.setAttribute("aria-errormessage", note.id);
}

function showProblem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function localErrors(values) {
  const errors = {};
  if (!values.email) errors.email = "Cannot be blank.";
  if (!values.password) errors.password = "Cannot be blank.";
  if (values.passwordConfirm !== values.password) errors.passwordConfirm = "Values don't match.";
  return errors;
}

async function create(token, values) {
  const response = await fetch("/api/collections/_superusers/records", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: token },
    body: JSON.stringify(values),
  });
  return { status: response.status, body: await response.json().catch(() => ({})) };
}

function start(token) {
  const form = byId("form");
  const button = form.querySelector("button");
  show("setup");
  byId("email").focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    const errors = localErrors(values);
    for (const name of ["email", "password", "passwordConfirm"]) showError(name, errors[name] ?? "");
    showProblem("");
    const first = Object.keys(errors)[0];
    if (first) {
      byId(first).focus();
      return;
    }
    button.disabled = true;
    try {
      const { status, body } = await create(token, values);
      if (status === 200) {
        history.replaceState(null, "", location.pathname); // the token is used up; keep it out of history
        byId("created").textContent = values.email;
        byId("example").textContent =
          `const pb = new PocketBase("${location.origin}");\n` +
          `await pb.collection("_superusers").authWithPassword(email, password);`;
        show("done");
      } else if (status === 401 || status === 403) {
        show("expired");
      } else {
        const known = Object.entries(body.data ?? {});
        for (const [name, error] of known) if (byId(`${name}-error`)) showError(name, error.message);
        showProblem(known.length ? "" : (body.message ?? "The server did not answer as expected. Try again."));
      }
    } catch {
      showProblem("The server cannot be reached. Check that it runs and try again.");
    } finally {
      button.disabled = false;
    }
  });
}

const [, token] = location.hash.match(/^#\/pbinstall\/(.+)$/) ?? [];
if (token) (isExpired(token) ? () => show("expired") : () => start(token))();
