import { assert, autodates, DATE, guest, refused, run, scenario, superuser, unique } from './harness.mjs';

const admin = await superuser();
const authors = unique('authors');
const tags = unique('tags');
const posts = unique('posts');
const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' };

const authorCollection = await admin.collections.create({
  name: authors, type: 'base', ...open, fields: [{ name: 'name', type: 'text', required: true }],
});
const tagCollection = await admin.collections.create({
  name: tags, type: 'base', ...open, fields: [{ name: 'label', type: 'text' }],
});
await admin.collections.create({
  name: posts,
  type: 'base',
  ...open,
  fields: [
    { name: 'title', type: 'text', required: true, max: 80 },
    { name: 'body', type: 'editor' },
    { name: 'views', type: 'number' },
    { name: 'live', type: 'bool' },
    { name: 'at', type: 'date' },
    { name: 'kind', type: 'select', values: ['news', 'essay', 'note'] },
    { name: 'moods', type: 'select', values: ['calm', 'loud', 'odd'], maxSelect: 3 },
    { name: 'mail', type: 'email' },
    { name: 'link', type: 'url' },
    { name: 'meta', type: 'json' },
    { name: 'place', type: 'geoPoint' },
    { name: 'author', type: 'relation', collectionId: authorCollection.id, maxSelect: 1 },
    { name: 'tags', type: 'relation', collectionId: tagCollection.id, maxSelect: 5 },
    { name: 'slug', type: 'text', autogeneratePattern: '[a-z]{8}' },
    { name: 'secret', type: 'text', hidden: true },
    ...autodates,
  ],
  indexes: [`CREATE UNIQUE INDEX \`idx_slug_${posts}\` ON \`${posts}\` (\`slug\`)`],
});
const pb = guest();
const ann = await pb.collection(authors).create({ name: 'Ann' });
const bob = await pb.collection(authors).create({ name: 'Bob' });
const red = await pb.collection(tags).create({ label: 'red' });
const blue = await pb.collection(tags).create({ label: 'blue' });

async function seeded(count) {
  const marker = unique('m');
  for (let number = 0; number < count; number += 1) {
    await pb.collection(posts).create({ title: `${marker} ${number}`, views: number, live: number % 2 === 0 });
  }
  return marker;
}

scenario('a created record comes back with every field, normalised', async () => {
  const made = await pb.collection(posts).create({
    title: 'First', body: '<p>a & b</p>', views: '12', live: 'true', at: '2030-01-02T03:04:05.6789Z', kind: 'news',
    moods: ['calm', 'odd', 'calm'], mail: 'a@b.co', link: 'https://example.com', meta: { b: 1, a: [1, 2] },
    place: { lon: 12.5, lat: -3 }, author: ann.id, tags: [red.id, blue.id],
  });
  assert.match(made.id, /^[a-z0-9]{15}$/);
  assert.equal(made.collectionName, posts);
  assert.equal(made.body, '<p>a & b</p>');
  assert.equal(made.views, 12);
  assert.equal(made.live, true);
  assert.equal(made.at, '2030-01-02 03:04:05.678Z');
  assert.deepEqual(made.moods, ['calm', 'odd']);
  assert.deepEqual(made.meta, { a: [1, 2], b: 1 });
  assert.deepEqual(made.place, { lon: 12.5, lat: -3 });
  assert.deepEqual(made.tags, [red.id, blue.id]);
  assert.match(made.slug, /^[a-z]{8}$/);
  assert.match(made.created, DATE);
  assert.equal(made.created, made.updated);
  assert.equal('secret' in made, false);
  assert.deepEqual(Object.keys(made), Object.keys(made).slice().sort(), 'keys are sorted');
  assert.deepEqual(await pb.collection(posts).getOne(made.id), made);
});

scenario('absent fields get their zero value', async () => {
  const made = await pb.collection(posts).create({ title: 'Bare' });
  assert.deepEqual(
    [made.body, made.views, made.live, made.at, made.kind, made.moods, made.meta, made.place, made.author, made.tags],
    ['', 0, false, '', '', [], null, { lon: 0, lat: 0 }, '', []],
  );
});

scenario('an own id is taken once', async () => {
  const id = 'abcdefghij12345';
  await pb.collection(tags).create({ id, label: 'mine' });
  const again = await refused(400, pb.collection(tags).create({ id, label: 'mine' }));
  assert.equal(again.response.data.id.code, 'validation_not_unique');
  const short = await refused(400, pb.collection(tags).create({ id: 'abc', label: 'mine' }));
  assert.equal(short.response.data.id.code, 'validation_min_text_constraint');
});

scenario('getList pages through records in insertion order', async () => {
  const marker = await seeded(7);
  const filter = pb.filter('title ~ {:marker}', { marker });
  const page = await pb.collection(posts).getList(2, 3, { filter });
  assert.deepEqual(Object.keys(page), ['items', 'page', 'perPage', 'totalItems', 'totalPages']);
  assert.deepEqual(page.items.map((item) => item.views), [3, 4, 5]);
  assert.deepEqual([page.page, page.perPage, page.totalItems, page.totalPages], [2, 3, 7, 3]);
  const beyond = await pb.collection(posts).getList(9, 3, { filter });
  assert.deepEqual([beyond.items, beyond.totalItems], [[], 7]);
  const untold = await pb.collection(posts).getList(1, 3, { filter, skipTotal: true });
  assert.deepEqual([untold.totalItems, untold.totalPages, untold.items.length], [-1, -1, 3]);
});

