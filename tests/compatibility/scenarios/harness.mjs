// What every scenario file imports: the official client, assertions, and a list of named scenarios.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

const client = await import(process.env.GROUNDPLANE_CLIENT);
export const PocketBase = client.default;
export const { ClientResponseError, BaseAuthStore } = client;
export { assert };
export const url = process.env.GROUNDPLANE_URL;

const scenarios = [];

/** Declare a scenario; its name is a sentence, and the Python test of the same name. */
export function scenario(name, act) {
  scenarios.push({ name, act });
}

/** Run the scenarios in order and print one JSON line for each. */
export async function run() {
  for (const { name, act } of scenarios) {
    let problem = null;
    try {
      await act();
    } catch (error) {
      problem = describe(error);
    }
    process.stdout.write(`${JSON.stringify({ name, problem })}\n`);
  }
}

function describe(error) {
  const lines = [error?.stack ?? String(error)];
  if (error instanceof ClientResponseError) {
    lines.push(`status: ${error.status}`, `url: ${error.url}`, `response: ${JSON.stringify(error.response)}`);
    if (error.originalError && error.originalError !== error) lines.push(`cause: ${error.originalError}`);
  }
  return lines.join('\n');
}

/** A client that never cancels requests of its own. */
export function guest() {
  return new PocketBase(url).autoCancellation(false);
}

export async function superuser() {
  const pb = guest();
  await pb
    .collection('_superusers')
    .authWithPassword(process.env.GROUNDPLANE_EMAIL, process.env.GROUNDPLANE_PASSWORD);
  return pb;
}

/** A name that no other scenario uses. */
export function unique(prefix) {
  return `${prefix}_${randomBytes(5).toString('hex')}`;
}

/** Expect the client to reject with this status; return its error. */
export async function refused(status, promise) {
  const error = await promise.then(
    (value) => assert.fail(`expected ${status}, was answered ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  if (!(error instanceof ClientResponseError)) throw error;
  assert.equal(error.status, status, JSON.stringify(error.response));
  return error;
}

/** Make an auth collection and two accounts in it; all rules open. */
export async function makePeople(admin, more = {}) {
  const name = unique('people');
  const collection = await admin.collections.create({
    name,
    type: 'auth',
    listRule: '',
    viewRule: '',
    createRule: '',
    updateRule: 'id = @request.auth.id',
    deleteRule: 'id = @request.auth.id',
    fields: [{ name: 'name', type: 'text' }],
    ...more,
  });
  return collection;
}

export const PASSWORD = 'correct horse battery';

export async function makePerson(pb, people, local, more = {}) {
  return pb.collection(people).create({
    email: `${local}@example.com`,
    password: PASSWORD,
    passwordConfirm: PASSWORD,
    ...more,
  });
}

export async function signedIn(people, local) {
  const pb = guest();
  await pb.collection(people).authWithPassword(`${local}@example.com`, PASSWORD);
  return pb;
}

export const DATE = /^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3}Z$/;
export const autodates = [
  { name: 'created', type: 'autodate', onCreate: true },
  { name: 'updated', type: 'autodate', onCreate: true, onUpdate: true },
];
