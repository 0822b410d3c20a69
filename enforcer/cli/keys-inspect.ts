/** Owns `trireme keys inspect`: what a key, certificate or token says, and whether it holds. Source: README of enforcer/identity. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import type { JWK } from "jose";
import {
  certificateTimes,
  decodeCertificate,
  type DecodedCertificate,
  trustCertificate,
} from "../identity/certificate.ts";
import { cwtCodec, type OpenedToken, openToken } from "../identity/cwt.ts";
import type { Refusal, Suite, TrustSnapshot } from "../identity/identity.ts";
import { importSecretKey, importSigningKey, keyFolders, parseJwk } from "../identity/key-files.ts";
import { loadAuthorities, loadPreSharedKeys } from "../identity/key-store.ts";
import { importP256, keyId, makePreSharedKey, minimumPskBytes, thumbprint } from "../identity/keys.ts";
import { timesRefusal } from "../identity/refusal.ts";
import { OperationError } from "../operation-error.ts";
import { type CommandEnvironment, reporting } from "./command-environment.ts";
import { addJsonOption, type KeysReport, report, type ReportOptions } from "./keys-report.ts";

const hexForm = /^([0-9a-f]{2})+$/i;
const base64Form = /^[A-Za-z0-9_+/-]+={0,2}$/;
const clockSkewMs = 60_000;

interface InspectOptions extends ReportOptions {
  readonly keys?: string;
  readonly trustDomain?: string;
  readonly certificate?: string;
}

/** What was found; `valid` decides the exit code. `verified`: the signature was checked, and held. */
interface Findings {
  readonly document: KeysReport;
  readonly verified: boolean | undefined;
  readonly refusal: Refusal | undefined;
}

export function registerKeysInspect(keys: Command, environment: CommandEnvironment): void {
  const command = keys
    .command("inspect")
    .description("show a key (JWK), certificate or token: binary, hex or base64url, from a file or stdin")
    .argument("[file]", "what to show; - or nothing: stdin", "-");
  addJsonOption(command)
    .option("--keys <folder>", "verify with the CA keys or the pre-shared keys of this folder")
    .option("--trust-domain <name>", "demand this trust domain")
    .option("--certificate <file>", "the certificate that came with the token")
    .action((file: string, options: InspectOptions) =>
      reporting(environment, "keys inspect", () => inspect(file, options, environment)),
    );
}

async function inspect(
  file: string,
  options: InspectOptions,
  environment: CommandEnvironment,
): Promise<void> {
  const input = file === "-" ? await environment.stdin() : await readInput(file);
  const { document, verified, refusal } = await examine(input, options, environment.nowWallMs());
  const signature =
    document["kind"] === "certificate" || document["kind"] === "token" ? signatureText(verified) : undefined;
  const outcome = { valid: !refusal, reason: refusal?.reason, detail: refusal?.detail };
  report(options, environment, { ...document, signature, ...outcome });
  environment.setExitCode(refusal ? 1 : 0);
}

/** Nothing where the check failed: the reason says it. */
const signatureText = (verified: boolean | undefined): string | undefined =>
  verified === undefined ? "not checked" : verified ? "verified" : undefined;

async function examine(input: Buffer, options: InspectOptions, nowWallMs: number): Promise<Findings> {
  const jwk = parseJwk(input.toString());
  if (jwk) return { document: await describeKey(jwk), verified: undefined, refusal: undefined };
  const bytes = decodeText(input);
  const certificate = decodeCertificate(bytes);
  if (certificate) return examineCertificate(bytes, certificate, options, nowWallMs);
  for (const suite of [1, 2] as const) {
    const token = openToken(suite, bytes);
    if ("claims" in token) return examineToken(suite, bytes, token, options, nowWallMs);
  }
  const problem = `${bytes.length} bytes that are no JWK, no certificate and no token`;
  throw new OperationError("keys-invalid", "keys inspect", problem);
}

async function readInput(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new OperationError("io", "keys inspect", `${file} cannot be read: ${String(error)}`, error);
  }
}

/** Hex and base64 (either alphabet), with white space anywhere; all else is taken as it is. */
function decodeText(input: Buffer): Buffer {
  const text = input.toString("latin1").replace(/\s+/g, "");
  if (hexForm.test(text)) return Buffer.from(text, "hex");
  return base64Form.test(text) ? Buffer.from(text, "base64") : input;
}

