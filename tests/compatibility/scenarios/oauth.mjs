// Signing in with a real OpenID Connect provider, whose forms are filled in here as a person would.
import { assert, guest, PASSWORD, refused, run, scenario, url } from './harness.mjs';

const people = 'people';
const redirectURL = process.env.GROUNDPLANE_REDIRECT;

/** Go to the provider's page and through its forms as `login`; return what it sends back. */
async function visit(address, login) {
  const jar = new Map();
  let next = { url: address };
  for (let step = 0; step < 20; step++) {
    const cookie = [...jar].map((pair) => pair.join('=')).join('; ');
    const answer = await fetch(next.url, {
      method: next.body ? 'POST' : 'GET',
      body: next.body,
      headers: { cookie },
      redirect: 'manual',
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
      jar.set(name, value);
    }
    const location = answer.headers.get('location');
    if (location) {
      const target = new URL(location, next.url);
      if (target.href.startsWith(redirectURL)) return Object.fromEntries(target.searchParams);
      next = { url: target.href };
      continue;
    }
    const page = await answer.text();
    const action = page.match(/<form[^>]*action="([^"]+)"/);
    assert.ok(action, `no form: ${answer.status} ${page.slice(0, 300)}`);
    const body = new URLSearchParams();
    for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)) body.set(name, value);
    if (page.includes('name="login"')) {
      body.set('login', login);
      body.set('password', 'any');
    }
    next = { url: action[1], body };
  }
  throw new Error('the forms never end');
}

/** The provider as the collection offers it, and a code for `login`. */
async function codeFor(login, name = 'oidc') {
  const methods = await guest().collection(people).listAuthMethods();
  const provider = methods.oauth2.providers.find((each) => each.name === name);
  const { code, state } = await visit(provider.authURL + encodeURIComponent(redirectURL), login);
  assert.equal(state, provider.state);
  return { provider, code };
}

async function signIn(pb, login, name = 'oidc', createData = undefined) {
  const { provider, code } = await codeFor(login, name);
  return pb.collection(people).authWithOAuth2Code(provider.name, code, provider.codeVerifier, redirectURL, createData);
}

scenario('a verified account signs up with its first code and signs in with the next', async () => {
  const pb = guest();
  const first = await signIn(pb, 'ann');
  assert.equal(first.meta.isNew, true);
  assert.equal(first.meta.id, 'ann');
  assert.equal(first.meta.email, 'ann@example.com');
  assert.equal(first.meta.username, 'annie');
  assert.equal(first.record.email, 'ann@example.com');
  assert.equal(first.record.verified, true);
  assert.equal(first.record.name, 'Ann Example');
  assert.equal(pb.authStore.record.id, first.record.id);
  assert.equal(pb.authStore.isValid, true);
  const second = await signIn(guest(), 'ann');
  assert.equal(second.meta.isNew, false);
  assert.equal(second.record.id, first.record.id);
});

scenario('an address that the provider has not verified is asked for, and is not verified', async () => {
  const error = await refused(400, signIn(guest(), 'bob'));
  assert.equal(error.response.data.email.code, 'validation_required');
  const made = await signIn(guest(), 'bob', 'oidc', { email: 'bob@own.example' });
  assert.equal(made.record.email, 'bob@own.example');
  assert.equal(made.record.verified, false);
  assert.equal(made.meta.email, '');
  assert.equal(made.meta.rawUser.email, 'bob@example.com');
});

scenario('an account without any address signs up with one of its own', async () => {
  const made = await signIn(guest(), 'carl', 'oidc', { email: 'carl@own.example' });
  assert.equal(made.record.name, 'Carl Example');
  assert.equal('email' in made.meta.rawUser, false);
});

scenario('a code is good once', async () => {
  const { provider, code } = await codeFor('ann');
  const again = () =>
    guest().collection(people).authWithOAuth2Code('oidc', code, provider.codeVerifier, redirectURL);
  await again();
  const error = await refused(400, again());
  assert.equal(error.response.message, 'Failed to fetch OAuth2 token.');
});

scenario('a code is of no use without the verifier of whoever began, nor at another address', async () => {
  const { code } = await codeFor('ann');
  const stolen = guest().collection(people).authWithOAuth2Code('oidc', code, 'v'.repeat(43), redirectURL);
  assert.equal((await refused(400, stolen)).response.message, 'Failed to fetch OAuth2 token.');
  const other = await codeFor('ann');
  const elsewhere = guest()
    .collection(people)
    .authWithOAuth2Code('oidc', other.code, other.provider.codeVerifier, `${url}/elsewhere`);
  assert.equal((await refused(400, elsewhere)).response.message, 'Failed to fetch OAuth2 token.');
});

scenario('a provider that is set up by its addresses and wants its secret in the form works too', async () => {
  const answer = await signIn(guest(), 'ann', 'oidc2');
  assert.equal(answer.record.email, 'ann@example.com');
  assert.equal(answer.meta.name, 'Ann Example');
});

scenario('somebody signed in links an account, sees it listed and unlinks it', async () => {
  const pb = guest();
  const account = { email: 'dora@example.com', password: PASSWORD, passwordConfirm: PASSWORD };
  const dora = await pb.collection(people).create(account);
  await pb.collection(people).authWithPassword(account.email, PASSWORD);
  const linked = await signIn(pb, 'bob', 'oidc2');
  assert.equal(linked.record.id, dora.id);
  const before = await pb.collection(people).listExternalAuths(dora.id);
  assert.deepEqual(before.map((each) => [each.provider, each.providerId]), [['oidc2', 'bob']]);
  await pb.collection(people).unlinkExternalAuth(dora.id, 'oidc2');
  assert.deepEqual(await pb.collection(people).listExternalAuths(dora.id), []);
  const stranger = await signIn(guest(), 'ann');
  assert.notEqual(stranger.record.id, dora.id);
});

await run();