scenario('getFullList walks every page', async () => {
  const marker = await seeded(7);
  const all = await pb.collection(posts).getFullList({ filter: pb.filter('title ~ {:marker}', { marker }), batch: 2 });
  assert.deepEqual(all.map((item) => item.views), [0, 1, 2, 3, 4, 5, 6]);
});

scenario('a perPage above the maximum is lowered to it and echoed', async () => {
  const page = await pb.collection(tags).getList(1, 5000);
  assert.equal(page.perPage, 1000);
});

scenario('getFirstListItem finds one or is a 404', async () => {
  const marker = await seeded(3);
  const found = await pb.collection(posts).getFirstListItem(pb.filter('title ~ {:marker} && views > {:n}', { marker, n: 0 }));
  assert.equal(found.views, 1);
  await refused(404, pb.collection(posts).getFirstListItem(pb.filter('title = {:marker}', { marker })));
});

scenario('filter() carries quotes, backslashes, dates, numbers and booleans', async () => {
  const title = `it's "quoted" \\ 100% ${unique('x')}`;
  const at = new Date('2031-05-06T07:08:09.123Z');
  const made = await pb.collection(posts).create({ title, at, views: -1.5, live: true });
  const filter = pb.filter('title = {:title} && at = {:at} && views = {:views} && live = {:live}', {
    title, at, views: -1.5, live: true,
  });
  const page = await pb.collection(posts).getList(1, 10, { filter });
  assert.deepEqual(page.items.map((item) => item.id), [made.id]);
});

scenario('sorting goes both ways and by relation', async () => {
  const marker = unique('m');
  for (const [views, author] of [[2, ann.id], [1, bob.id], [3, '']]) {
    await pb.collection(posts).create({ title: marker, views, author });
  }
  const filter = pb.filter('title = {:marker}', { marker });
  const views = async (sort) => (await pb.collection(posts).getFullList({ filter, sort })).map((item) => item.views);
  assert.deepEqual(await views('views'), [1, 2, 3]);
  assert.deepEqual(await views('-views'), [3, 2, 1]);
  assert.deepEqual(await views('-author.name'), [1, 2, 3]);
  assert.deepEqual(await views('author.name,views'), [3, 2, 1]);
  assert.deepEqual(await views('-@rowid'), [3, 1, 2]);
  assert.equal((await views('@random')).length, 3);
});

scenario('relations expand forward and backward', async () => {
  const marker = unique('m');
  const made = await pb.collection(posts).create(
    { title: marker, author: bob.id, tags: [blue.id, red.id] },
    { expand: 'author,tags' },
  );
  assert.equal(made.expand.author.name, 'Bob');
  assert.deepEqual(made.expand.tags.map((tag) => tag.label), ['blue', 'red']);
  const back = await pb.collection(authors).getOne(bob.id, { expand: `${posts}_via_author.tags` });
  const seen = back.expand[`${posts}_via_author`].find((post) => post.id === made.id);
  assert.deepEqual(seen.expand.tags.map((tag) => tag.label), ['blue', 'red']);
  const plain = await pb.collection(posts).getOne(made.id, { expand: 'nothing' });
  assert.equal('expand' in plain, false);
});

scenario('filters reach through relations', async () => {
  const marker = unique('m');
  const one = await pb.collection(posts).create({ title: marker, tags: [red.id] });
  const both = await pb.collection(posts).create({ title: marker, tags: [red.id, blue.id] });
  const none = await pb.collection(posts).create({ title: marker });
  const ids = async (condition) =>
    (await pb.collection(posts).getFullList({ filter: `title = '${marker}' && ${condition}` })).map((item) => item.id);
  assert.deepEqual(await ids("tags.label = 'red'"), [one.id]);
  assert.deepEqual(await ids("tags.label ?= 'red'"), [one.id, both.id]);
  assert.deepEqual(await ids("tags.label ?= 'blue'"), [both.id]);
  assert.deepEqual(await ids('tags:length = 0'), [none.id]);
  assert.deepEqual(await ids("tags.label != 'red'"), [none.id]);
});

scenario('fields selects keys, with excerpts', async () => {
  const made = await pb.collection(posts).create({ title: 'Cut', body: '<p>Hello <b>wide</b> world</p>', author: ann.id });
  const seen = await pb.collection(posts).getOne(made.id, {
    expand: 'author', fields: 'id,body:excerpt(8,true),expand.author.name',
  });
  assert.deepEqual(seen, { body: 'Hello wi...', expand: { author: { name: 'Ann' } }, id: made.id });
  const page = await pb.collection(posts).getList(1, 1, { fields: 'id' });
  assert.deepEqual(Object.keys(page.items[0]), ['id']);
  assert.equal(page.page, 1);
});

