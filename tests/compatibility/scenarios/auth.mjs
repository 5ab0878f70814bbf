import {
  assert, guest, makePeople, makePerson, PASSWORD, PocketBase, refused, run, scenario, signedIn, superuser, unique, url,
} from './harness.mjs';

scenario('a superuser signs in and the store knows it', async () => {
  const pb = await superuser();
  assert.equal(pb.authStore.isValid, true);
  assert.equal(pb.authStore.isSuperuser, true);
  assert.equal(pb.authStore.record.collectionName, '_superusers');
  assert.equal(pb.authStore.record.email, process.env.GROUNDPLANE_EMAIL);
});

scenario('a user signs in with email and password and gets record and token', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const made = await makePerson(guest(), people.name, 'ann', { name: 'Ann' });
  assert.equal('email' in made, false, 'a stranger does not see the address');
  assert.equal('password' in made || 'tokenKey' in made, false);
  const pb = guest();
  const answer = await pb.collection(people.name).authWithPassword('ann@example.com', PASSWORD);
  assert.deepEqual(Object.keys(answer).sort(), ['record', 'token']);
  assert.equal(answer.record.id, made.id);
  assert.equal(answer.record.email, 'ann@example.com');
  assert.equal(answer.record.verified, false);
  assert.equal(answer.record.name, 'Ann');
  assert.equal(pb.authStore.token, answer.token);
  assert.equal(pb.authStore.isValid, true);
  assert.equal(pb.authStore.isSuperuser, false);
});

scenario('the token carries exactly the claims that the client reads', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const person = await makePerson(guest(), people.name, 'ann');
  const pb = await signedIn(people.name, 'ann');
  const claims = JSON.parse(Buffer.from(pb.authStore.token.split('.')[1], 'base64url').toString());
  assert.deepEqual(Object.keys(claims), ['collectionId', 'exp', 'id', 'refreshable', 'type']);
  assert.equal(claims.id, person.id);
  assert.equal(claims.collectionId, people.id);
  assert.equal(claims.type, 'auth');
  assert.equal(claims.refreshable, true);
  assert.ok(Math.abs(claims.exp - Date.now() / 1000 - people.authToken.duration) < 60);
});

scenario('a wrong password and an unknown account get the same 400', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  await makePerson(guest(), people.name, 'ann');
  const wrong = await refused(400, guest().collection(people.name).authWithPassword('ann@example.com', 'no'));
  const unknown = await refused(400, guest().collection(people.name).authWithPassword('bob@example.com', PASSWORD));
  assert.deepEqual(wrong.response, unknown.response);
  assert.equal(wrong.response.message, 'Failed to authenticate.');
  assert.deepEqual(wrong.response.data, {});
});

scenario('signing in without identity and password names both', async () => {
  const people = await makePeople(await superuser());
  const error = await refused(400, guest().collection(people.name).authWithPassword('', ''));
  assert.deepEqual(Object.keys(error.response.data), ['identity', 'password']);
  assert.equal(error.response.data.identity.code, 'validation_required');
});

scenario('a refresh gives a new valid token and the same record', async () => {
  const people = await makePeople(await superuser());
  await makePerson(guest(), people.name, 'ann');
  const pb = await signedIn(people.name, 'ann');
  const answer = await pb.collection(people.name).authRefresh();
  assert.equal(answer.record.id, pb.authStore.record.id);
  assert.equal(pb.authStore.isValid, true);
  const again = guest();
  again.authStore.save(answer.token, answer.record);
  assert.equal((await again.collection(people.name).getOne(answer.record.id)).email, 'ann@example.com');
});

scenario('a refresh without a token is refused with 401, in another collection with 403', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const others = await makePeople(admin);
  await makePerson(guest(), people.name, 'ann');
  await refused(401, guest().collection(people.name).authRefresh());
  const pb = await signedIn(people.name, 'ann');
  await refused(403, pb.collection(others.name).authRefresh());
});

scenario('a token in another client, with or without Bearer, is the same caller', async () => {
  const people = await makePeople(await superuser());
  const person = await makePerson(guest(), people.name, 'ann');
  const { token } = (await signedIn(people.name, 'ann')).authStore;
  for (const Authorization of [token, `Bearer ${token}`, `bearer ${token}`]) {
    const seen = await guest().collection(people.name).getOne(person.id, { headers: { Authorization } });
    assert.equal(seen.email, 'ann@example.com');
  }
  const stranger = await guest().collection(people.name).getOne(person.id, { headers: { Authorization: `${token}x` } });
  assert.equal('email' in stranger, false, 'an unusable token is a guest');
});

scenario('changing the password ends every token', async () => {
  const people = await makePeople(await superuser());
  const person = await makePerson(guest(), people.name, 'ann');
  const pb = await signedIn(people.name, 'ann');
  const old = new PocketBase(url);
  old.authStore.save(pb.authStore.token, pb.authStore.record);
  await refused(400, pb.collection(people.name).update(person.id, { password: 'another one 1', passwordConfirm: 'another one 1' }));
  await pb.collection(people.name).update(person.id, {
    password: 'another one 1', passwordConfirm: 'another one 1', oldPassword: PASSWORD,
  });
  await refused(401, old.collection(people.name).authRefresh());
  const fresh = guest();
  await fresh.collection(people.name).authWithPassword('ann@example.com', 'another one 1');
});

