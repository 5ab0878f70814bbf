// Over the data folder of a PocketBase 0.39 installation, imported as it is.
import { assert, guest, refused, run, scenario, superuser } from './harness.mjs';

const tokens = JSON.parse(process.env.GROUNDPLANE_TOKENS);
const admin = await superuser();

function holding(token) {
  const pb = guest();
  pb.authStore.save(token, null);
  return pb;
}

scenario('a superuser of that installation signs in with the old password', async () => {
  assert.equal(admin.authStore.record.id, 'sywbhecnh46rhm0');
  const error = await refused(400, guest().collection('_superusers').authWithPassword('test@example.com', 'wrong'));
  assert.equal(error.response.message, 'Failed to authenticate.');
});

scenario('a user signs in with the old bcrypt hash, twice, by email and by username', async () => {
  const pb = guest();
  const first = await pb.collection('clients').authWithPassword('test@example.com', '1234567890');
  const second = await pb.collection('clients').authWithPassword('clients57772', '1234567890');
  assert.equal(first.record.id, 'gk390qegs4y47wn');
  assert.equal(second.record.id, 'gk390qegs4y47wn');
  const unverified = await refused(403, pb.collection('clients').authWithPassword('test2@example.com', '1234567890'));
  assert.equal(unverified.response.message, "The request doesn't satisfy the collection requirements to authenticate.");
});

scenario('tokens that the old installation issued are valid', async () => {
  const user = await holding(tokens.users).collection('users').getOne('4q1xlclmfloku33');
  assert.equal(user.email, 'test@example.com');
  const settings = await holding(tokens._superusers).settings.getAll();
  assert.equal(settings.meta.appName, 'acme_test');
  const refreshed = await holding(tokens.clients).collection('clients').authRefresh();
  assert.equal(refreshed.record.id, 'gk390qegs4y47wn');
  await refused(401, holding(`${tokens.users}x`).collection('users').authRefresh());
});

scenario('every collection is there with its id, rules and fields', async () => {
  const all = await admin.collections.getFullList();
  const byName = Object.fromEntries(all.map((collection) => [collection.name, collection]));
  assert.deepEqual(
    Object.keys(byName).filter((name) => !name.startsWith('_')).sort(),
    ['clients', 'demo1', 'demo2', 'demo3', 'demo4', 'demo5', 'nologin', 'numeric_id_view', 'users', 'view1', 'view2'],
  );
  assert.equal(byName.demo1.id, 'wsmn24bux7wo113');
  assert.equal(byName.demo5.createRule, '@request.body.total = 3');
  assert.equal(byName.users.passwordAuth.identityFields.join(), 'email,username');
  assert.deepEqual(byName.demo2.indexes.length, 3);
});

scenario('values come back as they were', async () => {
  const record = await admin.collection('demo1').getOne('84nmscqy84lsi1t');
  assert.deepEqual(record.json, [1, 2, 3]);
  assert.equal(record.number, 123456);
  assert.equal(record.bool, true);
  assert.equal(record.datetime, '2022-10-01 12:00:00.000Z');
  assert.equal(record.created, '2022-10-14 10:13:12.397Z');
  assert.deepEqual(record.select_many, ['optionB', 'optionC']);
  assert.equal(record.file_many.length, 5);
  const other = await admin.collection('demo1').getOne('al1h9ijdeojtsjy');
  assert.deepEqual(other.point, { lon: 23.333157, lat: 42.654318 });
  assert.equal(other.json, null);
});

scenario('lists keep the insertion order, filter and sort', async () => {
  const titles = async (options) => (await guest().collection('demo2').getFullList(options)).map((item) => item.title);
  assert.deepEqual(await titles({}), ['test1', 'test2', 'test3']);
  assert.deepEqual(await titles({ filter: 'active = true', sort: '-title' }), ['test3', 'test2']);
  assert.deepEqual(await titles({ filter: 'created < "2022-10-12 11:42:55"' }), ['test1']);
  const many = await admin.collection('demo1').getFullList({ filter: "rel_many.name ?= 'test1'" });
  assert.deepEqual(many.map((item) => item.id), ['al1h9ijdeojtsjy']);
  const near = await admin.collection('demo1').getFullList({
    filter: 'geoDistance(point.lon, point.lat, 23.32, 42.69) < 10 && id != "x"',
  });
  assert.deepEqual(near.map((item) => item.id), ['al1h9ijdeojtsjy']);
});

