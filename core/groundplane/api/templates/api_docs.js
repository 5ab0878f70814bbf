// Searching, a token of one's own, and trying operations. The page reads the same without it.
'use strict';

const KEY = 'groundplane-docs-token';
let token = sessionStorage.getItem(KEY) || '';

function startSearch() {
  const search = document.getElementById('search');
  for (const element of document.querySelectorAll('.only-script')) element.hidden = false;
  search.addEventListener('input', () => {
    const wanted = search.value.trim().toLowerCase();
    for (const item of document.querySelectorAll('nav li')) {
      item.hidden = wanted !== '' && !item.textContent.toLowerCase().includes(wanted);
    }
  });
}

// Replace the operations by those that the token's owner may know of.
async function showFor(current) {
  const state = document.getElementById('access-state');
  const answer = await fetch('/api/docs', { headers: current ? { Authorization: current } : {} });
  if (!answer.ok) {
    state.textContent = `The server answered ${answer.status}.`;
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  document.querySelector('.columns').replaceWith(document.adoptNode(fresh.querySelector('.columns')));
  state.textContent = current ? 'Showing what this token may know of.' : 'Showing what a guest may know of.';
  startSearch();
  startTrying();
}

function startAccess() {
  const form = document.getElementById('access');
  const input = document.getElementById('token');
  form.hidden = false;
  input.value = token;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    token = input.value.trim();
    sessionStorage.setItem(KEY, token);
    showFor(token);
  });
  if (token) showFor(token);
}

function field(form, name, place, multiline, value) {
  const label = document.createElement('label');
  label.textContent = `${name} (${place})`;
  const input = document.createElement(multiline ? 'textarea' : 'input');
  input.dataset.place = place;
  input.name = name;
  input.value = value;
  label.append(input);
  form.querySelector('button').before(label);
}

async function send(article, form) {
  const result = form.querySelector('.result');
  let path = article.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  let body;
  if (token) headers.Authorization = token;
  for (const input of form.querySelectorAll('input, textarea')) {
    const { place } = input.dataset;
    if (place === 'path') path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (place === 'body') body = input.value;
    else if (input.value !== '' && place === 'query') query.append(input.name, input.value);
    else if (input.value !== '' && place === 'header') headers[input.name] = input.value;
  }
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if ([...query].length) path += `?${query}`;
  try {
    const answer = await fetch(path, { method: article.dataset.method, headers, body });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
    result.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
  } catch (error) {
    result.textContent = String(error);
  }
}

function startTrying() {
  for (const article of document.querySelectorAll('article')) {
    const box = article.querySelector('.try');
    const form = box.querySelector('form');
    box.hidden = false;
    for (const row of article.querySelectorAll('tr[data-in]')) {
      if (row.dataset.in !== 'body') field(form, row.dataset.name, row.dataset.in, false, '');
    }
    const example = form.querySelector('template').content.textContent;
    if (example) field(form, 'body', 'body', true, example);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      send(article, form);
    });
  }
}

startSearch();
startTrying();
startAccess();
