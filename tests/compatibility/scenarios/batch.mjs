import { assert, guest, refused, run, scenario, superuser, unique } from './harness.mjs';

const admin = await superuser();
await admin.settings.update({ batch: { enabled: true, maxRequests: 50, timeout: 10 } });
const notes = unique('notes');
await admin.collections.create({
  name: notes, type: 'base', listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: 'locked = false',
  fields: [
    { name: 'title', type: 'text', required: true },
    { name: 'n', type: 'number' },
    { name: 'locked', type: 'bool' },
    { name: 'files', type: 'file', maxSelect: 5 },
  ],
});
const pb = guest();
const count = async () => (await pb.collection(notes).getList(1, 1)).totalItems;

scenario('creates, updates, upserts and deletes run in order in one batch', async () => {
  const kept = await pb.collection(notes).create({ title: 'kept', n: 1 });
  const gone = await pb.collection(notes).create({ title: 'gone' });
  const batch = pb.createBatch();
  batch.collection(notes).create({ title: 'new' });
  batch.collection(notes).update(kept.id, { 'n+': 4 });
  batch.collection(notes).delete(gone.id);
  batch.collection(notes).upsert({ id: kept.id, title: 'renamed' });
  batch.collection(notes).upsert({ id: 'upserted0000001', title: 'fresh' });
  const results = await batch.send();
  assert.deepEqual(results.map((result) => result.status), [200, 200, 204, 200, 200]);
  assert.equal(results[0].body.title, 'new');
  assert.equal(results[1].body.n, 5);
  assert.deepEqual([results[3].body.title, results[3].body.n], ['renamed', 5]);
  assert.equal(results[4].body.id, 'upserted0000001');
  await refused(404, pb.collection(notes).getOne(gone.id));
});

scenario('files travel in a batch', async () => {
  const kept = await pb.collection(notes).create({ title: 'with', files: [new File(['1'], 'one.txt')] });
  const batch = pb.createBatch();
  batch.collection(notes).create({ title: 'up', files: [new File(['a'], 'a.txt'), new File(['b'], 'b.txt')] });
  batch.collection(notes).update(kept.id, { files: [kept.files[0], new File(['2'], 'two.txt')] });
  const [created, updated] = await batch.send();
  assert.equal(created.body.files.length, 2);
  assert.equal(updated.body.files.length, 2);
  assert.equal(updated.body.files[0], kept.files[0]);
  const answer = await fetch(pb.files.getURL(updated.body, updated.body.files[1]));
  assert.equal(await answer.text(), '2');
});

scenario('one failure rolls everything back and names its request', async () => {
  const before = await count();
  const batch = pb.createBatch();
  batch.collection(notes).create({ title: 'never' });
  batch.collection(notes).create({ title: '' });
  const error = await refused(400, batch.send());
  assert.equal(error.response.message, 'Batch transaction failed.');
  const failed = error.response.data.requests['1'];
  assert.equal(failed.code, 'batch_request_failed');
  assert.equal(failed.response.status, 400);
  assert.equal(failed.response.data.title.code, 'validation_required');
  assert.equal(await count(), before);
});

scenario('rules hold inside a batch', async () => {
  const locked = await pb.collection(notes).create({ title: 'locked', locked: true });
  const batch = pb.createBatch();
  batch.collection(notes).delete(locked.id);
  const error = await refused(400, batch.send());
  assert.equal(error.response.data.requests['0'].response.status, 404);
  assert.equal((await pb.collection(notes).getOne(locked.id)).title, 'locked');
});

scenario('expand and fields apply to each result', async () => {
  const batch = pb.createBatch();
  batch.collection(notes).create({ title: 'slim' }, { fields: 'title' });
  assert.deepEqual((await batch.send())[0].body, { title: 'slim' });
});

scenario('an empty batch and too many requests are refused', async () => {
  const empty = await refused(400, pb.createBatch().send());
  assert.equal(empty.response.data.requests.code, 'validation_required');
  const batch = pb.createBatch();
  for (let number = 0; number < 51; number += 1) batch.collection(notes).create({ title: 'x' });
  const error = await refused(400, batch.send());
  assert.equal(error.response.data.requests.code, 'validation_length_too_long');
});

scenario('a batch that is switched off is a 403 on the next request', async () => {
  await admin.settings.update({ batch: { enabled: false } });
  try {
    const batch = pb.createBatch();
    batch.collection(notes).create({ title: 'x' });
    const error = await refused(403, batch.send());
    assert.equal(error.response.message, 'Batch requests are not allowed.');
  } finally {
    await admin.settings.update({ batch: { enabled: true } });
  }
});

await run();
