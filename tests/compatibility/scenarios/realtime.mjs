import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import {
  assert, guest, makePeople, makePerson, run, scenario, signedIn, superuser, unique,
} from './harness.mjs';

const { EventSource } = createRequire(fileURLToPath(process.env.GROUNDPLANE_CLIENT))('eventsource');
globalThis.EventSource = EventSource;

const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' };

async function makeNotes(rules = {}) {
  const admin = await superuser();
  return admin.collections.create({
    name: unique('notes'),
    type: 'base',
    fields: [{ name: 'text', type: 'text' }, { name: 'owner', type: 'text' }],
    ...open,
    ...rules,
  });
}

/** Collects events and lets a scenario wait for the next ones. */
class Inbox {
  constructor() {
    this.events = [];
    this.waiting = [];
    this.put = (event) => {
      const waiter = this.waiting.shift();
      if (waiter) waiter(event); else this.events.push(event);
    };
  }

  next() {
    if (this.events.length) return Promise.resolve(this.events.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no event came')), 15000);
      this.waiting.push((event) => { clearTimeout(timer); resolve(event); });
    });
  }
}

scenario('creates, updates and deletes arrive on every subscription', async () => {
  const notes = await makeNotes();
  const listener = guest();
  const writer = guest();
  const inbox = new Inbox();
  await listener.collection(notes.name).subscribe('*', inbox.put);
  const made = await writer.collection(notes.name).create({ text: 'a' });
  await writer.collection(notes.name).update(made.id, { text: 'b' });
  await writer.collection(notes.name).delete(made.id);
  const events = [await inbox.next(), await inbox.next(), await inbox.next()];
  assert.deepEqual(events.map((each) => [each.action, each.record.text]), [
    ['create', 'a'], ['update', 'b'], ['delete', 'b'],
  ]);
  assert.deepEqual(events[0].record, made);
  listener.realtime.disconnect();
});

scenario('one record is heard of by itself, and unsubscribing ends it', async () => {
  const notes = await makeNotes();
  const pb = guest();
  const [one, other] = [await pb.collection(notes.name).create({ text: '1' }), await pb.collection(notes.name).create({ text: '2' })];
  const inbox = new Inbox();
  const all = new Inbox();
  const unsubscribe = await pb.collection(notes.name).subscribe(one.id, inbox.put);
  await pb.collection(notes.name).subscribe('*', all.put);
  await pb.collection(notes.name).update(other.id, { text: '2b' });
  await pb.collection(notes.name).update(one.id, { text: '1b' });
  assert.equal((await inbox.next()).record.text, '1b');
  assert.deepEqual([(await all.next()).record.text, (await all.next()).record.text], ['2b', '1b']);
  await unsubscribe();
  await pb.collection(notes.name).update(one.id, { text: '1c' });
  assert.equal((await all.next()).record.text, '1c');
  assert.equal(inbox.events.length, 0);
  pb.realtime.disconnect();
});

scenario('a topic with filter, expand and fields', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const ann = await makePerson(guest(), people.name, 'ann', { name: 'Ann' });
  await admin.collections.update(people.name, { viewRule: '' });
  const notes = await admin.collections.create({
    name: unique('notes'),
    type: 'base',
    fields: [{ name: 'text', type: 'text' }, { name: 'by', type: 'relation', collectionId: people.id }],
    ...open,
  });
  const pb = guest();
  const inbox = new Inbox();
  await pb.collection(notes.name).subscribe('*', inbox.put, {
    filter: 'text ~ "yes"', expand: 'by', fields: 'text,expand.by.name',
  });
  await pb.collection(notes.name).create({ text: 'no', by: ann.id });
  await pb.collection(notes.name).create({ text: 'yes', by: ann.id });
  const event = await inbox.next();
  assert.deepEqual(event.record, { text: 'yes', expand: { by: { name: 'Ann' } } });
  pb.realtime.disconnect();
});

scenario('who signs in hears what the rule lets them hear', async () => {
  const people = await makePeople(await superuser());
  const ann = await makePerson(guest(), people.name, 'ann');
  const notes = await makeNotes({ listRule: 'owner = @request.auth.id' });
  const pb = guest();
  const inbox = new Inbox();
  await pb.collection(notes.name).subscribe('*', inbox.put);
  const as = await signedIn(people.name, 'ann');
  pb.authStore.save(as.authStore.token, as.authStore.record);
  // The next change of subscriptions binds the stream to her.
  await pb.collection(notes.name).subscribe('nothing', () => {});
  await guest().collection(notes.name).create({ text: 'not hers', owner: 'somebody' });
  await guest().collection(notes.name).create({ text: 'hers', owner: ann.id });
  assert.equal((await inbox.next()).record.text, 'hers');
  pb.realtime.disconnect();
});

scenario('a client whose connection breaks comes back by itself', async () => {
  const notes = await makeNotes();
  const pb = guest();
  const inbox = new Inbox();
  await pb.collection(notes.name).subscribe('*', inbox.put);
  const before = pb.realtime.clientId;
  pb.realtime.eventSource.onerror(new Event('error'));
  const limit = Date.now() + 15000;
  while (pb.realtime.clientId === before || !pb.realtime.isConnected) {
    assert.ok(Date.now() < limit, 'it did not come back');
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  // The new stream has its subscriptions a moment later.
  let event;
  while (!event) {
    assert.ok(Date.now() < limit, 'nothing came after the reconnection');
    await guest().collection(notes.name).create({ text: 'after' });
    event = await Promise.race([inbox.next(), new Promise((resolve) => { setTimeout(resolve, 200); })]);
  }
  assert.equal(event.record.text, 'after');
  pb.realtime.disconnect();
});

scenario('several clients at once, each with its own stream', async () => {
  const notes = await makeNotes();
  const clients = Array.from({ length: 6 }, () => ({ pb: guest(), inbox: new Inbox() }));
  await Promise.all(clients.map(({ pb, inbox }) => pb.collection(notes.name).subscribe('*', inbox.put)));
  await Promise.all(Array.from({ length: 5 }, (_, n) => guest().collection(notes.name).create({ text: `t${n}` })));
  for (const { pb, inbox } of clients) {
    const texts = [];
    for (let n = 0; n < 5; n += 1) texts.push((await inbox.next()).record.text);
    assert.deepEqual(texts.sort(), ['t0', 't1', 't2', 't3', 't4']);
    pb.realtime.disconnect();
  }
});

await run();
process.exit(0); // a scenario that failed may have left a stream
