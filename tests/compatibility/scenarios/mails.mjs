import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { assert, guest, makePeople, makePerson, PASSWORD, refused, run, scenario, superuser, unique } from './harness.mjs';

const OUTBOX = process.env.GROUNDPLANE_OUTBOX;
const NEW = 'battery staple';

/** The mails to an address, oldest first, once there are so many; their lines are joined again. */
async function mailsTo(address, count = 1) {
  for (const end = Date.now() + 60_000; Date.now() < end; await pause(50)) {
    const names = await readdir(OUTBOX).catch(() => []);
    const files = names.filter((name) => name.endsWith('.eml')).sort();
    const mails = await Promise.all(files.map((name) => readFile(join(OUTBOX, name), 'utf8')));
    const found = mails.filter((mail) => mail.includes(`To: ${address}\r\n`)).map((mail) => mail.replaceAll('=\r\n', ''));
    if (found.length >= count) return found;
  }
  return assert.fail(`no mail to ${address}`);
}

function tokenIn(mail) {
  const [, token] = mail.match(/\/_\/#\/auth\/[a-z-]+\/([\w.-]+)/);
  return token;
}

/** The id and the code of a new one-time password. */
async function codeFor(pb, people, email, count = 1) {
  const { otpId } = await pb.collection(people).requestOTP(email);
  const mails = await mailsTo(email, count);
  const [, code] = mails.at(-1).match(/password is (\d+)/);
  return [otpId, code];
}

async function somebody(more = {}) {
  const people = await makePeople(await superuser(), { authAlert: { enabled: false }, ...more });
  const local = unique('ann');
  const record = await makePerson(guest(), people.name, local);
  return { people: people.name, email: `${local}@example.com`, record };
}

scenario('a mailed token verifies the address', async () => {
  const { people, email } = await somebody();
  const pb = guest();
  assert.equal(await pb.collection(people).requestVerification(email), true);
  const token = tokenIn((await mailsTo(email))[0]);
  await pb.collection(people).authWithPassword(email, PASSWORD);
  assert.equal(pb.authStore.record.verified, false);
  assert.equal(await pb.collection(people).confirmVerification(token), true);
  assert.equal(pb.authStore.record.verified, true, 'the client marks its own record');
  await pb.collection(people).authRefresh();
  assert.equal(pb.authStore.record.verified, true);
});

scenario('a mailed token sets a new password and ends the sessions', async () => {
  const { people, email } = await somebody();
  const pb = guest();
  await pb.collection(people).authWithPassword(email, PASSWORD);
  assert.equal(await pb.collection(people).requestPasswordReset(email), true);
  const token = tokenIn((await mailsTo(email))[0]);
  assert.equal(await guest().collection(people).confirmPasswordReset(token, NEW, NEW), true);
  await refused(401, pb.collection(people).authRefresh());
  await refused(400, guest().collection(people).authWithPassword(email, PASSWORD));
  await guest().collection(people).authWithPassword(email, NEW);
});

scenario('a new address is confirmed with the password and signs the client out', async () => {
  const { people, email } = await somebody();
  const pb = guest();
  await pb.collection(people).authWithPassword(email, PASSWORD);
  const next = `${unique('new')}@example.com`;
  assert.equal(await pb.collection(people).requestEmailChange(next), true);
  const token = tokenIn((await mailsTo(next))[0]);
  assert.equal(await pb.collection(people).confirmEmailChange(token, PASSWORD), true);
  assert.equal(pb.authStore.isValid, false, 'the client forgets its own session');
  const signed = await guest().collection(people).authWithPassword(next, PASSWORD);
  assert.equal(signed.record.verified, true);
});

scenario('a one-time password signs in', async () => {
  const { people, email, record } = await somebody({ otp: { enabled: true, duration: 180, length: 6 } });
  const pb = guest();
  const [otpId, code] = await codeFor(pb, people, email);
  assert.equal(code.length, 6);
  const signed = await pb.collection(people).authWithOTP(otpId, code);
  assert.equal(signed.record.id, record.id);
  assert.equal(pb.authStore.isValid, true);
  const again = await refused(400, guest().collection(people).authWithOTP(otpId, code));
  assert.equal(again.response.message, 'Invalid or expired OTP.');
});

scenario('password and one-time password are two factors', async () => {
  const { people, email } = await somebody({ otp: { enabled: true }, mfa: { enabled: true } });
  const pb = guest();
  const waiting = await refused(401, pb.collection(people).authWithPassword(email, PASSWORD));
  assert.deepEqual(Object.keys(waiting.response), ['mfaId']);
  const [otpId, code] = await codeFor(pb, people, email);
  const { mfaId } = waiting.response;
  const signed = await pb.collection(people).authWithOTP(otpId, code, { mfaId });
  assert.equal(signed.record.email, email);
});

scenario('a sign-in from a new place is told by mail', async () => {
  const { people, email } = await somebody({ authAlert: { enabled: true } });
  const from = (agent) =>
    guest().collection(people).authWithPassword(email, PASSWORD, { headers: { 'User-Agent': agent } });
  await from('phone');
  await from('laptop');
  const [mail] = await mailsTo(email);
  assert.match(mail, /Subject: Login from a new location/);
  assert.match(mail, /laptop/);
});

scenario('a superuser tries the templates out', async () => {
  const pb = await superuser();
  const email = `${unique('trial')}@example.com`;
  assert.equal(await pb.settings.testEmail('_superusers', email, 'password-reset'), true);
  assert.match((await mailsTo(email))[0], /Reset your/);
});

await run();
