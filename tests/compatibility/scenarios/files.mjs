import { assert, guest, makePeople, makePerson, refused, run, scenario, signedIn, superuser, unique } from './harness.mjs';

const admin = await superuser();
const people = await makePeople(admin);
await makePerson(guest(), people.name, 'ann');
const albums = unique('albums');
await admin.collections.create({
  name: albums, type: 'base', listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '',
  fields: [
    { name: 'title', type: 'text' },
    { name: 'count', type: 'number' },
    { name: 'meta', type: 'json' },
    { name: 'cover', type: 'file', maxSelect: 1, thumbs: ['20x20'], mimeTypes: ['image/png', 'text/plain'] },
    { name: 'pages', type: 'file', maxSelect: 5, maxSize: 1000 },
    { name: 'private', type: 'file', maxSelect: 1, protected: true },
  ],
});
const pb = guest();
const text = (content, name = 'My Text (1).txt') => new File([content], name, { type: 'text/plain' });
// A picture of one red point.
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64',
);

async function download(record, name, query = {}) {
  const answer = await fetch(pb.files.getURL(record, name, query));
  return { status: answer.status, text: await answer.text(), type: answer.headers.get('content-type') };
}

scenario('an upload is stored under a safe unique name and can be downloaded', async () => {
  const made = await pb.collection(albums).create({ title: 'A', cover: text('hello') });
  assert.match(made.cover, /^my_text_1_[a-z0-9]{10}\.txt$/);
  const got = await download(made, made.cover);
  assert.deepEqual([got.status, got.text], [200, 'hello']);
  assert.match(got.type, /^text\/plain/);
});

scenario('other values travel beside files with their types', async () => {
  const made = await pb.collection(albums).create({
    title: '0012', count: 3, meta: { a: [1, 'x'] }, cover: text('hello'),
  });
  assert.deepEqual([made.title, made.count, made.meta], ['0012', 3, { a: [1, 'x'] }]);
});

scenario('a FormData body works as well', async () => {
  const form = new FormData();
  form.append('title', 'form');
  form.append('count', '7');
  form.append('pages', text('one', 'one.txt'));
  form.append('pages', text('two', 'two.txt'));
  const made = await pb.collection(albums).create(form);
  assert.deepEqual([made.title, made.count, made.pages.length], ['form', 7, 2]);
  assert.equal((await download(made, made.pages[1])).text, 'two');
});

scenario('files are appended, prepended, kept and removed', async () => {
  const made = await pb.collection(albums).create({ pages: [text('1', 'a.txt'), text('2', 'b.txt')] });
  const [first, second] = made.pages;
  const more = await pb.collection(albums).update(made.id, { 'pages+': text('3', 'c.txt') });
  assert.deepEqual(more.pages.slice(0, 2), [first, second]);
  const third = more.pages[2];
  const front = await pb.collection(albums).update(made.id, { '+pages': [text('0', 'z.txt')] });
  assert.deepEqual(front.pages.slice(1), [first, second, third]);
  const less = await pb.collection(albums).update(made.id, { 'pages-': [first] });
  assert.equal(less.pages.includes(first), false);
  assert.equal((await download(made, first)).status, 404);
  const kept = await pb.collection(albums).update(made.id, { pages: [third, text('4', 'd.txt')] });
  assert.equal(kept.pages[0], third);
  assert.equal(kept.pages.length, 2);
  assert.equal((await download(made, second)).status, 404);
  const none = await pb.collection(albums).update(made.id, { pages: [] });
  assert.deepEqual(none.pages, []);
});

scenario('too many, too large and of the wrong kind are refused by name', async () => {
  const many = await refused(400, pb.collection(albums).create({ pages: Array.from({ length: 6 }, () => text('x')) }));
  assert.equal(many.response.data.pages.code, 'validation_too_many_files');
  const large = await refused(400, pb.collection(albums).create({ pages: [text('x'.repeat(1001))] }));
  assert.equal(large.response.data.pages.code, 'validation_file_size_limit');
  const kind = await refused(400, pb.collection(albums).create({ cover: new File(['%PDF-1.7\n%âãÏÓ\n'], 'x.png') }));
  assert.equal(kind.response.data.cover.code, 'validation_invalid_mime_type');
  const invented = await refused(400, pb.collection(albums).create({ cover: 'invented.png' }));
  assert.equal(invented.response.data.cover.code, 'validation_invalid_file');
});

scenario('a picture has the thumbnails that its field lists', async () => {
  const made = await pb.collection(albums).create({ cover: new File([png], 'dot.png', { type: 'image/png' }) });
  const whole = await fetch(pb.files.getURL(made, made.cover));
  assert.equal(whole.headers.get('content-type'), 'image/png');
  assert.deepEqual(Buffer.from(await whole.arrayBuffer()), png);
  const thumb = await fetch(pb.files.getURL(made, made.cover, { thumb: '20x20' }));
  assert.equal(thumb.status, 200);
  assert.equal(thumb.headers.get('content-type'), 'image/png');
});

scenario('a protected file needs a file token', async () => {
  const made = await pb.collection(albums).create({ private: text('psst') });
  await admin.collections.update(albums, { viewRule: '@request.auth.id != ""' });
  try {
    assert.equal((await download(made, made.private)).status, 404);
    const ann = await signedIn(people.name, 'ann');
    const token = await ann.files.getToken();
    assert.deepEqual(await download(made, made.private, { token }).then((got) => [got.status, got.text]), [200, 'psst']);
    assert.equal((await download(made, made.private, { token: ann.authStore.token })).status, 404);
  } finally {
    await admin.collections.update(albums, { viewRule: '' });
  }
  await refused(401, pb.files.getToken().then((token) => token));
});

scenario('a deleted record takes its files along', async () => {
  const made = await pb.collection(albums).create({ cover: text('bye') });
  await pb.collection(albums).delete(made.id);
  assert.equal((await download(made, made.cover)).status, 404);
});

await run();
