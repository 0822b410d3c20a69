import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineSplitter, MAX_LINE_BYTES } from "../../enforcer/control/lines.ts";
import {
  decodeAddAnswer,
  decodeAnswer,
  decodeCheckAnswer,
  decodeGcAnswer,
  encodeAnswer,
  encodeError,
  encodeRequest,
  type PluginRequest,
} from "../../enforcer/control/messages.ts";
import { decodePluginRequest } from "../../enforcer/control/requests.ts";
import { decodeOperatorRequest, encodeOperatorRequest } from "../../enforcer/control/operator-messages.ts";
import { addRequest } from "./fakes.ts";

const requests: readonly PluginRequest[] = [
  addRequest("c1", { pod: { namespace: "shop", name: "web-1", uid: "u", serviceAccount: "sa" } }),
  addRequest("c2", { addresses: [], attributes: {} }),
  { op: "enforce", puId: "0123456789abcdef" },
  { op: "del", network: "n", containerId: "c", ifname: "eth0" },
  { op: "check", network: "n", containerId: "c", ifname: "eth0", netnsCookie: "18446744073709551615" },
  { op: "check", network: "n", containerId: "c", ifname: "eth0" },
  { op: "gc", network: "n", attachments: [{ containerId: "c", ifname: "eth0" }] },
  { op: "status" },
  { op: "log", level: "warn", message: "m", fields: { a: 1, b: "x", c: true } },
];

describe("plugin requests", () => {
  test.each(requests.map((request) => [request.op, request] as const))(
    "%s survives encoding",
    (_, request) => {
      const line = encodeRequest(request);
      expect(line.endsWith("\n")).toBe(true);
      expect(line.indexOf("\n")).toBe(line.length - 1);
      const decoded = decodePluginRequest(line.trimEnd());
      expect(decoded.ok && JSON.parse(JSON.stringify(decoded.value))).toEqual(
        JSON.parse(JSON.stringify(request)),
      );
    },
  );

  test("every strict prefix is refused as malformed", () => {
    for (const request of requests) {
      const line = encodeRequest(request).trimEnd();
      for (let length = 0; length < line.length; length++) {
        expect(decodePluginRequest(line.slice(0, length))).toMatchObject({ ok: false, error: { code: 100 } });
      }
    }
  });

  const add = addRequest("c");
  test.each<[string, object, number]>([
    ["no version", { op: "status" }, 101],
    ["another version", { version: 2, op: "status" }, 101],
    ["no op", { version: 1 }, 100],
    ["unknown op", { version: 1, op: "shutdown" }, 100],
    ["op from the prototype", { version: 1, op: "constructor" }, 100],
    ["our own key", { version: 1, ...add, attributes: { "@ns": "kube-system" } }, 7],
    ["our own key, unknown", { version: 1, ...add, attributes: { "@": "x" } }, 7],
    ["an empty key", { version: 1, ...add, attributes: { "": "x" } }, 7],
    ["a key too long", { version: 1, ...add, attributes: { ["k".repeat(318)]: "x" } }, 7],
    ["a value too long", { version: 1, ...add, attributes: { k: "v".repeat(254) } }, 7],
    ["a value of bytes too long", { version: 1, ...add, attributes: { k: "é".repeat(127) } }, 7],
    ["a value that is a list", { version: 1, ...add, attributes: { k: ["v"] } }, 7],
    ["65 attributes", { version: 1, ...add, attributes: manyAttributes(65) }, 7],
    ["a relative path", { version: 1, ...add, netnsPath: "ns/a" }, 100],
    ["a path with NUL", { version: 1, ...add, netnsPath: "/ns/\0a" }, 100],
    ["a cookie of 65 bits", { version: 1, ...add, netnsCookie: "18446744073709551616" }, 100],
    ["a cookie that is a number", { version: 1, ...add, netnsCookie: 7 }, 100],
    ["an interface name of 16 bytes", { version: 1, ...add, ifname: "0123456789abcdef" }, 100],
    ["17 addresses", { version: 1, ...add, addresses: Array(17).fill(add.addresses[0]) }, 100],
    ["a control character", { version: 1, ...add, containerId: "a\u001bb" }, 100],
    ["gc without a list", { version: 1, op: "gc", network: "n" }, 100],
    ["gc with a bad entry", { version: 1, op: "gc", network: "n", attachments: [{ ifname: "eth0" }] }, 100],
    ["log with an object", { version: 1, op: "log", level: "info", message: "m", fields: { a: {} } }, 100],
    ["an unknown log level", { version: 1, op: "log", level: "fatal", message: "m", fields: {} }, 100],
  ])("%s is refused", (_, request, code) => {
    expect(decodePluginRequest(JSON.stringify(request))).toMatchObject({ ok: false, error: { code } });
  });

  test("64 attributes of the largest size are taken, and a label named __proto__ is a label", () => {
    const attributes = Object.fromEntries(Array.from({ length: 63 }, (_, i) => [`k${i}`, "v".repeat(253)]));
    const text = JSON.stringify({ version: 1, ...add, attributes }).replace('"k0"', '"__proto__":"x","k0"');
    const decoded = decodePluginRequest(text);
    expect(decoded.ok && decoded.value.op === "add" && Object.keys(decoded.value.attributes).length).toBe(64);
  });

  test("whatever the line, the answer is a value", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (line) => {
        expect(typeof decodePluginRequest(line).ok).toBe("boolean");
        expect(typeof decodeOperatorRequest(line).ok).toBe("boolean");
        expect(typeof decodeAnswer(line).ok).toBe("boolean");
        expect(typeof decodeGcAnswer(line).ok).toBe("boolean");
      }),
      { numRuns: 2000 },
    );
  });

  test("whatever a field is, the answer is a value", () => {
    const fields = [
      "network",
      "containerId",
      "ifname",
      "netnsPath",
      "netnsCookie",
      "addresses",
      "attributes",
      "pod",
    ];
    fc.assert(
      fc.property(fc.constantFrom(...fields), fc.jsonValue(), (field, value) => {
        const line = JSON.stringify({ version: 1, ...add, [field]: value });
        expect(typeof decodePluginRequest(line).ok).toBe("boolean");
      }),
      { numRuns: 2000 },
    );
  });
});

