/** The keys folder and the command that fills it: what is loaded, what is refused, and what the messages say. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { calculateJwkThumbprint, type JWK } from "jose";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { registerKeysCommands } from "../../enforcer/cli/keys.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import { type KeySnapshot, loadKeys } from "../../enforcer/identity/key-store.ts";
import { OperationError } from "../../enforcer/operation-error.ts";
import { attributesOf, nowMs, puId } from "./fixtures.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "trireme-keys-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `trireme keys …` in this process. */
async function keys(argv: readonly string[], { stdin = "", atMs = nowMs } = {}): Promise<Run> {
  const run = { code: 0, stdout: "", stderr: "" };
  const program = new Command().exitOverride().configureOutput({ writeErr: (text) => (run.stderr += text) });
  registerKeysCommands(program, {
    stdin: () => Promise.resolve(Buffer.from(stdin)),
    stdout: (text) => (run.stdout += text),
    stderr: (text) => (run.stderr += text),
    setExitCode: (code) => (run.code = code),
    nowWallMs: () => atMs,
    ask: undefined,
  });
  try {
    await program.parseAsync(["keys", ...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    run.code = 2;
  }
  return run;
}

async function make(...argv: string[]): Promise<Record<string, string>> {
  const run = await keys([...argv, "--keys", folder, "--json"]);
  expect(run).toMatchObject({ code: 0, stderr: "" });
  return JSON.parse(run.stdout) as Record<string, string>;
}

interface LoadOptions {
  readonly mode?: "pki" | "psk";
  readonly node?: string;
  readonly trustDomain?: string;
  readonly atMs?: number;
}

const load = ({
  mode = "pki",
  node = "node-a",
  trustDomain = "cluster.local",
  atMs = nowMs,
}: LoadOptions = {}): Promise<KeySnapshot> =>
  loadKeys({ folder, mode, node, trustDomain, tokenLifetimeMs: 600_000, clockSkewMs: 60_000 }, atMs);

/** The error of a load that has to fail: its code, and that the message says where. */
async function refused(options: LoadOptions, where: string): Promise<OperationError> {
  const error: unknown = await load(options).then(
    () => undefined,
    (one: unknown) => one,
  );
  if (!(error instanceof OperationError)) throw new Error("was not refused");
  expect(error.message).toContain(where);
  return error;
}

async function makePki(node = "node-a", ...more: string[]): Promise<Record<string, string>> {
  if (!(await readdir(folder)).includes("ca")) await make("ca");
  return make("node", "--node", node, ...more);
}

const readJwk = async (path = ""): Promise<JWK> => JSON.parse(await readFile(path, "utf8")) as JWK;

describe("a keys folder made by the command", () => {
  it("gives a signer whose tokens the same folder trusts", async () => {
    await makePki();
    const { signer, trust } = await load();
    const own = cwtCodec
      .minter(signer)
      .mint({ puId, attributes: attributesOf("node-a", { app: ["web"] }) }, nowMs);
    expect(cwtCodec.verifier(trust).verify(1, own.bytes, own.certificates, nowMs)).toMatchObject({
      ok: true,
    });
    expect(trust.psks.size).toBe(0);
  });

  it("gives one in mode psk, which believes no certificate", async () => {
    await makePki();
    const { id } = await make("psk");
    const { signer, trust } = await load({ mode: "psk" });
    expect(signer).toMatchObject({ suite: 2, node: "node-a", psk: { id } });
    expect([...trust.psks.keys()]).toEqual([id]);
    expect(trust.authorities.size).toBe(0);
  });

  it("has files named by thumbprint, which nobody else can read", async () => {
    const ca = await make("ca");
    const files = [ca, await makePki(), await make("psk")].flatMap((made) => [
      made["privateFile"],
      made["publicFile"],
    ]);
    for (const path of [...files, join(folder, "node")].filter((one) => one !== undefined)) {
      const { mode } = await stat(path);
      expect(mode & 0o077).toBe(0);
      if (!path.endsWith(".jwk")) continue;
      expect(path).toMatch(new RegExp(`/${await calculateJwkThumbprint(await readJwk(path))}\\.jwk$`));
    }
  });

  it("has no private key among the CAs to trust", async () => {
    const { publicFile, privateFile } = await make("ca");
    expect(await readJwk(publicFile)).not.toHaveProperty("d");
    expect(await readJwk(privateFile)).toHaveProperty("d");
  });
});

describe("what is made", () => {
  it("replaces nothing without --force, and leaves no drafts", async () => {
    const { privateFile = "", certificateFile = "" } = await makePki();
    const before = await readFile(certificateFile, "utf8");
    const argv = ["node", "--keys", folder, "--node", "node-a", "--key", privateFile];
    const run = await keys(argv, { atMs: nowMs + 1000 });
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toContain("--force");
    expect(await readFile(certificateFile, "utf8")).toBe(before);
    expect(await keys([...argv, "--force"], { atMs: nowMs + 1000 })).toMatchObject({ code: 0 });
    expect(await readFile(certificateFile, "utf8")).not.toBe(before);
    expect(await readdir(join(folder, "node"))).toHaveLength(2);
  });

  it.each([
    ["an unknown pattern", ["node", "--node", "node-a", "--assert", "app=*"], "not supported"],
    ["no time", ["node", "--valid", "0h"], "24h"],
    ["a time without unit", ["node", "--valid", "3600"], "24h"],
    ["an unknown option", ["psk", "--strong"], "--strong"],
    ["an unknown command", ["certificate"], "certificate"],
    ["no CA", ["node", "--ca", "/nowhere/ca.jwk"], "/nowhere/ca.jwk"],
  ])("is refused for %s", async (name, argv, message) => {
    await make("ca");
    const run = await keys([...argv, ...(argv[0] === "certificate" ? [] : ["--keys", folder])]);
    expect(run.code).toBe(name === "no CA" ? 1 : 2);
    expect(run.stderr).toContain(message);
  });

  it("asks which CA where there are two", async () => {
    const { privateFile = "" } = await make("ca");
    await make("ca");
    expect(await keys(["node", "--keys", folder])).toMatchObject({ code: 2 });
    expect(await keys(["node", "--keys", folder, "--ca", privateFile])).toMatchObject({ code: 0 });
  });

  it("certifies for as long as it is told, from a minute ago", async () => {
    const { expires } = await makePki("node-a", "--valid", "90m");
    expect(expires).toBe("2027-01-15T09:30:00.000Z");
    await expect(load({ atMs: nowMs - 60_000 })).resolves.toBeDefined();
    await expect(load({ atMs: nowMs + 89 * 60_000 })).resolves.toBeDefined();
    await expect(load({ atMs: nowMs - 61_000 })).rejects.toThrow(OperationError);
    await expect(load({ atMs: nowMs + 90 * 60_000 })).rejects.toThrow(OperationError);
  });
});

describe("loading", () => {
  it("takes the key whose certificate ends last, and passes over those that don't fit", async () => {
    await makePki("node-a", "--valid", "1h");
    const { thumbprint: latest = "" } = await makePki("node-a", "--valid", "3h");
    await makePki("node-a", "--valid", "2h");
    await makePki("node-b", "--valid", "9h");
    const { signer } = await load();
    const jwk = signer.suite === 1 ? (signer.privateKey.export({ format: "jwk" }) as JWK) : {};
    expect(await calculateJwkThumbprint(jwk)).toBe(latest);
  });

  it("gives a new snapshot each time and leaves the old one as it was", async () => {
    await makePki();
    const before = await load();
    await make("ca");
    const after = await load();
    expect([before.trust.authorities.size, after.trust.authorities.size]).toEqual([1, 2]);
  });

  it.each(["ca", "node"])("demands the folder %s", async (name) => {
    await makePki();
    await rm(join(folder, name), { recursive: true });
    expect((await refused({}, join(folder, name))).code).toBe("not-found");
  });

  it("demands a PSK", async () => {
    expect((await refused({ mode: "psk" }, "trireme keys psk")).code).toBe("not-found");
  });

  it.each([0o640, 0o604, 0o660, 0o606])("refuses a private key of mode %o", async (mode) => {
    const { privateFile = "" } = await makePki();
    await chmod(privateFile, mode);
    expect((await refused({}, privateFile)).code).toBe("permission");
  });

  it("refuses a PSK that others can read", async () => {
    const { privateFile = "" } = await make("psk");
    await chmod(privateFile, 0o644);
    expect((await refused({ mode: "psk" }, "chmod 600")).code).toBe("permission");
  });

  it("takes a CA's public key that others can read, but none that they can write", async () => {
    const { publicFile = "" } = await make("ca");
    await makePki();
    await chmod(publicFile, 0o644);
    await expect(load()).resolves.toBeDefined();
    await chmod(publicFile, 0o664);
    expect((await refused({}, publicFile)).code).toBe("permission");
  });

  it("refuses a folder that others can write to", async () => {
    await makePki();
    await chmod(join(folder, "ca"), 0o777);
    expect((await refused({}, join(folder, "ca"))).code).toBe("permission");
  });

  it("refuses a private key among the CAs", async () => {
    const { privateFile = "", publicFile = "" } = await make("ca");
    await make("node", "--node", "node-a");
    await writeFile(publicFile, await readFile(privateFile));
    expect((await refused({}, "private")).code).toBe("keys-invalid");
  });

  it.each([
    ["31 bytes", { kty: "oct", k: Buffer.alloc(31, 1).toString("base64url") }],
    ["no key", { kty: "oct" }],
    ["another type", { kty: "RSA", n: "AQAB", e: "AQAB" }],
    ["an array", []],
  ])("refuses a PSK of %s", async (_name, jwk) => {
    await mkdir(join(folder, "psk"), { mode: 0o700 });
    await writeFile(join(folder, "psk", "x.jwk"), JSON.stringify(jwk), { mode: 0o600 });
    expect((await refused({ mode: "psk" }, "x.jwk")).code).toBe("keys-invalid");
  });

  it.each([
    ["is no JSON", () => "{"],
    ["is empty", () => ""],
    ["is of another curve", (jwk: JWK) => JSON.stringify({ ...jwk, crv: "P-384" })],
    ["is off the curve", (jwk: JWK) => JSON.stringify({ ...jwk, y: jwk.x })],
    [
      "has another key's private part",
      (jwk: JWK) => JSON.stringify({ ...jwk, d: Buffer.alloc(32, 1).toString("base64url") }),
    ],
    ["has no private part", (jwk: JWK) => JSON.stringify({ ...jwk, d: undefined })],
    ["is larger than a key", (jwk: JWK) => JSON.stringify({ ...jwk, x5c: ["x".repeat(20_000)] })],
  ])("refuses a node key that %s", async (_name, spoil) => {
    const { privateFile = "" } = await makePki();
    await writeFile(privateFile, spoil(await readJwk(privateFile)));
    await refused({}, privateFile);
  });

  it.each([
    ["another node", { node: "node-b" }, 'is for node "node-a"'],
    ["another trust domain", { trustDomain: "other.local" }, "other.local"],
    ["a time after it", { atMs: nowMs + 86_400_000 }, "2027-01-16T08:00:00.000Z"],
  ])("refuses a certificate for %s", async (_name, options, message) => {
    const { certificateFile = "" } = await makePki();
    expect((await refused(options, certificateFile)).message).toContain(message);
  });

  it("refuses a certificate of another CA, of another key, and one that is none", async () => {
    const first = await makePki();
    const second = await makePki();
    const [path = "", other = ""] = [first["certificateFile"], second["certificateFile"]];
    await rm(second["privateFile"] ?? "");
    await writeFile(path, await readFile(other));
    expect((await refused({}, path)).message).toContain("another key");
    await writeFile(path, "AAAA\n");
    expect((await refused({}, path)).message).toContain("no certificate");
    await rm(path);
    expect((await refused({}, path)).code).toBe("keys-invalid");
  });

  it("refuses two PSKs to mint with, and takes one that is accepted only beside the other", async () => {
    const { id = "" } = await make("psk");
    const { id: next = "" } = await make("psk", "--accept-only");
    const { signer, trust } = await load({ mode: "psk" });
    expect(signer).toMatchObject({ psk: { id } });
    expect([...trust.psks.keys()].sort()).toEqual([id, next].sort());
    await make("psk");
    expect((await refused({ mode: "psk" }, "key_ops")).code).toBe("keys-invalid");
  });

  it("says nothing of what is in a key", async () => {
    const { privateFile = "" } = await makePki();
    const { d = "" } = await readJwk(privateFile);
    await writeFile(privateFile, JSON.stringify({ ...(await readJwk(privateFile)), crv: "P-384" }));
    const error = await refused({}, privateFile);
    expect(JSON.stringify([error.message, String(error.cause), error.stack])).not.toContain(d);
  });
});

describe("keys inspect", () => {
  async function inspected(
    stdin: string | Uint8Array,
    ...argv: string[]
  ): Promise<Run & { json: Record<string, unknown> }> {
    const run = await keys(["inspect", "--json", ...argv], { stdin: stdin as string });
    return { ...run, json: run.stdout === "" ? {} : (JSON.parse(run.stdout) as Record<string, unknown>) };
  }

  async function makeToken(mode: "pki" | "psk"): Promise<Uint8Array> {
    const { signer } = await load({ mode });
    return cwtCodec
      .minter(signer)
      .mint({ puId, attributes: attributesOf("node-a", { tier: ["a", "b"] }) }, nowMs).bytes;
  }

  it.each(["hex", "base64url", "base64", "binary"] as const)("reads a certificate in %s", async (form) => {
    const { certificateFile = "", thumbprint, authority } = await makePki();
    const bytes = Buffer.from((await readFile(certificateFile, "utf8")).trim(), "base64url");
    const { code, json } = await inspected(
      form === "binary" ? bytes : bytes.toString(form),
      "--keys",
      folder,
    );
    expect(code).toBe(0);
    expect(json).toEqual({
      version: 1,
      kind: "certificate",
      bytes: 173,
      node: "node-a",
      trustDomain: "cluster.local",
      assert: ["*"],
      notBefore: "2027-01-15T07:59:00.000Z",
      expires: "2027-01-16T08:00:00.000Z",
      authority,
      thumbprint,
      signature: "verified",
      valid: true,
    });
  });

  it.each([
    ["verifies a token with its certificate", true, true, { signature: "verified", valid: true }, 0],
    ["misses a certificate", true, false, { valid: false, reason: "certificate-missing" }, 1],
    ["shows a token without keys", false, false, { signature: "not checked", valid: true }, 0],
  ])("%s", async (_name, withKeys, withCertificate, expected, exitCode) => {
    const { certificateFile = "" } = await makePki();
    const argv = [
      ...(withKeys ? ["--keys", folder] : []),
      ...(withCertificate ? ["--certificate", certificateFile] : []),
    ];
    const { code, json } = await inspected(Buffer.from(await makeToken("pki")).toString("hex"), ...argv);
    expect(code).toBe(exitCode);
    expect(json).toMatchObject({
      kind: "token",
      suite: 1,
      puId,
      attributes: { "@node": ["node-a"], tier: ["a", "b"] },
      ...expected,
    });
  });

  it("verifies a token under a PSK, and refuses it in another trust domain or altered", async () => {
    await make("psk");
    const token = Buffer.from(await makeToken("psk"));
    expect((await inspected(token.toString("hex"), "--keys", folder)).json).toMatchObject({
      suite: 2,
      signature: "verified",
      valid: true,
    });
    const elsewhere = await inspected(token.toString("hex"), "--trust-domain", "other.local");
    expect(elsewhere).toMatchObject({ code: 1, json: { valid: false, reason: "token-trust-domain" } });
    token[token.length - 1] = (token.at(-1) ?? 0) ^ 1;
    const altered = await inspected(token.toString("hex"), "--keys", folder);
    expect(altered).toMatchObject({ code: 1, json: { valid: false, reason: "token-signature" } });
  });

  it("says that a token has expired", async () => {
    await make("psk");
    const stdin = Buffer.from(await makeToken("psk")).toString("hex");
    const run = await keys(["inspect"], { stdin, atMs: nowMs + 3_600_000 });
    expect(run.code).toBe(1);
    expect(run.stdout).toContain("token-expired");
  });

  it("shows keys, and nothing that is secret", async () => {
    const { privateFile: psk = "" } = await make("psk");
    const { privateFile: node = "" } = await makePki();
    for (const [path, secret] of [
      [psk, (await readJwk(psk)).k],
      [node, (await readJwk(node)).d],
    ] as const) {
      const { code, stdout } = await keys(["inspect", path]);
      expect(code).toBe(0);
      expect(stdout).toContain("thumbprint");
      expect(stdout).not.toContain(secret);
    }
  });

  it.each(["", "hello", "{}", "[]", "00", '{"kty":"oct","k":"AAAA"}'])("refuses %j", async (stdin) => {
    expect(await keys(["inspect"], { stdin })).toMatchObject({ code: 1, stdout: "" });
  });

  it("refuses a file that isn't there", async () => {
    expect(await keys(["inspect", join(folder, "none")])).toMatchObject({ code: 1, stdout: "" });
  });
});