scenario('passwords that do not match are named', async () => {
  const people = await makePeople(await superuser());
  const error = await refused(400, guest().collection(people.name).create({
    email: 'ann@example.com', password: PASSWORD, passwordConfirm: 'other',
  }));
  assert.equal(error.response.data.passwordConfirm.code, 'validation_values_mismatch');
});

scenario('an address can be used once', async () => {
  const people = await makePeople(await superuser());
  await makePerson(guest(), people.name, 'ann');
  const error = await refused(400, makePerson(guest(), people.name, 'ann'));
  assert.equal(error.response.data.email.code, 'validation_not_unique');
});

scenario('one may sign in with any unique identity field', async () => {
  const admin = await superuser();
  const name = unique('members');
  await admin.collections.create({
    name, type: 'auth', createRule: '',
    fields: [{ name: 'username', type: 'text', required: true }],
    indexes: [`CREATE UNIQUE INDEX \`idx_${name}\` ON \`${name}\` (\`username\`)`],
    passwordAuth: { enabled: true, identityFields: ['email', 'username'] },
  });
  await makePerson(guest(), name, 'ann', { username: 'ann_1' });
  const pb = guest();
  const answer = await pb.collection(name).authWithPassword('ann_1', PASSWORD);
  assert.equal(answer.record.username, 'ann_1');
  const body = { identity: 'ann_1', password: PASSWORD, identityField: 'email' };
  await refused(400, pb.collection(name).authWithPassword('ann_1', PASSWORD, { body }));
});

scenario('the auth methods say what is on', async () => {
  const people = await makePeople(await superuser());
  const methods = await guest().collection(people.name).listAuthMethods();
  assert.deepEqual(methods.password, { identityFields: ['email'], enabled: true });
  assert.deepEqual(methods.oauth2, { providers: [], enabled: false });
  assert.equal(methods.mfa.enabled, false);
  assert.equal(methods.otp.enabled, false);
});

scenario('a superuser impersonates a record with a token that cannot be refreshed', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const person = await makePerson(guest(), people.name, 'ann');
  const acting = await admin.collection(people.name).impersonate(person.id, 600);
  assert.equal(acting.authStore.record.id, person.id);
  const claims = JSON.parse(Buffer.from(acting.authStore.token.split('.')[1], 'base64url').toString());
  assert.equal(claims.refreshable, false);
  assert.ok(Math.abs(claims.exp - Date.now() / 1000 - 600) < 60);
  assert.equal((await acting.collection(people.name).getOne(person.id)).email, 'ann@example.com');
  const pb = await signedIn(people.name, 'ann');
  await refused(403, pb.collection(people.name).impersonate(person.id, 600));
  await refused(401, guest().collection(people.name).impersonate(person.id, 600));
});

scenario('an auth rule keeps records out that do not satisfy it', async () => {
  const admin = await superuser();
  const people = await makePeople(admin, { authRule: 'verified = true' });
  const person = await makePerson(guest(), people.name, 'ann');
  const error = await refused(403, guest().collection(people.name).authWithPassword('ann@example.com', PASSWORD));
  assert.equal(error.response.message, "The request doesn't satisfy the collection requirements to authenticate.");
  await admin.collection(people.name).update(person.id, { verified: true });
  await signedIn(people.name, 'ann');
});

scenario('nobody verifies himself', async () => {
  const people = await makePeople(await superuser());
  const person = await makePerson(guest(), people.name, 'ann');
  const pb = await signedIn(people.name, 'ann');
  const error = await refused(400, pb.collection(people.name).update(person.id, { verified: true }));
  assert.equal(error.response.data.verified.code, 'validation_values_mismatch');
  const email = await refused(400, pb.collection(people.name).update(person.id, { email: 'new@example.com' }));
  assert.equal(email.response.data.email.code, 'validation_values_mismatch');
});

scenario('signing in expands and selects like any other answer', async () => {
  const admin = await superuser();
  const people = await makePeople(admin);
  const notes = unique('notes');
  await admin.collections.create({
    name: notes, type: 'base', listRule: '', viewRule: '', createRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'owner', type: 'relation', collectionId: people.id, maxSelect: 1 },
    ],
  });
  const person = await makePerson(guest(), people.name, 'ann');
  await guest().collection(notes).create({ title: 'mine', owner: person.id });
  const answer = await guest().collection(people.name).authWithPassword('ann@example.com', PASSWORD, {
    expand: `${notes}_via_owner`, fields: `token,record.id,record.expand.${notes}_via_owner.title`,
  });
  assert.deepEqual(Object.keys(answer.record).sort(), ['expand', 'id']);
  assert.deepEqual(answer.record.expand[`${notes}_via_owner`], [{ title: 'mine' }]);
});

scenario('deleting the signed-in record clears the store', async () => {
  const people = await makePeople(await superuser());
  const person = await makePerson(guest(), people.name, 'ann');
  const pb = await signedIn(people.name, 'ann');
  await pb.collection(people.name).delete(person.id);
  assert.equal(pb.authStore.isValid, false);
});

await run();
