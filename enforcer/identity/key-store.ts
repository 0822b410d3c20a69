/** Owns what an enforcer loads from its keys folder: whom it trusts and what it mints with, as one immutable snapshot. Source: README.md of this folder. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { OperationError } from "../operation-error.ts";
import { certificateTimes, type TrustedCertificate, trustCertificate } from "./certificate.ts";
import type { NodeSigner, PreSharedKey, Signer, TrustSnapshot } from "./identity.ts";
import {
  failure,
  type KeyFile,
  keyFolders,
  keyPath,
  listFolder,
  readCertificate,
  readSecretKey,
  readSigningKey,
} from "./key-files.ts";
import { compressP256, keyId, makePreSharedKey, minimumPskBytes } from "./keys.ts";

/** Peers may be configured with another lifetime than we are; up to this one, or ours if that is longer, is accepted. */
const commonTokenLifetimeMs = 3_600_000;

export interface KeyStoreOptions {
  readonly folder: string;
  readonly mode: "pki" | "psk";
  readonly trustDomain: string;
  readonly node: string;
  readonly tokenLifetimeMs: number;
  readonly clockSkewMs: number;
}

/** The keys of one mode; those of the other are not even read. */
export interface KeySnapshot {
  readonly trust: TrustSnapshot;
  readonly signer: Signer;
}

/**
 * Reads the keys folder: at start, and again on SIGHUP. Throws `OperationError` (what, where, remedy) and changes nothing, so that a
 * reload that fails leaves the snapshot in force that there was.
 */
export async function loadKeys(options: KeyStoreOptions, nowWallMs: number): Promise<KeySnapshot> {
  return options.mode === "pki" ? loadPki(options, nowWallMs) : loadPsk(options);
}

async function loadPki(options: KeyStoreOptions, nowWallMs: number): Promise<KeySnapshot> {
  const authorities = await loadAuthorities(join(options.folder, keyFolders.authorities));
  const trust = makeTrust(options, { authorities });
  return { trust, signer: await loadSigner(options, trust, nowWallMs) };
}

async function loadPsk(options: KeyStoreOptions): Promise<KeySnapshot> {
  const folder = join(options.folder, keyFolders.psks);
  const loaded = await Promise.all((await listFolder(folder, ".jwk")).map(loadPreSharedKey));
  const minting = loaded.filter(({ mayMint }) => mayMint);
  const [first] = minting;
  if (!first) throw failure("not-found", folder, "has no pre-shared key to mint with; run: trireme keys psk");
  if (minting.length > 1) {
    const problem = `has ${minting.length} pre-shared keys to mint with; leave one, or give the others "key_ops": ["verify"]`;
    throw failure("keys-invalid", folder, problem);
  }
  const psks = new Map(loaded.map(({ psk }) => [psk.id, psk]));
  const { trustDomain, node, tokenLifetimeMs } = options;
  return {
    trust: makeTrust(options, { psks }),
    signer: { suite: 2, trustDomain, node, tokenLifetimeMs, psk: first.psk },
  };
}

function makeTrust(
  options: KeyStoreOptions,
  keys: Partial<Pick<TrustSnapshot, "authorities" | "psks">>,
): TrustSnapshot {
  return {
    trustDomain: options.trustDomain,
    clockSkewMs: options.clockSkewMs,
    maximumTokenLifetimeMs: Math.max(commonTokenLifetimeMs, options.tokenLifetimeMs),
    authorities: keys.authorities ?? new Map<string, KeyObject>(),
    psks: keys.psks ?? new Map<string, PreSharedKey>(),
  };
}

/** Every CA key of a folder, by id. */
export async function loadAuthorities(folder: string): Promise<ReadonlyMap<string, KeyObject>> {
  const paths = await listFolder(folder, ".jwk");
  if (paths.length === 0) {
    throw failure("not-found", folder, "has no CA key; run: trireme keys ca, or copy the cluster's there");
  }
  const files = await Promise.all(paths.map((path) => readSigningKey(path, "public")));
  return new Map(files.map(({ key }) => [keyId(key), key]));
}