scenario('relations expand, also to themselves and backwards', async () => {
  const record = await admin.collection('demo4').getOne('qzaqccwrmva4o1n', {
    expand: 'self_rel_many,self_rel_one,rel_many_no_cascade_required,rel_one_cascade',
  });
  assert.deepEqual(record.expand.self_rel_many.map((item) => item.id), ['i9naidtvr6qsgb4', 'qzaqccwrmva4o1n']);
  assert.equal(record.expand.self_rel_one.id, 'i9naidtvr6qsgb4');
  assert.deepEqual(record.expand.rel_many_no_cascade_required.map((item) => item.title), ['test2', 'test1']);
  assert.equal(record.expand.rel_one_cascade.title, 'test3');
  const back = await admin.collection('demo3').getOne('lcl9d87w22ml6jy', { expand: 'demo4_via_rel_one_no_cascade_required' });
  assert.deepEqual(
    back.expand.demo4_via_rel_one_no_cascade_required.map((item) => item.title), ['test1', 'test2'],
  );
});

scenario('rules with comments and relation paths hold', async () => {
  assert.equal((await guest().collection('demo3').getList()).totalItems, 0);
  assert.equal((await holding(tokens.users).collection('demo3').getList()).totalItems, 0);
  assert.equal((await holding(tokens.clients).collection('demo3').getList()).totalItems, 4);
  await refused(403, guest().collection('demo1').getList());
  assert.deepEqual(
    (await guest().collection('demo5').getFullList()).map((item) => item.id), ['qjeql998mtp1azp'],
  );
});

scenario('views answer', async () => {
  const rows = await guest().collection('numeric_id_view').getFullList();
  assert.deepEqual(rows.map((row) => row.id), ['1', '2']);
  const states = await guest().collection('view2').getFullList();
  assert.deepEqual(states.map((row) => row.state), [true, false, false]);
  const seen = await holding(tokens.users).collection('view1').getFullList();
  assert.deepEqual(seen.map((row) => row.id), ['84nmscqy84lsi1t']);
});

scenario('files are there, protected ones for a file token', async () => {
  const record = await admin.collection('demo1').getOne('al1h9ijdeojtsjy');
  const stranger = await fetch(admin.files.getURL(record, record.file_one));
  assert.equal(stranger.status, 404);
  const token = await admin.files.getToken();
  const answer = await fetch(admin.files.getURL(record, record.file_one, { token, thumb: '100x100' }));
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-type'), 'image/png');
  const text = await admin.collection('demo1').getOne('84nmscqy84lsi1t');
  const open = await fetch(admin.files.getURL(text, text.file_many[0]));
  assert.equal(open.status, 200);
});

scenario('records are created, changed and deleted', async () => {
  const pb = guest();
  const made = await pb.collection('demo2').create({ title: 'new', active: true });
  assert.equal((await pb.collection('demo2').update(made.id, { title: 'newer' })).title, 'newer');
  const taken = await refused(400, pb.collection('demo2').update(made.id, { title: 'test1' }));
  assert.equal(taken.response.data.title.code, 'validation_not_unique');
  assert.equal(await pb.collection('demo2').delete(made.id), true);
  const ruled = await refused(400, pb.collection('demo5').create({ total: 4 }));
  assert.equal(ruled.response.message, 'Failed to create record.');
  const total = await pb.collection('demo5').create({ total: 3 });
  assert.equal(total.total, 3);
  await admin.collection('demo5').delete(total.id);
});

scenario('a required reference keeps a record from being deleted', async () => {
  const error = await refused(400, admin.collection('demo3').delete('lcl9d87w22ml6jy'));
  assert.match(error.response.message, /^Failed to delete record\. Make sure that the record is not part of/);
  assert.equal((await admin.collection('demo3').getOne('lcl9d87w22ml6jy')).title, 'test2');
});

scenario('a batch runs over imported collections', async () => {
  const pb = guest();
  const batch = pb.createBatch();
  batch.collection('demo2').create({ title: 'in a batch' });
  batch.collection('demo2').update('achvryl401bhse3', { active: true });
  const [created, updated] = await batch.send();
  assert.equal(created.status, 200);
  assert.equal(updated.body.title, 'test2');
  await pb.collection('demo2').delete(created.body.id);
});

await run();
