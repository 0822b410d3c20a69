/** What the engine's tests share: real identities, real policy and engines made of them. Nothing here is a mock. */
import { createSecretKey, generateKeyPairSync, randomFillSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { AnsweredRoom } from "../../enforcer/handshake/answered-ring.ts";
import { deriveKeys } from "../../enforcer/handshake/key-schedule.ts";
import { defaultLimits } from "../../enforcer/handshake/environment.ts";
import type {
  EngineEnvironment,
  EngineLimits,
  ProcessingUnit,
} from "../../enforcer/handshake/environment.ts";
import { Scratch } from "../../enforcer/handshake/scratch.ts";
import { issueCertificate } from "../../enforcer/identity/certificate.ts";
import { cwtCodec } from "../../enforcer/identity/cwt.ts";
import type { OwnToken, Signer, TrustSnapshot } from "../../enforcer/identity/identity.ts";
import { keyId, makePreSharedKey } from "../../enforcer/identity/keys.ts";
import { IdentityCache } from "../../enforcer/identity/verifier.ts";
import { parseAddress } from "../../enforcer/policy/addresses.ts";
import { attributesFromObject } from "../../enforcer/policy/attributes.ts";
import type { CompiledPolicy } from "../../enforcer/policy/evaluate.ts";
import { compilePolicy } from "../../enforcer/policy/evaluate.ts";
import type { Peer, Policy, Rule } from "../../enforcer/policy/model.ts";
import { compileNetworks } from "../../enforcer/policy/networks.ts";
import type { NetworksConfig } from "../../enforcer/policy/networks.ts";

/** The wall clock at which every test begins. */
export const startWallMs = Date.parse("2026-11-22T03:00:00Z");
export const tokenLifetimeMs = 600_000;

const networks: NetworksConfig = {
  pods: ["10.1.0.0/16", "fd00:1::/48"],
  services: ["10.96.0.0/12", "fd00:96::/108"],
  unmanaged: [
    { address: "10.1.0.1/32" },
    { address: "10.96.0.1/32", ports: [{ first: 443, last: 443 }], protocol: 6 },
  ],
  translators: ["10.1.0.254/32", "192.0.2.1/32"],
  nat64: ["64:ff9b::/96"],
};

export function address(text: string): Uint8Array {
  const bytes = parseAddress(text);
  if (bytes === undefined) throw new Error(`no address: ${text}`);
  return bytes;
}

// ── Policy ──

const everyPort = undefined;

function selector(...requirements: Extract<Peer, { kind: "selector" }>["requirements"]): Peer {
  return { kind: "selector", requirements, sameAs: [] };
}

function tcpPort(port: number): Rule["ports"] {
  return [{ protocol: 6, first: port, last: port }];
}

function rule(name: string, peers: readonly Peer[], ports: Rule["ports"]): Rule {
  return { name, action: "allow", peers, ...(ports === undefined ? {} : { ports }) };
}

const outside: Peer = { kind: "address", cidr: "0.0.0.0/0", except: [] };
const app = (value: string): Peer => selector({ operator: "In", key: "app", values: [value] });

/** web may reach app at 80 and itself anywhere, app admits web; both may reach and be reached by 203.0.113.0/24 at 443, and ask 10.1.0.1 by UDP at 53. */
const policy: Policy = {
  version: 1,
  policies: [
    {
      name: "web",
      subject: [{ operator: "In", key: "app", values: ["web"] }],
      ingress: [rule("web/self", [app("web")], everyPort)],
      egress: [
        rule("web/to-app", [app("app")], tcpPort(80)),
        rule("web/to-self", [app("web")], everyPort),
        rule("web/to-closed", [app("app")], tcpPort(81)),
        rule("web/out", [{ ...outside, cidr: "203.0.113.0/24" }], tcpPort(443)),
        rule("web/api", [{ ...outside, cidr: "10.96.0.1/32" }], tcpPort(443)),
        rule("web/dns", [{ ...outside, cidr: "10.1.0.1/32" }], [{ protocol: 17, first: 53, last: 53 }]),
      ],
    },
    {
      name: "app",
      subject: [{ operator: "In", key: "app", values: ["app"] }],
      ingress: [
        rule("app/from-web", [app("web")], tcpPort(80)),
        rule("app/from-web-closed", [app("web")], tcpPort(82)),
        rule("app/node-probe", [{ ...outside, cidr: "10.1.0.1/32" }], tcpPort(80)),
      ],
      egress: [],
    },
  ],
};

// ── Identity ──

export type Mode = "psk" | "pki";

/** A trust domain: makes nodes that believe one another. */
export class Domain {
  readonly mode: Mode;
  readonly name: string;
  private readonly authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  private readonly secret: KeyObject;

  constructor(mode: Mode, name = "cluster.local", secret?: Uint8Array) {
    this.mode = mode;
    this.name = name;
    this.secret = createSecretKey(secret ?? randomFillSync(new Uint8Array(32)));
  }

  trust(): TrustSnapshot {
    const psk = this.psk();
    return {
      trustDomain: this.name,
      clockSkewMs: 60_000,
      maximumTokenLifetimeMs: 3_600_000,
      authorities: new Map([[keyId(this.authority.publicKey), this.authority.publicKey]]),
      psks: new Map([[psk.id, psk]]),
    };
  }

  signer(node: string, assert: readonly string[] = ["*"]): Signer {
    const common = { trustDomain: this.name, node, tokenLifetimeMs };
    if (this.mode === "psk") return { suite: 2, psk: this.psk(), ...common };
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const notBeforeSeconds = startWallMs / 1000 - 3600;
    const expiresSeconds = notBeforeSeconds + 86_400;
    const request = {
      trustDomain: this.name,
      node,
      publicKey,
      notBeforeSeconds,
      expiresSeconds,
      assert,
    };
    const certificate = issueCertificate(request, this.authority.privateKey);
    return { suite: 1, privateKey, certificate, certificateExpiresAtMs: expiresSeconds * 1000, ...common };
  }

  private psk(): NonNullable<ReturnType<typeof makePreSharedKey>> {
    const psk = makePreSharedKey(this.secret);
    if (psk === undefined) throw new Error("secret too short");
    return psk;
  }
}

/** One node's enforcer, as far as engines see it. */
export class TestNode {
  readonly identities: IdentityCache;
  readonly environment: EngineEnvironment;
  policy: CompiledPolicy = compilePolicy(policy);
  private readonly minter: {
    mint(subject: { puId: string; attributes: ProcessingUnit["attributes"] }, nowWallMs: number): OwnToken;
  };
  private readonly name: string;

  constructor(domain: Domain, name: string, limits: Partial<EngineLimits> = {}) {
    this.name = name;
    this.identities = new IdentityCache({ codec: cwtCodec, trust: domain.trust(), derive: deriveKeys });
    this.minter = cwtCodec.minter(domain.signer(name));
    this.environment = {
      identities: this.identities,
      networks: compileNetworks(networks),
      policy: () => this.policy,
      fillRandom: (into) => void randomFillSync(into),
      limits: { ...defaultLimits, ...limits },
      answeredRoom: new AnsweredRoom(65_536),
      scratch: new Scratch(),
    };
  }

  /** A PU whose token can be renewed. */
  unit(id: string, labels: Record<string, string>, mtu = 1500): TestUnit {
    const attributes = attributesFromObject({ ...labels, "@node": this.name });
    const subject = { puId: id.padStart(16, "0"), attributes };
    return new TestUnit(subject, mtu, (wallMs) => this.minter.mint(subject, wallMs));
  }
}

export class TestUnit implements ProcessingUnit {
  readonly id: string;
  readonly attributes: ProcessingUnit["attributes"];
  readonly mtu: number;
  current: OwnToken | undefined;
  private readonly mint: (wallMs: number) => OwnToken;

  constructor(
    subject: { puId: string; attributes: ProcessingUnit["attributes"] },
    mtu: number,
    mint: (wallMs: number) => OwnToken,
  ) {
    this.id = subject.puId;
    this.attributes = subject.attributes;
    this.mtu = mtu;
    this.mint = mint;
    this.current = mint(startWallMs);
  }

  readonly token = (): OwnToken | undefined => this.current;

  renew(wallMs: number): void {
    this.current = this.mint(wallMs);
  }
}
