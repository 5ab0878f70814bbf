import { assert, guest, makePeople, makePerson, refused, run, scenario, signedIn, superuser } from './harness.mjs';

const admin = await superuser();

scenario('the settings have their groups in order and no secrets', async () => {
  const settings = await admin.settings.getAll();
  assert.deepEqual(Object.keys(settings), [
    'superuserIPs', 'smtp', 'backups', 's3', 'meta', 'rateLimits', 'trustedProxy', 'batch', 'logs',
  ]);
  assert.equal('password' in settings.smtp, false);
  assert.equal('secret' in settings.s3, false);
});

scenario('a change merges deeply and is there at once for everyone', async () => {
  const before = await admin.settings.getAll();
  const changed = await admin.settings.update({ meta: { appName: 'Orchard' } });
  assert.equal(changed.meta.appName, 'Orchard');
  assert.equal(changed.meta.appURL, before.meta.appURL);
  const others = await Promise.all(Array.from({ length: 8 }, () => admin.settings.getAll({ headers: { Connection: 'close' } })));
  assert.deepEqual(others.map((settings) => settings.meta.appName), Array(8).fill('Orchard'));
  await admin.settings.update({ meta: { appName: before.meta.appName } });
});

scenario('wrong settings are refused by name and nothing is changed', async () => {
  const error = await refused(400, admin.settings.update({ meta: { appName: '', senderAddress: 'no' } }));
  assert.equal(error.response.message, 'An error occurred while saving the new settings.');
  assert.equal(error.response.data.meta.appName.code, 'validation_required');
  assert.equal(error.response.data.meta.senderAddress.code, 'validation_is_email');
  assert.notEqual((await admin.settings.getAll()).meta.appName, '');
});

scenario('only superusers see the settings', async () => {
  const people = await makePeople(admin);
  await makePerson(guest(), people.name, 'ann');
  await refused(401, guest().settings.getAll());
  await refused(403, (await signedIn(people.name, 'ann')).settings.getAll());
});

scenario('the health check answers everyone', async () => {
  const health = await guest().health.check();
  assert.deepEqual([health.code, health.message], [200, 'API is healthy.']);
});

scenario('an unknown path is a 404 with the usual body', async () => {
  const error = await refused(404, guest().send('/api/nothing', { method: 'GET' }));
  assert.deepEqual(error.response, { data: {}, message: "The requested resource wasn't found.", status: 404 });
});

await run();