/** Every pre-shared key of a folder, by id. */
export async function loadPreSharedKeys(folder: string): Promise<ReadonlyMap<string, PreSharedKey>> {
  const paths = await listFolder(folder, ".jwk");
  const loaded = await Promise.all(paths.map(loadPreSharedKey));
  return new Map(loaded.map(({ psk }) => [psk.id, psk]));
}

/** A key with `"key_ops": ["verify"]` is accepted and not used: so a PSK reaches all nodes before any of them mints with it. */
async function loadPreSharedKey(path: string): Promise<{ psk: PreSharedKey; mayMint: boolean }> {
  const { key, jwk } = await readSecretKey(path);
  const psk = makePreSharedKey(key);
  if (!psk) {
    const problem = `has ${key.symmetricKeySize ?? 0} bytes; a pre-shared key has at least ${minimumPskBytes}, all random`;
    throw failure("keys-invalid", path, problem);
  }
  return { psk, mayMint: jwk.key_ops === undefined || jwk.key_ops.includes("sign") };
}

/** The node key whose certificate is valid now and ends last. */
async function loadSigner(
  options: KeyStoreOptions,
  trust: TrustSnapshot,
  nowWallMs: number,
): Promise<NodeSigner> {
  const folder = join(options.folder, keyFolders.node);
  const paths = await listFolder(folder, ".jwk");
  if (paths.length === 0) throw failure("not-found", folder, "has no node key; run: trireme keys node");
  const files = await Promise.all(paths.map((path) => readSigningKey(path, "private")));
  const tried = await Promise.all(files.map((file) => signerOf(file, options, trust, nowWallMs)));
  const signers = tried.filter((one): one is NodeSigner => "suite" in one);
  const [latest] = signers.sort((a, b) => b.certificateExpiresAtMs - a.certificateExpiresAtMs);
  if (latest) return latest;
  const problems = tried.map((one) => ("message" in one ? one.message : "")).join("; ");
  throw failure("keys-invalid", folder, `has no key with a usable certificate: ${problems}`);
}

async function signerOf(
  { key }: KeyFile,
  options: KeyStoreOptions,
  trust: TrustSnapshot,
  nowWallMs: number,
): Promise<NodeSigner | OperationError> {
  const certificatePath = keyPath(join(options.folder, keyFolders.node), key, ".cert");
  const certificate = await readCertificate(certificatePath).catch((error: unknown) => {
    if (error instanceof OperationError) return error;
    throw error;
  });
  if (certificate instanceof OperationError) return certificate;
  const trusted = trustCertificate(certificate, trust);
  if ("ok" in trusted) return failure("keys-invalid", certificatePath, `is refused: ${trusted.detail}`);
  const problem = ownProblem(trusted, key, options.node);
  if (problem !== undefined) return failure("keys-invalid", certificatePath, problem);
  const refusal = certificateTimes(trusted.claims, { ...trust, clockSkewMs: 0 }, nowWallMs);
  if (refusal) return failure("keys-invalid", certificatePath, `is refused: ${refusal.detail}`);
  const { trustDomain, node, tokenLifetimeMs } = options;
  const certificateExpiresAtMs = trusted.claims.expiresSeconds * 1000;
  const privateKey = key;
  return { suite: 1, trustDomain, node, tokenLifetimeMs, privateKey, certificate, certificateExpiresAtMs };
}

function ownProblem({ claims }: TrustedCertificate, key: KeyObject, node: string): string | undefined {
  if (claims.node !== node) {
    return `is for node ${JSON.stringify(claims.node)}, this one is ${JSON.stringify(node)}; run: trireme keys node --node ${node}`;
  }
  const own = compressP256(createPublicKey(key));
  return Buffer.compare(own, claims.publicKey) === 0 ? undefined : "is the certificate of another key";
}
