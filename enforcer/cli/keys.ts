/** Owns `trireme keys`: makes CAs, node keys with their certificates and pre-shared keys. Source: README of enforcer/identity. */
import { createPublicKey, createSecretKey, KeyObject, randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { generateKeyPair } from "jose";
import { issueCertificate } from "../identity/certificate.ts";
import {
  keyFolders,
  keyPath,
  listFolder,
  readSigningKey,
  writeCertificate,
  writeKey,
} from "../identity/key-files.ts";
import { keyId, minimumPskBytes, thumbprint } from "../identity/keys.ts";
import { OperationError } from "../operation-error.ts";
import { registerKeysInspect } from "./keys-inspect.ts";
import { type CommandEnvironment, reporting } from "./command-environment.ts";
import { parseDuration } from "./duration.ts";
import { addJsonOption, report, type ReportOptions } from "./keys-report.ts";
import { defaultPaths } from "./locations.ts";

/** A certificate is valid from a little before it is made, for clocks that are behind. */
const backdateSeconds = 60;

interface MakeOptions extends ReportOptions {
  readonly keys: string;
  readonly force?: true;
}

interface NodeOptions extends MakeOptions {
  readonly node: string;
  readonly trustDomain: string;
  readonly ca?: string;
  readonly key?: string;
  readonly valid: number;
  readonly assert: readonly string[];
}

/** Adds `keys ca`, `keys node`, `keys psk` and `keys inspect` to the operator's command. */
export function registerKeysCommands(program: Command, environment: CommandEnvironment): void {
  const keys = program.command("keys").description("make and inspect keys, certificates and tokens");
  registerAuthority(keys, environment);
  registerNode(keys, environment);
  registerPsk(keys, environment);
  registerKeysInspect(keys, environment);
}

function registerAuthority(keys: Command, environment: CommandEnvironment): void {
  const command = keys
    .command("ca")
    .description("make a cluster CA: a private key, and its public half to trust");
  addMakeOptions(command)
    .option("--private <folder>", "where the private key goes (default: KEYS/ca-private)")
    .action((options: MakeOptions & { private?: string }) =>
      reporting(environment, "keys ca", () => makeAuthority(options, environment)),
    );
}

function registerNode(keys: Command, environment: CommandEnvironment): void {
  const command = keys.command("node").description("make a node's key and its certificate");
  addMakeOptions(command)
    .option("--node <name>", "the node's name, @node in its tokens", hostname())
    .option("--trust-domain <name>", "the cluster's trust domain", "cluster.local")
    .option("--ca <file>", "the CA's private key (default: the one in KEYS/ca-private)")
    .option("--key <file>", "certify this private key instead of a new one")
    .option("--valid <time>", "how long the certificate is valid: 90m, 24h, 30d", parseValidity, 86_400)
    .option("--assert <pattern...>", 'what its tokens may say: "*" or "@node=NODE"', ["*"])
    .action((options: NodeOptions) =>
      reporting(environment, "keys node", () => makeNode(options, environment)),
    );
}

function registerPsk(keys: Command, environment: CommandEnvironment): void {
  const command = keys.command("psk").description("make a pre-shared key");
  addMakeOptions(command)
    .option("--accept-only", "accept tokens under it, mint with another (while keys are replaced)")
    .action((options: MakeOptions & { acceptOnly?: true }) =>
      reporting(environment, "keys psk", () => makePsk(options, environment)),
    );
}

function addMakeOptions(command: Command): Command {
  return addJsonOption(command)
    .option("--keys <folder>", "the keys folder", defaultPaths.keys)
    .option("--force", "replace files that are there");
}

async function makeAuthority(
  options: MakeOptions & { private?: string },
  environment: CommandEnvironment,
): Promise<void> {
  const { privateKey, publicKey } = await generateSigningKey();
  const force = options.force === true;
  const folder = options.private ?? join(options.keys, keyFolders.authorityPrivate);
  const privateFile = await writeKey(folder, privateKey, { force });
  const publicFile = await writeKey(join(options.keys, keyFolders.authorities), publicKey, { force });
  report(options, environment, {
    kind: "ca",
    id: keyId(publicKey),
    thumbprint: thumbprint(publicKey).toString("base64url"),
    privateFile,
    publicFile,
  });
}

async function makeNode(options: NodeOptions, environment: CommandEnvironment): Promise<void> {
  const force = options.force === true;
  const folder = join(options.keys, keyFolders.node);
  const authorityKey = await findAuthority(options);
  const nodeKey = options.key === undefined ? undefined : (await readSigningKey(options.key, "private")).key;
  const privateKey = nodeKey ?? (await generateSigningKey()).privateKey;
  const nowSeconds = Math.floor(environment.nowWallMs() / 1000);
  const expiresSeconds = nowSeconds + options.valid;
  const certificate = issueCertificate(
    {
      trustDomain: options.trustDomain,
      node: options.node,
      publicKey: createPublicKey(privateKey),
      notBeforeSeconds: nowSeconds - backdateSeconds,
      expiresSeconds,
      assert: options.assert,
    },
    authorityKey,
  );
  const privateFile = keyPath(folder, privateKey);
  if (options.key !== privateFile) await writeKey(folder, privateKey, { force });
  const certificateFile = await writeCertificate(folder, privateKey, certificate, { force });
  report(options, environment, {
    kind: "node",
    node: options.node,
    trustDomain: options.trustDomain,
    thumbprint: thumbprint(privateKey).toString("base64url"),
    privateFile,
    certificateFile,
    authority: keyId(authorityKey),
    assert: options.assert,
    expires: new Date(expiresSeconds * 1000).toISOString(),
  });
}

async function findAuthority(options: NodeOptions): Promise<KeyObject> {
  if (options.ca !== undefined) return (await readSigningKey(options.ca, "private")).key;
  const folder = join(options.keys, keyFolders.authorityPrivate);
  const [path, ...more] = await listFolder(folder, ".jwk");
  if (path === undefined || more.length > 0) {
    const what = path === undefined ? "no private CA key" : `${more.length + 1} private CA keys`;
    throw new OperationError("usage", "keys node", `${folder} has ${what}; name one with --ca FILE`);
  }
  return (await readSigningKey(path, "private")).key;
}

async function makePsk(
  options: MakeOptions & { acceptOnly?: true },
  environment: CommandEnvironment,
): Promise<void> {
  const key = createSecretKey(randomBytes(minimumPskBytes));
  const acceptOnly = options.acceptOnly === true;
  const file = await writeKey(join(options.keys, keyFolders.psks), key, {
    force: options.force === true,
    extra: { key_ops: acceptOnly ? ["verify"] : ["sign", "verify"] },
  });
  report(options, environment, {
    kind: "psk",
    id: keyId(key),
    thumbprint: thumbprint(key).toString("base64url"),
    privateFile: file,
    acceptOnly,
  });
}

async function generateSigningKey(): Promise<{ privateKey: KeyObject; publicKey: KeyObject }> {
  const pair = await generateKeyPair("ES256", { extractable: true });
  return { privateKey: KeyObject.from(pair.privateKey), publicKey: KeyObject.from(pair.publicKey) };
}

function parseValidity(text: string): number {
  const seconds = parseDuration(text) ?? 0;
  if (seconds === 0) throw new InvalidArgumentError("write a number and s, m, h or d, as 24h.");
  return seconds;
}