/** Says nothing of the private part, but that it is there. */
async function describeKey(jwk: JWK): Promise<KeysReport> {
  const isSecret = jwk.kty === "oct";
  const key = isSecret ? importSecretKey(jwk, "the input") : await importSigningKey(jwk, "the input");
  if (isSecret && !makePreSharedKey(key)) {
    const problem = `the key has ${key.symmetricKeySize ?? 0} bytes; a pre-shared key has at least ${minimumPskBytes}`;
    throw new OperationError("keys-invalid", "keys inspect", problem);
  }
  return {
    kind: isSecret ? "psk" : "key",
    type: isSecret ? "pre-shared key" : "P-256",
    private: key.type !== "public",
    id: keyId(key),
    thumbprint: thumbprint(key).toString("base64url"),
    ...(isSecret && { acceptOnly: jwk.key_ops !== undefined && !jwk.key_ops.includes("sign") }),
  };
}

async function examineCertificate(
  bytes: Uint8Array,
  { claims, authorityId }: DecodedCertificate,
  options: InspectOptions,
  nowWallMs: number,
): Promise<Findings> {
  const key = importP256(claims.publicKey);
  const document = {
    kind: "certificate",
    bytes: bytes.length,
    node: claims.node,
    trustDomain: claims.trustDomain,
    assert: claims.assert,
    notBefore: time(claims.notBeforeSeconds),
    expires: time(claims.expiresSeconds),
    authority: authorityId,
    thumbprint: key && thumbprint(key).toString("base64url"),
  };
  const trust = await makeTrust(1, options, claims.trustDomain);
  const trusted = options.keys === undefined ? undefined : trustCertificate(bytes, trust);
  if (trusted && "ok" in trusted) return { document, verified: false, refusal: trusted };
  const refusal = domainRefusal(trust, claims.trustDomain) ?? certificateTimes(claims, trust, nowWallMs);
  return { document, verified: trusted && true, refusal };
}

async function examineToken(
  suite: Suite,
  bytes: Uint8Array,
  { claims, object }: OpenedToken,
  options: InspectOptions,
  nowWallMs: number,
): Promise<Findings> {
  const document = {
    kind: "token",
    bytes: bytes.length,
    suite,
    puId: claims.puId,
    attributes: Object.fromEntries(claims.attributes),
    issued: time(claims.issuedSeconds),
    expires: time(claims.expiresSeconds),
    trustDomain: claims.trustDomain,
    psk: object.keyId,
  };
  const certificates =
    options.certificate === undefined ? [] : [decodeText(await readInput(options.certificate))];
  const claimed = claims.trustDomain ?? certificateDomain(certificates[0]);
  const trust = await makeTrust(suite, options, claimed);
  if (options.keys !== undefined) {
    const result = cwtCodec.verifier(trust).verify(suite, bytes, certificates, nowWallMs);
    return { document, verified: result.ok, refusal: result.ok ? undefined : result };
  }
  const refusal = domainRefusal(trust, claimed) ?? tokenTimes(claims, nowWallMs);
  return { document, verified: undefined, refusal };
}

const certificateDomain = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && decodeCertificate(bytes)?.claims.trustDomain;

const tokenTimes = (claims: OpenedToken["claims"], nowWallMs: number): Refusal | undefined =>
  timesRefusal({
    what: "token",
    notBeforeMs: claims.issuedSeconds * 1000,
    expiresAtMs: claims.expiresSeconds * 1000,
    clockSkewMs,
    nowWallMs,
  });

function domainRefusal(trust: TrustSnapshot, claimed: string | undefined): Refusal | undefined {
  if (claimed === undefined || claimed === trust.trustDomain) return undefined;
  const detail = `the trust domain is ${JSON.stringify(claimed)}, demanded is ${JSON.stringify(trust.trustDomain)}`;
  return { ok: false, reason: "token-trust-domain", detail };
}

/** Any trust domain will do where none is demanded; any lifetime too, since the enforcer's configuration isn't known here. */
async function makeTrust(
  suite: Suite,
  { keys, trustDomain }: InspectOptions,
  claimed: string | undefined,
): Promise<TrustSnapshot> {
  const authorities =
    keys !== undefined && suite === 1 ? await loadAuthorities(join(keys, keyFolders.authorities)) : undefined;
  const psks =
    keys !== undefined && suite === 2 ? await loadPreSharedKeys(join(keys, keyFolders.psks)) : undefined;
  return {
    trustDomain: trustDomain ?? claimed ?? "",
    clockSkewMs,
    maximumTokenLifetimeMs: Number.MAX_SAFE_INTEGER,
    authorities: authorities ?? new Map<string, never>(),
    psks: psks ?? new Map<string, never>(),
  };
}

const time = (seconds: number): string => new Date(seconds * 1000).toISOString();
