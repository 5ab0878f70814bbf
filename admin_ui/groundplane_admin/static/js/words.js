// The few words that scripts say; the catalogue's, as the page brings them.

const words = new Map();
for (const each of document.getElementById("words")?.content.children ?? []) words.set(each.dataset.name, each.textContent);

export const word = (name) => words.get(name) ?? name;

// Polite: at most one message in two seconds, the last one counts.
let waiting = 0;
export function say(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => { document.getElementById("said").textContent = text; }, 200);
}
export function shout(text) {
  document.getElementById("shouted").textContent = text;
}