scenario('an update changes what is sent and nothing else', async () => {
  const made = await pb.collection(posts).create({ title: 'Before', views: 5, meta: { keep: true } });
  const changed = await pb.collection(posts).update(made.id, { title: 'After' });
  assert.deepEqual([changed.title, changed.views, changed.meta], ['After', 5, { keep: true }]);
  assert.equal(changed.created, made.created);
  assert.ok(changed.updated >= made.updated);
  const same = await pb.collection(posts).update(made.id, {});
  assert.equal(same.title, 'After');
});

scenario('modifiers add, subtract, append, prepend and remove', async () => {
  const { id } = await pb.collection(posts).create({ title: 'Counted', views: 10, moods: ['calm'], tags: [red.id] });
  const update = (body) => pb.collection(posts).update(id, body);
  assert.equal((await update({ 'views+': 5 })).views, 15);
  assert.equal((await update({ 'views-': 20 })).views, -5);
  assert.deepEqual((await update({ 'moods+': ['odd'] })).moods, ['calm', 'odd']);
  assert.deepEqual((await update({ '+moods': 'loud' })).moods, ['loud', 'calm', 'odd']);
  assert.deepEqual((await update({ 'moods-': ['calm', 'loud'] })).moods, ['odd']);
  assert.deepEqual((await update({ '+tags': blue.id })).tags, [blue.id, red.id]);
  assert.match((await update({ 'slug:autogenerate': 'pre-' })).slug, /^pre-[a-z]{8}$/);
});

scenario('many increments at the same time all count', async () => {
  const { id } = await pb.collection(posts).create({ title: 'Busy', views: 0 });
  await Promise.all(Array.from({ length: 20 }, () => pb.collection(posts).update(id, { 'views+': 1 })));
  assert.equal((await pb.collection(posts).getOne(id)).views, 20);
});

scenario('every wrong field is reported at once', async () => {
  const error = await refused(400, pb.collection(posts).create({
    title: '', mail: 'no', link: 'no', kind: 'poem', moods: ['calm', 'x'], place: { lon: 0, lat: 100 }, author: 'missing',
  }));
  assert.equal(error.response.message, 'Failed to create record.');
  assert.equal(error.response.status, 400);
  const codes = Object.fromEntries(Object.entries(error.response.data).map(([key, value]) => [key, value.code]));
  assert.deepEqual(codes, {
    author: 'validation_missing_rel_records',
    kind: 'validation_invalid_value',
    link: 'validation_invalid_url',
    mail: 'validation_is_email',
    moods: 'validation_invalid_value',
    place: 'validation_invalid_latitude',
    title: 'validation_required',
  });
});

scenario('a unique violation is reported at its field', async () => {
  const made = await pb.collection(posts).create({ title: 'One' });
  const error = await refused(400, pb.collection(posts).create({ title: 'Two', slug: made.slug }));
  assert.deepEqual(error.response.data, { slug: { code: 'validation_not_unique', message: 'Value must be unique.' } });
});

scenario('a deleted record is gone and its references are removed', async () => {
  const tag = await pb.collection(tags).create({ label: 'brief' });
  const post = await pb.collection(posts).create({ title: 'Tagged', tags: [tag.id, red.id] });
  assert.equal(await pb.collection(tags).delete(tag.id), true);
  await refused(404, pb.collection(tags).getOne(tag.id));
  await refused(404, pb.collection(tags).delete(tag.id));
  assert.deepEqual((await pb.collection(posts).getOne(post.id)).tags, [red.id]);
});

scenario('unknown things are 404 and bad parameters are 400 without details', async () => {
  const missing = await refused(404, pb.collection('nowhere').getList());
  assert.equal(missing.response.message, 'Missing collection context.');
  const absent = await refused(404, pb.collection(posts).getOne('abcdefghijklmno'));
  assert.equal(absent.response.message, "The requested resource wasn't found.");
  for (const options of [{ filter: 'title =' }, { filter: 'nothing = 1' }, { sort: 'nothing' }, { filter: 'secret = 1' }]) {
    const error = await refused(400, pb.collection(posts).getList(1, 10, options));
    assert.deepEqual(error.response, {
      data: {}, message: 'Something went wrong while processing your request.', status: 400,
    });
  }
  const forbidden = await refused(403, pb.collection(posts).getList(1, 10, { filter: '@request.auth.id != ""' }));
  assert.equal(forbidden.response.message, 'Only superusers can filter by @request.');
});

scenario('a superuser sees hidden fields', async () => {
  const made = await admin.collection(posts).create({ title: 'Hidden', secret: 'psst' });
  assert.equal(made.secret, 'psst');
  assert.equal('secret' in (await pb.collection(posts).getOne(made.id)), false);
  const ignored = await pb.collection(posts).update(made.id, { secret: 'changed' });
  assert.equal('secret' in ignored, false);
  assert.equal((await admin.collection(posts).getOne(made.id)).secret, 'psst');
});

await run();
