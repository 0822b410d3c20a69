/** A small cluster for the tests of identity: one CA, two nodes, two pre-shared keys, and a clock that stands still. */
import { createSecretKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { issueCertificate } from "../../enforcer/identity/certificate.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type {
  NodeSigner,
  OwnToken,
  PreSharedKey,
  PskSigner,
  Signer,
  TrustSnapshot,
} from "../../enforcer/identity/identity.ts";
import { keyId, makePreSharedKey } from "../../enforcer/identity/keys.ts";
import type { Attributes } from "../../enforcer/policy/attributes.ts";

export const nowMs = 1_800_000_000_000;
export const nowSeconds = nowMs / 1000;
export const minuteMs = 60_000;
export const trustDomain = "cluster.local";
export const puId = "0123456789abcdef";

interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export const makeSigningKey = (): KeyPair => generateKeyPairSync("ec", { namedCurve: "P-256" });

export const authority = makeSigningKey();
export const otherAuthority = makeSigningKey();
export const nodeKeys = { "node-a": makeSigningKey(), "node-b": makeSigningKey() };
type NodeName = keyof typeof nodeKeys;

export const pskA = makePsk(0xa5);
export const pskB = makePsk(0x5b);

function makePsk(byte: number): PreSharedKey {
  const psk = makePreSharedKey(createSecretKey(Buffer.alloc(32, byte)));
  if (!psk) throw new Error("the fixture's PSK is too short");
  return psk;
}

export const trust: TrustSnapshot = {
  trustDomain,
  clockSkewMs: minuteMs,
  maximumTokenLifetimeMs: 60 * minuteMs,
  authorities: new Map([[keyId(authority.publicKey), authority.publicKey]]),
  psks: new Map([pskA, pskB].map((psk) => [psk.id, psk])),
};

interface CertificateOptions {
  readonly assert?: readonly string[];
  readonly trustDomain?: string;
  readonly by?: KeyPair;
  readonly notBeforeSeconds?: number;
  readonly expiresSeconds?: number;
  readonly key?: KeyPair;
}

export function certify(node: NodeName, options: CertificateOptions = {}): Uint8Array {
  const request = {
    trustDomain: options.trustDomain ?? trustDomain,
    node,
    publicKey: (options.key ?? nodeKeys[node]).publicKey,
    notBeforeSeconds: options.notBeforeSeconds ?? nowSeconds - 60,
    expiresSeconds: options.expiresSeconds ?? nowSeconds + 86_400,
    assert: options.assert ?? ["*"],
  };
  return issueCertificate(request, (options.by ?? authority).privateKey);
}

export function nodeSigner(node: NodeName = "node-a", certificate = certify(node)): NodeSigner {
  return {
    suite: 1,
    trustDomain,
    node,
    tokenLifetimeMs: 10 * minuteMs,
    privateKey: nodeKeys[node].privateKey,
    certificate,
    certificateExpiresAtMs: nowMs + 86_400_000,
  };
}

export function pskSigner(node: NodeName = "node-a", psk = pskA): PskSigner {
  return { suite: 2, trustDomain, node, tokenLifetimeMs: 10 * minuteMs, psk };
}

export const signerOf = (suite: 1 | 2, node: NodeName = "node-a"): Signer =>
  suite === 1 ? nodeSigner(node) : pskSigner(node);

export function attributesOf(
  node: NodeName,
  more: Readonly<Record<string, readonly string[]>> = {},
): Attributes {
  const entries: [string, readonly string[]][] = [["@node", [node]], ...Object.entries(more)];
  return new Map(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

export const web = { "@ns": ["shop"], app: ["web"], tier: ["back", "front"] };

export function mint(
  signer: Signer,
  atMs = nowMs,
  more: Readonly<Record<string, readonly string[]>> = web,
): OwnToken {
  return cwtCodec
    .minter(signer)
    .mint({ puId, attributes: attributesOf(signer.node as NodeName, more) }, atMs);
}

/** Every string that `bytes` begins with, the empty one included, itself not. */
export function* strictPrefixes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.subarray(0, length);
}

/** `bytes` with each of its bits turned in turn. */
export function* bitFlips(bytes: Uint8Array): Generator<Uint8Array> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Uint8Array.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    yield flipped;
  }
}
