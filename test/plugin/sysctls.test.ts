/** Settings of the pod's namespace: what they become, and that a failure leaves them as they were. */
import { expect, it } from "vitest";
import { applySettings, settings } from "../../plugin/sysctls.ts";
import { FakeNamespace } from "./fakes.ts";

const timeouts = "net/netfilter/nf_conntrack_tcp_timeout_";

/** Before and after. */
const cases: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  [`${timeouts}time_wait`]: [
    ["120", "10"],
    ["10", "10"],
    ["1", "1"],
  ],
  [`${timeouts}close_wait`]: [
    ["60", "3600"],
    ["7200", "7200"],
  ],
  [`${timeouts}fin_wait`]: [
    ["120", "3600"],
    ["3601", "3601"],
  ],
  [`${timeouts}unacknowledged`]: [
    ["300", "1000"],
    ["2000", "2000"],
  ],
  [`${timeouts}max_retrans`]: [
    ["300", "1000"],
    ["1000", "1000"],
  ],
  "net/ipv4/tcp_fastopen": [
    ["1", "1"],
    ["512", "0"],
    ["1539", "1027"],
  ],
};

it("covers every setting", () =>
  expect(settings.map(({ path }) => path).toSorted()).toEqual(Object.keys(cases).toSorted()));

it.each(
  Object.entries(cases).flatMap(([path, pairs]) =>
    pairs.map(([before, after]) => [path, before, after] as const),
  ),
)("%s from %s to %s", (path, before, after) => {
  const namespace = new FakeNamespace();
  namespace.sysctls.set(path, before);
  const undo = applySettings(namespace);
  expect(namespace.readSysctl(path)).toBe(after);
  undo();
  expect(namespace.readSysctl(path)).toBe(before);
});

it("undoes what it changed when one can't be written", () => {
  const namespace = new FakeNamespace();
  for (const { path } of settings) namespace.sysctls.set(path, "60");
  const write = namespace.writeSysctl.bind(namespace);
  namespace.writeSysctl = (path, value) => {
    if (path.endsWith("unacknowledged") && value === "1000") throw new Error("read-only");
    write(path, value);
  };
  expect(() => applySettings(namespace)).toThrow("read-only");
  for (const { path } of settings) expect(namespace.readSysctl(path)).toBe("60");
});