function manyAttributes(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, "v"]));
}

describe("answers", () => {
  const answer = {
    puId: "0123456789abcdef",
    markMask: 0xfff00000,
    onLinkPrefixes6: ["fd00::/64"],
    sourceAddresses: [],
  };

  test("survive encoding", () => {
    expect(decodeAddAnswer(encodeAnswer(answer))).toEqual({ ok: true, value: answer });
    const checked = { ...answer, enforcedSince: "2026-01-01T00:00:00.000Z" };
    expect(decodeCheckAnswer(encodeAnswer(checked))).toEqual({ ok: true, value: checked });
    const error = { code: 104, message: "m", details: "d" };
    expect(decodeAddAnswer(encodeError(error))).toEqual({ ok: false, error });
  });

  test.each([
    ["no answer", { version: 1, ok: false }],
    ["code 0", { version: 1, ok: false, error: { code: 0, message: "m" } }],
    ["a code that is text", { version: 1, ok: false, error: { code: "7", message: "m" } }],
    ["a mask that is text", { version: 1, ok: true, ...answer, markMask: "x" }],
    ["an id that is none", { version: 1, ok: true, ...answer, puId: "../../etc/passwd" }],
  ])("%s is refused", (_, line) => {
    expect(decodeAddAnswer(JSON.stringify(line))).toMatchObject({ ok: false, error: { code: 100 } });
  });
});

describe("operator requests", () => {
  test.each([
    { op: "list" },
    { op: "flows", follow: true },
    { op: "flows", follow: false, last: 5 },
    { op: "release" },
    { op: "release", puId: "0123456789abcdef" },
  ] as const)("$op survives encoding", (request) => {
    expect(decodeOperatorRequest(encodeOperatorRequest(request))).toEqual({ ok: true, value: request });
  });

  test.each([
    { op: "flows" },
    { op: "flows", follow: true, last: -1 },
    { op: "release", puId: "all" },
    { op: "x" },
  ])("%j is refused", (request) => {
    const line = JSON.stringify({ version: 1, ...request });
    expect(decodeOperatorRequest(line)).toMatchObject({ ok: false, error: { code: 100 } });
  });
});

describe("lines", () => {
  test("come out whole, however the bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string().map((text) => text.replaceAll("\n", ""))),
        fc.nat(20),
        (lines, size) => {
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
          const splitter = new LineSplitter();
          const found: string[] = [];
          for (let at = 0; at < bytes.length; at += size + 1) {
            const split = splitter.push(bytes.subarray(at, at + size + 1));
            if (split.ok) found.push(...split.lines);
          }
          expect(found).toEqual(lines.map((line) => Buffer.from(line).toString()));
          expect(splitter.pendingBytes).toBe(0);
        },
      ),
    );
  });

  test("of the longest size pass, and longer ones are refused before their end", () => {
    const longest = Buffer.alloc(MAX_LINE_BYTES, "x");
    const splitter = new LineSplitter();
    expect(splitter.push(longest)).toEqual({ ok: true, lines: [] });
    expect(splitter.push(Buffer.from("\n"))).toEqual({ ok: true, lines: [longest.toString()] });
    expect(splitter.push(longest).ok).toBe(true);
    expect(splitter.push(Buffer.from("x"))).toMatchObject({ ok: false, error: { code: 100 } });
  });
});
