// A real OpenID Connect provider with a few accounts: `node oidc_provider.mjs <library> <port> <kid> <redirect>…`.
// It signs with an EC key of the given name, made at every start, and shows its own forms for login and consent.
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [library, port, kid, ...redirects] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(library));

const accounts = {
  ann: { name: 'Ann Example', email: 'ann@example.com', email_verified: true, preferred_username: 'annie' },
  bob: { name: 'Bob Example', email: 'bob@example.com', email_verified: false },
  carl: { name: 'Carl Example' },
};
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });

const client = (id, method) => ({
  client_id: id,
  client_secret: 's3cret/+& of many characters',
  redirect_uris: redirects,
  token_endpoint_auth_method: method,
  id_token_signed_response_alg: 'ES256',
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('basic client', 'client_secret_basic'), client('post', 'client_secret_post')],
  jwks: { keys: [{ ...key, kid, alg: 'ES256', use: 'sig' }] },
  cookies: { keys: ['only for tests'] },
  claims: { email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
  conformIdTokenClaims: true,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) =>
    id in accounts ? { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) } : undefined,
});

provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
