import { assert, guest, makePeople, makePerson, refused, run, scenario, signedIn, superuser, unique } from './harness.mjs';

const admin = await superuser();
const people = await makePeople(admin);
const ann = await makePerson(guest(), people.name, 'ann');
const bob = await makePerson(guest(), people.name, 'bob');
const asAnn = await signedIn(people.name, 'ann');
const asBob = await signedIn(people.name, 'bob');
const notes = unique('notes');
const mine = 'owner = @request.auth.id && @request.auth.id != ""';
await admin.collections.create({
  name: notes,
  type: 'base',
  listRule: `${mine} || public = true`,
  viewRule: `${mine} || public = true`,
  createRule: '@request.auth.id != "" && owner = @request.auth.id',
  updateRule: `${mine} && @request.body.owner:isset = false`,
  deleteRule: null,
  fields: [
    { name: 'title', type: 'text' },
    { name: 'public', type: 'bool' },
    { name: 'owner', type: 'relation', collectionId: people.id, maxSelect: 1, required: true },
  ],
});
const hidden = await asAnn.collection(notes).create({ title: 'hidden', owner: ann.id });
const shared = await asAnn.collection(notes).create({ title: 'shared', owner: ann.id, public: true });

scenario('a list holds what the list rule lets through', async () => {
  const titles = async (pb) => (await pb.collection(notes).getFullList({ sort: 'title' })).map((note) => note.title);
  assert.deepEqual(await titles(asAnn), ['hidden', 'shared']);
  assert.deepEqual(await titles(asBob), ['shared']);
  assert.deepEqual(await titles(guest()), ['shared']);
  assert.deepEqual(await titles(admin), ['hidden', 'shared']);
});

scenario('a record that the view rule hides does not exist', async () => {
  assert.equal((await asAnn.collection(notes).getOne(hidden.id)).title, 'hidden');
  await refused(404, asBob.collection(notes).getOne(hidden.id));
  assert.equal((await asBob.collection(notes).getOne(shared.id)).title, 'shared');
});

scenario('a create that the rule refuses is a 400 without details', async () => {
  const error = await refused(400, asBob.collection(notes).create({ title: 'x', owner: ann.id }));
  assert.deepEqual(error.response, { data: {}, message: 'Failed to create record.', status: 400 });
  await refused(400, guest().collection(notes).create({ title: 'x', owner: '' }));
});

scenario('an update that the rule refuses is a 404', async () => {
  await refused(404, asBob.collection(notes).update(shared.id, { title: 'x' }));
  await refused(404, asAnn.collection(notes).update(shared.id, { owner: bob.id }));
  assert.equal((await asAnn.collection(notes).update(shared.id, { title: 'shared' })).title, 'shared');
});

scenario('a null rule is for superusers only', async () => {
  const error = await refused(403, asAnn.collection(notes).delete(shared.id));
  assert.equal(error.response.message, 'Only superusers can perform this action.');
  const extra = await admin.collection(notes).create({ title: 'extra', owner: ann.id });
  assert.equal(await admin.collection(notes).delete(extra.id), true);
});

scenario('expand follows the view rule of the other collection', async () => {
  const links = unique('links');
  const collection = await admin.collections.getOne(notes);
  await admin.collections.create({
    name: links, type: 'base', listRule: '', viewRule: '', createRule: '',
    fields: [{ name: 'notes', type: 'relation', collectionId: collection.id, maxSelect: 9 }],
  });
  const link = await guest().collection(links).create({ notes: [hidden.id, shared.id] });
  const seen = async (pb) =>
    ((await pb.collection(links).getOne(link.id, { expand: 'notes' })).expand?.notes ?? []).map((note) => note.title);
  assert.deepEqual(await seen(asAnn), ['hidden', 'shared']);
  assert.deepEqual(await seen(asBob), ['shared']);
});

scenario('a changed rule holds for the next request on every worker', async () => {
  const name = unique('gate');
  await admin.collections.create({ name, type: 'base', listRule: '', fields: [{ name: 'n', type: 'number' }] });
  for (let round = 0; round < 6; round += 1) {
    const open = round % 2 === 1;
    await admin.collections.update(name, { listRule: open ? '' : null });
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => fetch(`${guest().baseURL}/api/collections/${name}/records`, { headers: { Connection: 'close' } })),
    );
    assert.deepEqual(answers.map((answer) => answer.status), Array(8).fill(open ? 200 : 403));
  }
});

scenario('own addresses are visible, those of others only when they say so', async () => {
  const cat = await makePerson(guest(), people.name, 'cat', { emailVisibility: true });
  const seen = await asBob.collection(people.name).getFullList();
  const emails = Object.fromEntries(seen.map((person) => [person.id, person.email]));
  assert.deepEqual([emails[ann.id], emails[bob.id], emails[cat.id]], [undefined, 'bob@example.com', 'cat@example.com']);
});

await run();
