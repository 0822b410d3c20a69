/** Owns keys on disk: JWK files named by their RFC 7638 thumbprint, certificates as base64url text, their permissions. Source: RFC 7517; README.md of this folder. */
import { createSecretKey, KeyObject, randomBytes, sign, verify } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exportJWK, importJWK, type JWK } from "jose";
import { type OperationCode, OperationError } from "../operation-error.ts";
import { thumbprint } from "./keys.ts";

/** Folders inside the keys folder. */
export const keyFolders = {
  /** Public keys of trusted CAs. */
  authorities: "ca",
  /** Private keys of CAs: on the operator's machine, never needed by an enforcer. */
  authorityPrivate: "ca-private",
  /** The node's private keys and, under the same name, their certificates. */
  node: "node",
  psks: "psk",
} as const;

/** A file of keys or certificates is never larger. */
const maximumFileBytes = 16_384;
const base64UrlForm = /^[A-Za-z0-9_-]+$/;

/** Whether others may read a file. Private ones are refused if they can. */
type Secrecy = "private" | "public";

/** A key as it was found. */
export interface KeyFile {
  readonly path: string;
  readonly jwk: JWK;
  readonly key: KeyObject;
}

/** `<folder>/<thumbprint><extension>`. */
export function keyPath(folder: string, key: KeyObject, extension: ".jwk" | ".cert" = ".jwk"): string {
  return join(folder, `${thumbprint(key).toString("base64url")}${extension}`);
}

/** Files with this extension, sorted; none if the folder isn't there. Refuses a folder that others can write to. */
export async function listFolder(folder: string, extension: ".jwk" | ".cert"): Promise<string[]> {
  const found = await stat(folder).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return undefined;
    throw failure("io", folder, "cannot be read", error);
  });
  if (!found) return [];
  refuseWritable(folder, found);
  const names = await readdir(folder).catch((error: unknown) => {
    throw failure("io", folder, "cannot be read: it has to be a folder", error);
  });
  const wanted = names.filter((name) => name.endsWith(extension) && !name.startsWith("."));
  return wanted.sort().map((name) => join(folder, name));
}

/** Reads a whole small file. Permissions are those of the file that was opened, whatever the path names a moment later. */
async function readKeyMaterial(path: string, secrecy: Secrecy): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    const code = isCode(error, "ENOENT") ? "not-found" : "io";
    throw failure(code, path, "cannot be opened", error);
  });
  try {
    return await readChecked(file, path, secrecy);
  } finally {
    await file.close();
  }
}

async function readChecked(file: FileHandle, path: string, secrecy: Secrecy): Promise<Buffer> {
  const found = await file.stat();
  if (!found.isFile()) throw failure("keys-invalid", path, "is not a regular file");
  if (found.size > maximumFileBytes) {
    throw failure("limit", path, `has ${found.size} bytes; the limit is ${maximumFileBytes}`);
  }
  refuseWritable(path, found);
  if (secrecy === "private" && (found.mode & 0o077) !== 0) {
    throw failure("permission", path, `can be read by others (mode ${octal(found)}); run: chmod 600 ${path}`);
  }
  return file.readFile();
}

function refuseWritable(path: string, found: Stats): void {
  if ((found.mode & 0o022) !== 0) {
    throw failure(
      "permission",
      path,
      `can be written by others (mode ${octal(found)}); run: chmod go-w ${path}`,
    );
  }
  const trusted = [0, process.geteuid?.()];
  if (!trusted.includes(found.uid)) {
    throw failure("permission", path, `belongs to user ${found.uid}; run: chown root ${path}`);
  }
}

const octal = ({ mode }: Stats): string => (mode & 0o777).toString(8).padStart(4, "0");

/** A P-256 key. `private` demands one with `d`, `public` one without, so that no private key lies where it isn't guarded. */
export async function readSigningKey(path: string, secrecy: Secrecy): Promise<KeyFile> {
  const jwk = await readJwk(path, secrecy);
  const key = await importSigningKey(jwk, path);
  if (secrecy === "public" && key.type === "private") {
    throw failure("keys-invalid", path, "is a private key; only its public half may lie here");
  }
  if (secrecy === "private" && key.type !== "private") {
    throw failure("keys-invalid", path, "is a public key; the private one is needed");
  }
  return { path, jwk, key };
}

