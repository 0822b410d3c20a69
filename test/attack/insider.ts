/**
 * What an attacker may have in hand: the key of a node of its own that the cluster's CA certified, tokens under it that say whatever it
 * likes, and the arithmetic of the protocol. Nothing of the victims' secrets.
 */
import {
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hash,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { clientTag, serverTag } from "../../enforcer/handshake/proofs.ts";
import { hashSyn, hashSynAck } from "../../enforcer/handshake/transcript.ts";
import { issueCertificate } from "../../enforcer/identity/certificate.ts";
import { encodeTokenClaims } from "../../enforcer/identity/claims.ts";
import { signCose } from "../../enforcer/identity/cose.ts";
import { cwtCodec, openToken } from "../../enforcer/identity/cwt.ts";
import type { PairKeys } from "../../enforcer/identity/identity.ts";
import { importX25519, makePreSharedKey, rawX25519 } from "../../enforcer/identity/keys.ts";
import { attributesFromObject } from "../../enforcer/policy/attributes.ts";

const HOUR_S = 3600;
export const trustDomain = "cluster.local";

export interface CertificateWishes {
  readonly node?: string;
  readonly trustDomain?: string;
  readonly assert?: readonly string[];
  /** Seconds from now. */
  readonly from?: number;
  readonly until?: number;
}

export interface TokenWishes {
  readonly attributes?: Readonly<Record<string, string>>;
  readonly node?: string;
  /** Seconds from now. */
  readonly from?: number;
  readonly until?: number;
  /** Another's, raw. */
  readonly publicKey?: Uint8Array;
  readonly certificate?: Uint8Array;
}

/** A token and what goes with it. */
export interface Identity {
  readonly token: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly privateKey: KeyObject;
  readonly trustDomain: string;
}

/** The parts of a handshake that both tags cover. */
export interface Messages {
  readonly syn: Uint8Array;
  /** Whole, with whatever stands for its tag. */
  readonly synAck: Uint8Array;
}

/** A node gone bad: the CA knows it as `node-m`. */
export class Insider {
  readonly #authority: KeyObject;
  readonly #node = generateKeyPairSync("ec", { namedCurve: "P-256" });

  constructor(authority: KeyObject) {
    this.#authority = authority;
  }

  /** What the CA would sign, and what it did sign for somebody else. */
  certificate(wishes: CertificateWishes = {}): Uint8Array {
    const nowSeconds = Math.floor(Date.now() / 1000);
    return issueCertificate(
      {
        node: wishes.node ?? "node-m",
        trustDomain: wishes.trustDomain ?? trustDomain,
        publicKey: this.#node.publicKey,
        notBeforeSeconds: nowSeconds + (wishes.from ?? -HOUR_S),
        expiresSeconds: nowSeconds + (wishes.until ?? HOUR_S),
        assert: wishes.assert ?? ["*"],
      },
      this.#authority,
    );
  }

  /** A token that says whatever is wished, signed with the node's key. */
  token(wishes: TokenWishes = {}): Identity {
    const nowSeconds = Math.floor(Date.now() / 1000);
    const { publicKey, privateKey } = generateKeyPairSync("x25519");
    const payload = encodeTokenClaims({
      puId: randomBytes(8).toString("hex"),
      issuedSeconds: nowSeconds + (wishes.from ?? -1),
      expiresSeconds: nowSeconds + (wishes.until ?? 600),
      attributes: attributesFromObject({ ...wishes.attributes, "@node": wishes.node ?? "node-m" }),
      publicKey: wishes.publicKey ?? rawX25519(publicKey),
      trustDomain: undefined,
    });
    return {
      token: signCose(this.#node.privateKey, undefined, "trireme-cni token v1", payload),
      certificates: [wishes.certificate ?? this.certificate()],
      privateKey,
      trustDomain,
    };
  }
}

/** The X25519 key in a token that was seen on the wire, raw. */
export function publicKeyOf(token: Uint8Array): Uint8Array {
  const opened = openToken(1, token);
  if ("ok" in opened || opened.claims.publicKey === undefined) throw new Error("no token of suite 1");
  return opened.claims.publicKey;
}

/** The keys of two tokens, of which one is the attacker's own. */
export function agree(own: Identity, role: "client" | "server", peerToken: Uint8Array): PairKeys {
  const publicKey = importX25519(publicKeyOf(peerToken));
  if (publicKey === undefined) throw new Error("no X25519 key");
  const secret = createSecretKey(diffieHellman({ privateKey: own.privateKey, publicKey }));
  const [ownHash, peerHash] = [sha256(own.token), sha256(peerToken)];
  const isClient = role === "client";
  return deriveKeys({
    suite: 1,
    secret,
    clientTrustDomain: isClient ? own.trustDomain : trustDomain,
    serverTrustDomain: isClient ? trustDomain : own.trustDomain,
    clientTokenHash: isClient ? ownHash : peerHash,
    serverTokenHash: isClient ? peerHash : ownHash,
  });
}

export function tagS(keys: PairKeys, { syn, synAck }: Messages): Buffer {
  return serverTag(keys.kS, hashSynAck(hashSyn(syn), synAck));
}

export function tagC(keys: PairKeys, { syn, synAck }: Messages): Buffer {
  return clientTag(keys.kC, hashSynAck(hashSyn(syn), synAck), synAck.subarray(-16));
}

/** A token of suite 2, which any holder of the PSK can make. */
export function pskToken(secret: Buffer, labels: Readonly<Record<string, string>>): Uint8Array {
  const psk = makePreSharedKey(createSecretKey(secret));
  if (psk === undefined) throw new Error("too short a PSK");
  const signer = { suite: 2, trustDomain, node: "node-m", tokenLifetimeMs: 600_000, psk } as const;
  const attributes = attributesFromObject({ ...labels, "@node": "node-m" });
  return cwtCodec.minter(signer).mint({ puId: randomBytes(8).toString("hex"), attributes }, Date.now()).bytes;
}

/** The keys of a client with a token under the PSK, and a server that speaks suite 1. */
export function agreeByPsk(secret: Buffer, clientToken: Uint8Array, serverToken: Uint8Array): PairKeys {
  return deriveKeys({
    suite: 1,
    secret: createSecretKey(secret),
    clientTrustDomain: trustDomain,
    serverTrustDomain: trustDomain,
    clientTokenHash: sha256(clientToken),
    serverTokenHash: sha256(serverToken),
  });
}

const sha256 = (bytes: Uint8Array): Buffer => hash("sha256", bytes, "buffer");
