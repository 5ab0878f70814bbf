import { assert, DATE, guest, makePeople, makePerson, refused, run, scenario, signedIn, superuser, unique } from './harness.mjs';

const admin = await superuser();

scenario('a collection is created with defaults, changed and deleted', async () => {
  const name = unique('things');
  const made = await admin.collections.create({ name, type: 'base', fields: [{ name: 'title', type: 'text' }] });
  assert.match(made.id, /^pbc_\d+$/);
  assert.deepEqual(made.fields.map((field) => [field.name, field.type]), [['id', 'text'], ['title', 'text']]);
  assert.equal(made.fields[0].id, 'text3208210256');
  assert.equal(made.listRule, null);
  assert.deepEqual(made.indexes, []);
  assert.match(made.created, DATE);
  const changed = await admin.collections.update(made.id, { listRule: '', name: `${name}_b` });
  assert.deepEqual([changed.id, changed.listRule, changed.name], [made.id, '', `${name}_b`]);
  assert.deepEqual(await admin.collections.getOne(`${name}_b`), changed);
  assert.equal(await admin.collections.delete(`${name}_b`), true);
  await refused(404, admin.collections.getOne(made.id));
});

scenario('renaming a field keeps its data, a new one is zero, a missing one is dropped', async () => {
  const name = unique('things');
  const made = await admin.collections.create({
    name, type: 'base', listRule: '',
    fields: [{ name: 'old', type: 'text' }, { name: 'gone', type: 'number' }],
  });
  const record = await admin.collection(name).create({ old: 'kept', gone: 5 });
  const fields = made.fields.filter((field) => field.name !== 'gone');
  fields.find((field) => field.name === 'old').name = 'renamed';
  fields.push({ name: 'extra', type: 'number' });
  await admin.collections.update(name, { fields });
  const seen = await admin.collection(name).getOne(record.id);
  assert.deepEqual([seen.renamed, seen.extra, 'gone' in seen, 'old' in seen], ['kept', 0, false, false]);
});

scenario('single becomes multiple and back without losing values', async () => {
  const name = unique('things');
  const made = await admin.collections.create({
    name, type: 'base', fields: [{ name: 'kind', type: 'select', values: ['a', 'b', 'c'], maxSelect: 1 }],
  });
  const record = await admin.collection(name).create({ kind: 'b' });
  const { fields } = made;
  fields[1].maxSelect = 3;
  await admin.collections.update(name, { fields });
  assert.deepEqual((await admin.collection(name).getOne(record.id)).kind, ['b']);
  await admin.collection(name).update(record.id, { kind: ['a', 'c'] });
  fields[1].maxSelect = 1;
  await admin.collections.update(name, { fields });
  assert.equal((await admin.collection(name).getOne(record.id)).kind, 'c');
});

scenario('wrong collections are refused with the place of each mistake', async () => {
  const error = await refused(400, admin.collections.create({
    name: 'no spaces', type: 'base', listRule: 'nothing = 1', fields: [{ name: 'a b', type: 'text' }],
  }));
  assert.equal(error.response.message, 'Failed to create collection.');
  assert.equal(error.response.data.name.code, 'validation_match_invalid');
  assert.equal(error.response.data.fields['1'].name.code, 'validation_match_invalid');
  const rule = await refused(400, admin.collections.create({ name: unique('things'), type: 'base', listRule: 'nothing = 1' }));
  assert.equal(rule.response.data.listRule.code, 'validation_invalid_rule');
  const people = await makePeople(admin);
  const taken = await refused(400, admin.collections.create({ name: people.name.toUpperCase(), type: 'base' }));
  assert.equal(taken.response.data.name.code, 'validation_collection_name_exists');
  const type = await refused(400, admin.collections.update(people.name, { type: 'base' }));
  assert.equal(type.response.data.type.code, 'validation_collection_type_change');
});

scenario('unique indexes are kept as written and enforced', async () => {
  const name = unique('things');
  const index = `CREATE UNIQUE INDEX \`idx_${name}\` ON \`${name}\` (\`code\` COLLATE NOCASE)`;
  const made = await admin.collections.create({
    name, type: 'base', createRule: '', fields: [{ name: 'code', type: 'text' }], indexes: [index],
  });
  assert.deepEqual(made.indexes, [index]);
  await admin.collection(name).create({ code: 'abc' });
  const error = await refused(400, admin.collection(name).create({ code: 'ABC' }));
  assert.equal(error.response.data.code.code, 'validation_not_unique');
});

