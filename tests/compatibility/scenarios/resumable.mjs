// Uploads a file with a tus client and lets the official client make a record of it; prints the record.
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";

const { GROUNDPLANE_CLIENT, GROUNDPLANE_URL, GROUNDPLANE_TUS_URL, GROUNDPLANE_FILE } = process.env;
const tus = createRequire(GROUNDPLANE_CLIENT)("tus-js-client");
const { default: PocketBase } = await import(GROUNDPLANE_CLIENT);

const pb = new PocketBase(GROUNDPLANE_URL);
const email = `ann-${Date.now()}@example.com`;
await pb.collection("users").create({ email, password: "correct horse", passwordConfirm: "correct horse" });
await pb.collection("users").authWithPassword(email, "correct horse");

let retries = 0;
const url = await new Promise((resolve, reject) => {
    const upload = new tus.Upload(createReadStream(GROUNDPLANE_FILE), {
        endpoint: `${GROUNDPLANE_TUS_URL}/api/files/uploads`,
        headers: { Authorization: pb.authStore.token },
        metadata: { filename: "Big File.bin", collection: "docs", field: "file" },
        retryDelays: [0, 100, 200, 500, 500, 500, 1000, 1000, 1000, 2000, 2000, 5000, 5000, 5000],
        onShouldRetry: () => (retries += 1) < 100,
        onError: reject,
        onSuccess: () => resolve(upload.url),
    });
    upload.start();
});
const record = await pb.collection("docs").create({ file: `@upload:${url}` });
console.log(JSON.stringify({ record, retries }));