/** From JWK, private or public. `where` names it in errors. */
export async function importSigningKey(jwk: JWK, where: string): Promise<KeyObject> {
  if (jwk.kty !== "EC" || jwk.crv !== "P-256") {
    throw failure("keys-invalid", where, 'is no P-256 key ("kty": "EC", "crv": "P-256")');
  }
  try {
    const imported = await importJWK<JWK & { kty: "EC" }>({ ...jwk, kty: "EC" }, "ES256", {
      extractable: true,
    });
    const key = KeyObject.from(imported);
    if (key.type === "public" || signsForItself(key, await publicHalf(jwk))) return key;
  } catch (error) {
    throw failure("keys-invalid", where, "is no valid P-256 key", error);
  }
  throw failure("keys-invalid", where, "has a private and a public part that do not belong together");
}

async function publicHalf({ crv, x, y }: JWK): Promise<KeyObject> {
  const half = { kty: "EC", crv, x, y } as JWK & { kty: "EC" };
  return KeyObject.from(await importJWK(half, "ES256", { extractable: true }));
}

function signsForItself(privateKey: KeyObject, publicKey: KeyObject): boolean {
  const message = randomBytes(16);
  return verify("sha256", message, publicKey, sign("sha256", message, privateKey));
}

/** A symmetric key of any length. */
export async function readSecretKey(path: string): Promise<KeyFile> {
  const jwk = await readJwk(path, "private");
  return { path, jwk, key: importSecretKey(jwk, path) };
}

export function importSecretKey(jwk: JWK, where: string): KeyObject {
  if (jwk.kty !== "oct" || typeof jwk.k !== "string" || !base64UrlForm.test(jwk.k)) {
    throw failure("keys-invalid", where, 'is no symmetric key ("kty": "oct" with "k" in base64url)');
  }
  return createSecretKey(Buffer.from(jwk.k, "base64url"));
}

async function readJwk(path: string, secrecy: Secrecy): Promise<JWK> {
  const text = (await readKeyMaterial(path, secrecy)).toString();
  return parseJwk(text) ?? Promise.reject(failure("keys-invalid", path, "is no JWK (a JSON object)"));
}

/** Undefined if the text isn't a JSON object. */
export function parseJwk(text: string): JWK | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Certificates lie on disk as one line of base64url. Nothing of it is verified here. */
export async function readCertificate(path: string): Promise<Uint8Array> {
  const text = (await readKeyMaterial(path, "public")).toString().trim();
  if (!base64UrlForm.test(text)) {
    throw failure("keys-invalid", path, "is no certificate (one line of base64url)");
  }
  return new Uint8Array(Buffer.from(text, "base64url"));
}

interface WriteOptions {
  /** Replace what is there. */
  readonly force: boolean;
}

/** Writes a key as JWK under its thumbprint's name, with `extra` members; gives the path. */
export async function writeKey(
  folder: string,
  key: KeyObject,
  options: WriteOptions & { readonly extra?: Readonly<JWK> },
): Promise<string> {
  const path = keyPath(folder, key);
  const jwk = { ...(await exportJWK(key)), ...options.extra };
  await writeFresh(path, `${JSON.stringify(jwk, undefined, 2)}\n`, options);
  return path;
}

/** Writes the certificate of `key` beside it; gives the path. */
export async function writeCertificate(
  folder: string,
  key: KeyObject,
  certificate: Uint8Array,
  options: WriteOptions,
): Promise<string> {
  const path = keyPath(folder, key, ".cert");
  await writeFresh(path, `${Buffer.from(certificate).toString("base64url")}\n`, options);
  return path;
}

/** The whole file with mode 0600, or nothing: also if we die in between. */
async function writeFresh(path: string, text: string, { force }: WriteOptions): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeDurably(draft, text);
    await (force ? rename(draft, path) : link(draft, path));
  } catch (error) {
    if (isCode(error, "EEXIST")) {
      throw failure("already-exists", path, "is there already; --force replaces it", error);
    }
    throw failure("io", path, "cannot be written", error);
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Every message is `<path> <what is wrong, and what to do>`. */
export function failure(code: OperationCode, path: string, problem: string, cause?: unknown): OperationError {
  const why = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  return new OperationError(code, "keys", `${path} ${problem}${why}`, cause);
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;
