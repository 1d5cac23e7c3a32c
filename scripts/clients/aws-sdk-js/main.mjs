// The AWS SDK for JavaScript, version 3. Settings come from the environment, as it reads them itself; SAMPLES, LARGE and BUCKET say
// what to store where. Each line of output is a step that is done and the bytes that were checked in it.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const Bucket = process.env.BUCKET;
const names = JSON.parse(process.env.NAMES);
const client = new s3.S3Client({ forcePathStyle: true });
let checked = 0;

process.on("uncaughtException", (error) => {
  console.error(process.env.CLIENTS_TRACE ? error : `${error.name}: ${error.message}`);
  process.exit(1);
});

const send = (command, input = {}) => client.send(new s3[`${command}Command`]({ Bucket, ...input }));
const sample = (name) => readFileSync(join(process.env.SAMPLES, name));
const digest = (data) => createHash("sha256").update(data).digest("hex");
const byBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const sourceOf = (key) => `${Bucket}/${encodeURIComponent(key)}`;

function same(got, want, what) {
  got = Buffer.from(got);
  want = Buffer.from(want);
  if (got.length !== want.length || digest(got) !== digest(want)) {
    throw new Error(`${what} came back different: ${got.length} bytes, ${want.length} were written`);
  }
  checked += want.length;
}

function equal(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: ${JSON.stringify(got).slice(0, 300)} instead of ${JSON.stringify(want).slice(0, 300)}`);
  }
}

async function refused(promise, name, what) {
  try {
    await promise;
  } catch (error) {
    if (error.name !== name) throw new Error(`${what} was refused, but with ${error.name}: ${error.message}`);
    return;
  }
  throw new Error(`${what} went through`);
}

async function read(Key, more = {}) {
  return (await send("GetObject", { Key, ...more })).Body.transformToByteArray();
}

async function each(items, work, workers = 8) {
  const queue = [...items];
  await Promise.all(Array.from({ length: workers }, async () => {
    while (queue.length) await work(queue.shift());
  }));
}

async function step(name, work) {
  console.log(JSON.stringify({ at: name }));
  const before = checked;
  await work();
  console.log(JSON.stringify({ step: name, bytes: checked - before }));
}

async function versionsOf() {
  const found = [];
  for (let page = { IsTruncated: true }; page.IsTruncated; ) {
    page = await send("ListObjectVersions", { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker });
    found.push(...(page.Versions ?? []), ...(page.DeleteMarkers ?? []));
  }
  return found;
}

const large = readFileSync(process.env.LARGE);
const version = createRequire(import.meta.url)("@aws-sdk/client-s3/package.json").version;
console.log(JSON.stringify({ version }));

await step("make bucket", () => send("CreateBucket"));
await step("put", () => each(names, (Key) => send("PutObject", { Key, Body: sample(Key) })));
await step("multipart", () =>
  new Upload({ client, params: { Bucket, Key: "large.bin", Body: createReadStream(process.env.LARGE) } }).done());
await step("list", async () => {
  const listed = [];
  for await (const page of s3.paginateListObjectsV2({ client }, { Bucket })) listed.push(...page.Contents.map((o) => o.Key));
  equal(listed, [...names, "large.bin"].sort(byBytes), "the listing");
  const folders = await send("ListObjectsV2", { Delimiter: "/" });
  equal(folders.CommonPrefixes.map((p) => p.Prefix), ["many/", "odd/"], "the common prefixes");
});
await step("get", async () => {
  await each(names, async (name) => same(await read(name), sample(name), name));
  same(await read("large.bin"), large, "large.bin");
});
await step("range", async () => {
  same(await read("large.bin", { Range: "bytes=5242870-5242970" }), large.subarray(5242870, 5242971), "a range");
  same(await read("large.bin", { Range: "bytes=-9" }), large.subarray(-9), "the last bytes");
});
await step("copy", async () => {
  await send("CopyObject", { Key: "copies/ünï code/", CopySource: sourceOf("odd/percent%41%2F.bin") });
  same(await read("copies/ünï code/"), sample("odd/percent%41%2F.bin"), "a copy");
  const { UploadId } = await send("CreateMultipartUpload", { Key: "copies/parts" });
  const Parts = [];
  for (const [at, range] of [`0-${6 * 2 ** 20 - 1}`, `${6 * 2 ** 20}-${large.length - 1}`].entries()) {
    const part = { Key: "copies/parts", UploadId, PartNumber: at + 1, CopySource: sourceOf("large.bin"), CopySourceRange: `bytes=${range}` };
    Parts.push({ PartNumber: at + 1, ...(await send("UploadPartCopy", part)).CopyPartResult });
  }
  await send("CompleteMultipartUpload", { Key: "copies/parts", UploadId, MultipartUpload: { Parts } });
  same(await read("copies/parts"), large, "a copy in parts");
});
await step("conditional put and get", async () => {
  const first = await send("PutObject", { Key: "once", Body: "1", IfNoneMatch: "*" });
  await refused(send("PutObject", { Key: "once", Body: "2", IfNoneMatch: "*" }), "PreconditionFailed", "a second put");
  await send("PutObject", { Key: "once", Body: "3", IfMatch: first.ETag });
  await refused(send("PutObject", { Key: "once", Body: "4", IfMatch: first.ETag }), "PreconditionFailed", "a put over a stale ETag");
  await refused(send("GetObject", { Key: "once", IfMatch: first.ETag }), "PreconditionFailed", "a get of what has changed");
  same(await read("once"), "3", "the winner");
});
await step("checksums", async () => {
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
    const name = `Checksum${ChecksumAlgorithm}`;
    const put = await send("PutObject", { Key: "sum", Body: sample("middle.bin"), ChecksumAlgorithm });
    const head = await send("HeadObject", { Key: "sum", ChecksumMode: "ENABLED" });
    equal(head[name], put[name], name);
    same(await read("sum", { ChecksumMode: "ENABLED" }), sample("middle.bin"), name);
  }
});
await step("presigned", async () => {
  const key = { Bucket, Key: "signed/a b+c#%?.bin" };
  const put = await getSignedUrl(client, new s3.PutObjectCommand(key), { expiresIn: 60 });
  const answer = await fetch(put, { method: "PUT", body: sample("middle.bin") });
  equal([answer.status, await answer.text()], [200, ""], "a presigned put");
  const get = await fetch(await getSignedUrl(client, new s3.GetObjectCommand(key), { expiresIn: 60 }));
  same(await get.arrayBuffer(), sample("middle.bin"), "a presigned get");
});
await step("versions", async () => {
  await send("PutBucketVersioning", { VersioningConfiguration: { Status: "Enabled" } });
  const ids = [];
  for (const Body of ["0", "1", "2"]) ids.push((await send("PutObject", { Key: "versioned", Body })).VersionId);
  await send("DeleteObject", { Key: "versioned" });
  await refused(send("GetObject", { Key: "versioned" }), "NoSuchKey", "a get of what was deleted");
  for (const [n, VersionId] of ids.entries()) same(await read("versioned", { VersionId }), `${n}`, `version ${n}`);
});
await step("delete many", async () => {
  const every = (await versionsOf()).map(({ Key, VersionId }) => ({ Key, VersionId }));
  for (let at = 0; at < every.length; at += 1000) {
    const gone = await send("DeleteObjects", { Delete: { Objects: every.slice(at, at + 1000) } });
    equal(gone.Errors ?? [], [], "errors of the delete");
  }
  equal(await versionsOf(), [], "what is left");
});
await step("remove bucket", () => send("DeleteBucket"));