scenario('the list of collections is paged, filtered and sorted', async () => {
  const name = unique('things');
  await admin.collections.create({ name, type: 'base' });
  const page = await admin.collections.getList(1, 5, { filter: admin.filter('name = {:name}', { name }) });
  assert.deepEqual([page.totalItems, page.items[0].name], [1, name]);
  const all = await admin.collections.getFullList({ sort: '-name' });
  assert.ok(all.some((collection) => collection.name === '_superusers' && collection.id === 'pbc_3142635823'));
  const found = await admin.collections.getFirstListItem(admin.filter('name = {:name}', { name }), { fields: 'name' });
  assert.deepEqual(found, { name });
});

scenario('only superusers manage collections', async () => {
  const people = await makePeople(admin);
  await makePerson(guest(), people.name, 'ann');
  await refused(401, guest().collections.getList());
  await refused(403, (await signedIn(people.name, 'ann')).collections.getList());
});

scenario('auth collections have their options and never show secrets', async () => {
  const people = await makePeople(admin);
  assert.deepEqual(
    people.fields.map((field) => field.name).sort(),
    ['email', 'emailVisibility', 'id', 'name', 'password', 'tokenKey', 'verified'],
  );
  assert.equal(people.authToken.duration, 432000);
  assert.equal('secret' in people.authToken, false);
  assert.equal(people.indexes.length, 2);
});

scenario('a view answers like a collection and cannot be written', async () => {
  const name = unique('things');
  await admin.collections.create({
    name, type: 'base', fields: [{ name: 'kind', type: 'text' }, { name: 'n', type: 'number' }],
  });
  for (const [kind, n] of [['a', 1], ['a', 2], ['b', 5]]) await admin.collection(name).create({ kind, n });
  const view = unique('totals');
  const made = await admin.collections.create({
    name: view, type: 'view', listRule: '', viewRule: '',
    viewQuery: `SELECT MAX(id) AS id, kind, COUNT(id) AS amount FROM ${name} GROUP BY kind`,
  });
  assert.deepEqual(made.fields.map((field) => [field.name, field.type]), [['id', 'text'], ['kind', 'text'], ['amount', 'number']]);
  const rows = await guest().collection(view).getFullList({ sort: '-amount', fields: 'kind,amount' });
  assert.deepEqual(rows, [{ amount: 2, kind: 'a' }, { amount: 1, kind: 'b' }]);
  const error = await refused(400, admin.collection(view).create({ kind: 'c' }));
  assert.equal(error.response.message, 'Unsupported collection type.');
});

scenario('an import creates and changes, and fails as a whole', async () => {
  const [first, second] = [unique('first'), unique('second')];
  assert.equal(await admin.collections.import([
    { name: first, type: 'base', fields: [{ name: 'title', type: 'text' }] },
    { name: second, type: 'base', fields: [{ name: 'title', type: 'text' }] },
  ]), true);
  const record = await admin.collection(first).create({ title: 'kept' });
  await admin.collections.import([{ name: first, type: 'base', listRule: '', fields: [{ name: 'n', type: 'number' }] }]);
  const seen = await guest().collection(first).getFullList();
  assert.deepEqual(seen.map((item) => [item.id, item.title, item.n]), [[record.id, 'kept', 0]]);
  const third = unique('third');
  const error = await refused(400, admin.collections.import([{ name: third, type: 'base' }, { name: 'not valid', type: 'base' }]));
  assert.equal(error.response.data.collections.code, 'validation_collections_import_failure');
  await refused(404, admin.collections.getOne(third));
});

scenario('truncate empties a collection', async () => {
  const name = unique('things');
  await admin.collections.create({ name, type: 'base' });
  await admin.collection(name).create({});
  await admin.collection(name).create({});
  assert.equal(await admin.collections.truncate(name), true);
  assert.equal((await admin.collection(name).getList()).totalItems, 0);
});

scenario('scaffolds are empty collections of each type', async () => {
  const scaffolds = await admin.collections.getScaffolds();
  assert.deepEqual(Object.keys(scaffolds).sort(), ['auth', 'base', 'view']);
  assert.deepEqual([scaffolds.base.id, scaffolds.base.name, scaffolds.view.viewQuery], ['', '', '']);
});

scenario('a referenced collection cannot be deleted', async () => {
  const [one, two] = [unique('one'), unique('two')];
  const target = await admin.collections.create({ name: one, type: 'base' });
  await admin.collections.create({
    name: two, type: 'base', fields: [{ name: 'rel', type: 'relation', collectionId: target.id, maxSelect: 1 }],
  });
  const error = await refused(400, admin.collections.delete(one));
  assert.equal(
    error.response.message,
    `Failed to delete collection probably due to existing reference in ${two}.`,
  );
});

await run();
