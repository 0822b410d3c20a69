/** Handshake messages that are wrong, as data: cut, too long, of other versions, and with tokens and certificates that keys of this very cluster signed. */
import {
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { encodeSyn, type SynMessage } from "../../enforcer/handshake/messages.ts";
import { issueCertificate } from "../../enforcer/identity/certificate.ts";
import {
  decodeCertificateClaims,
  encodeCertificateClaims,
  encodeTokenClaims,
} from "../../enforcer/identity/claims.ts";
import { decodeCose, macCose, signCose } from "../../enforcer/identity/cose.ts";
import { readSigningKey } from "../../enforcer/identity/key-files.ts";
import { generateX25519, keyId, rawX25519 } from "../../enforcer/identity/keys.ts";
import { attributesFromObject } from "../../enforcer/policy/attributes.ts";
import type { Reason } from "../../enforcer/reason.ts";

/** A SYN's payload, and why it is refused. */
export interface BadMessage {
  readonly name: string;
  readonly payload: Buffer;
  readonly reason: Reason;
}

const NODE = "node-a";
const DOMAIN = "cluster.local";
const HOUR = 3_600;
const tokenContext = "trireme-cni token v1";
const certificateContext = "trireme-cni certificate v1";

/** Holds the CA's key, so that whatever it forges is signed as it should be. */
export class Forger {
  readonly #authority: KeyObject;
  readonly #node: KeyObject;
  readonly #nowSeconds = Math.floor(Date.now() / 1000);

  static async open(authorityFolder: string): Promise<Forger> {
    const [name = ""] = readdirSync(authorityFolder);
    const { key } = await readSigningKey(join(authorityFolder, name), "private");
    return new Forger(key);
  }

  private constructor(authority: KeyObject) {
    this.#authority = authority;
    this.#node = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  }

  certificate(changes: Partial<Parameters<typeof issueCertificate>[0]> = {}, by = this.#authority): Buffer {
    const request = {
      trustDomain: DOMAIN,
      node: NODE,
      publicKey: createPublicKey(this.#node),
      notBeforeSeconds: this.#nowSeconds - HOUR,
      expiresSeconds: this.#nowSeconds + HOUR,
      assert: ["*"],
      ...changes,
    };
    return Buffer.from(issueCertificate(request, by));
  }

  /** A certificate that `trireme keys` refuses to make. */
  #limited(assert: readonly string[]): Buffer {
    const claims = decodeCertificateClaims(claimsOf(this.certificate()));
    if (claims === undefined) throw new Error("no certificate");
    const payload = encodeCertificateClaims({ ...claims, assert });
    return Buffer.from(signCose(this.#authority, keyId(this.#authority), certificateContext, payload));
  }

  token(changes: Partial<Parameters<typeof encodeTokenClaims>[0]> = {}): Buffer {
    return Buffer.from(signCose(this.#node, undefined, tokenContext, this.#claims(changes)));
  }

  #claims(changes: Partial<Parameters<typeof encodeTokenClaims>[0]>): Uint8Array {
    return encodeTokenClaims({
      puId: randomBytes(8).toString("hex"),
      issuedSeconds: this.#nowSeconds,
      expiresSeconds: this.#nowSeconds + 600,
      attributes: attributesFromObject({ app: "client", "@node": NODE }),
      publicKey: rawX25519(generateX25519().publicKey),
      trustDomain: undefined,
      ...changes,
    });
  }

  /** A whole SYN payload; right but for what is changed. */
  syn(changes: Partial<SynMessage> = {}): Buffer {
    const into = Buffer.alloc(60_000);
    const message = {
      versionMin: 1,
      versionMax: 1,
      suites: 1,
      flags: 0,
      window: 64_240,
      nonce: randomBytes(16),
      token: this.token(),
      certificates: [this.certificate()],
      extensions: Buffer.alloc(0),
      ...changes,
    };
    return into.subarray(0, encodeSyn(message, into));
  }

  /** The message cut behind every byte; with fewer than eight it isn't one. */
  cutMessages(): BadMessage[] {
    const whole = this.syn();
    return Array.from({ length: whole.length - 1 }, (_, index) => ({
      name: `a message of ${index + 1} bytes`,
      payload: whole.subarray(0, index + 1),
      reason: index + 1 < 8 ? "token-missing" : "message-malformed",
    }));
  }

  /** The token cut behind every byte, and the certificate, in messages that are whole. */
  cutTokens(): BadMessage[] {
    const [token, certificate] = [this.token(), this.certificate()];
    const lengths = (bytes: Buffer): number[] => Array.from({ length: bytes.length - 1 }, (_, at) => at + 1);
    return [
      ...lengths(token).map((length): BadMessage => ({
        name: `a token of ${length} bytes`,
        payload: this.syn({ token: token.subarray(0, length) }),
        reason: "token-malformed",
      })),
      ...lengths(certificate).map((length): BadMessage => ({
        name: `a certificate of ${length} bytes`,
        payload: this.syn({ certificates: [certificate.subarray(0, length)] }),
        reason: "certificate-malformed",
      })),
    ];
  }

  wrongMessages(): BadMessage[] {
    const of = (name: string, reason: Reason, changes: Partial<SynMessage>): BadMessage => ({
      name,
      payload: this.syn(changes),
      reason,
    });
    const patch = (name: string, reason: Reason, at: number, byte: number): BadMessage => {
      const payload = this.syn();
      payload[at] = byte;
      return { name, payload, reason };
    };
    const extension = (hex: string): Partial<SynMessage> => ({ extensions: Buffer.from(hex, "hex") });
    return [
      patch("a SYN-ACK's message in a SYN", "message-type", 8, 2),
      patch("a message of type 3", "message-type", 8, 3),
      of("versions 2 to 3", "version-unsupported", { versionMin: 2, versionMax: 3 }),
      of("version 0", "message-malformed", { versionMin: 0 }),
      of("versions 3 to 1", "message-malformed", { versionMin: 3 }),
      of("no suite", "message-malformed", { suites: 0 }),
      of("a suite that is not ours", "suite-unsupported", { suites: 2 }),
      of("an unknown flag", "flags-unknown", { flags: 0x8000 }),
      of("an unknown critical extension", "extension-unknown", extension("80000000")),
      of("an extension that overruns", "message-malformed", extension("00090004aa")),
      of("an extension twice", "message-malformed", extension("0009000000090000")),
      of("half an extension", "message-malformed", extension("0009")),
      of("five certificates", "message-malformed", { certificates: Array<Buffer>(5).fill(Buffer.of(1)) }),
      of("an empty token", "message-malformed", { token: Buffer.alloc(0) }),
      of("an empty certificate", "message-malformed", { certificates: [Buffer.alloc(0)] }),
    ];
  }

  wrongIdentities(): BadMessage[] {
    const now = this.#nowSeconds;
    const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    const secret = createSecretKey(randomBytes(32));
    const of = (name: string, reason: Reason, changes: Partial<SynMessage>): BadMessage => ({
      name,
      payload: this.syn(changes),
      reason,
    });
    const token = (name: string, reason: Reason, changes: Parameters<Forger["token"]>[0]): BadMessage =>
      of(name, reason, { token: this.token(changes) });
    const certified = (
      name: string,
      reason: Reason,
      changes: Parameters<Forger["certificate"]>[0],
    ): BadMessage => of(name, reason, { certificates: [this.certificate(changes)] });
    return [
      of("a token under a secret", "token-algorithm", {
        token: Buffer.from(macCose(secret, "00".repeat(8), tokenContext, this.#claims({}))),
      }),
      of("a token with another signature", "token-signature", { token: flipped(this.token()) }),
      token("a token that has ended", "token-expired", {
        issuedSeconds: now - 800,
        expiresSeconds: now - 200,
      }),
      token("a token from the future", "token-not-yet-valid", {
        issuedSeconds: now + 200,
        expiresSeconds: now + 800,
      }),
      token("a token for a month", "token-lifetime", { expiresSeconds: now + 30 * 24 * HOUR }),
      token("a token that ends before it begins", "token-lifetime", { expiresSeconds: now - 1 }),
      token("a token of another node", "token-attributes", {
        attributes: attributesFromObject({ "@node": "node-z" }),
      }),
      token("a token of no node", "token-attributes", {
        attributes: attributesFromObject({ app: "client" }),
      }),
      of("a token beyond its certificate", "token-attributes", {
        certificates: [this.certificate({ assert: [`@node=${NODE}`] })],
      }),
      of("no certificate", "certificate-missing", { certificates: [] }),
      of("two certificates", "certificate-unexpected", { certificates: [Buffer.of(1), Buffer.of(2)] }),
      of("1,025 bytes of certificate", "certificate-malformed", { certificates: [Buffer.alloc(1_025, 1)] }),
      of("a certificate with another signature", "certificate-signature", {
        certificates: [flipped(this.certificate())],
      }),
      of("a certificate of another CA", "ca-unknown", { certificates: [this.certificate({}, stranger)] }),
      of("a certificate under a secret", "certificate-algorithm", {
        certificates: [
          Buffer.from(
            macCose(secret, keyId(this.#authority), certificateContext, claimsOf(this.certificate())),
          ),
        ],
      }),
      of("a certificate with a limit that nobody can check", "certificate-limits", {
        certificates: [this.#limited(["app=*"])],
      }),
      certified("a certificate that has ended", "certificate-expired", {
        notBeforeSeconds: now - 2 * HOUR,
        expiresSeconds: now - HOUR,
      }),
      certified("a certificate from the future", "certificate-not-yet-valid", {
        notBeforeSeconds: now + HOUR,
        expiresSeconds: now + 2 * HOUR,
      }),
      certified("a certificate of another trust domain", "certificate-trust-domain", {
        trustDomain: "elsewhere",
      }),
    ];
  }
}

function claimsOf(certificate: Buffer): Uint8Array {
  const object = decodeCose(certificate, certificate.length);
  if (object === undefined) throw new Error("no certificate");
  return object.payload;
}

/** Its last byte, which is one of the signature's, changed. */
function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
  return copy;
}
