/** Several attachments in one namespace: each comes and goes without touching the others. */
import { expect, it } from "vitest";
import type { AddAnswer } from "../../enforcer/control/messages.ts";
import { findAlteration, install, ownerOf, uninstall } from "../../plugin/enforcement.ts";
import { closedInterfaces, ruleOwners } from "../../plugin/rule-owners.ts";
import { sealOf } from "../../plugin/rule-set.ts";
import { FakeNamespace } from "./fakes.ts";

const first = ownerOf({ network: "pods", containerId: "c1", ifname: "eth0" });
const second = ownerOf({ network: "storage", containerId: "c1", ifname: "net1" });
const answerFor = (puId: string): AddAnswer => ({
  puId,
  markMask: 0xfff00000,
  onLinkPrefixes6: [],
  sourceAddresses: ["10.1.0.2", "fd00::2"],
});

it("names an attachment by the first 16 digits of SHA-256(network, 0, container, 0, interface)", () => {
  expect(first.puId).toBe("39a7199053c6502e");
});

it("keeps the rules until the last attachment leaves", () => {
  const namespace = new FakeNamespace();
  for (const owner of [first, second, first]) install(namespace, owner, answerFor(owner.puId));
  expect(ruleOwners(namespace.readRules().inet)).toEqual([second, first]);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
  uninstall(namespace, first);
  expect(ruleOwners(namespace.readRules().inet)).toEqual([second]);
  uninstall(namespace, first);
  expect(ruleOwners(namespace.readRules().inet)).toEqual([second]);
  uninstall(namespace, second);
  expect(namespace.readRules().inet).toBe(undefined);
});

it("keeps the interface of one that left closed while it is there, for all that come and go beside it", () => {
  const namespace = new FakeNamespace();
  namespace.interfaces.set("net1", ["10.2.0.2"]);
  const third = ownerOf({ network: "backup", containerId: "c1", ifname: "net2" });
  const closed = (): string[] => closedInterfaces(namespace.readRules().inet);
  for (const owner of [first, second]) install(namespace, owner, answerFor(owner.puId));
  uninstall(namespace, second);
  expect(closed()).toEqual(["net1"]);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
  install(namespace, third, answerFor(third.puId));
  expect(closed()).toEqual(["net1"]);
  install(namespace, second, answerFor(second.puId));
  expect(closed()).toEqual([]);
  uninstall(namespace, second);
  namespace.interfaces.delete("net1");
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
  install(namespace, first, answerFor(first.puId));
  expect(closed()).toEqual([]);
});

it("leaves the egress rules as if the one that left had never been there", () => {
  const namespace = new FakeNamespace();
  namespace.interfaces.set("net1", ["10.2.0.2", "fd02::2", "fe80::2", "10.1.0.2"]);
  const both = ["10.1.0.2", "10.2.0.2", "fd00::2", "fd02::2"];
  install(namespace, first, answerFor(first.puId));
  const before = namespace.readRules().egress?.chains.map(({ rules }) => rules);
  install(namespace, second, { ...answerFor(second.puId), sourceAddresses: both });
  expect(namespace.readRules().egress?.chains.map(({ rules }) => rules)).not.toEqual(before);
  uninstall(namespace, second);
  expect(namespace.readRules().egress?.chains.map(({ rules }) => rules)).toEqual(before);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
});

it("undoes a second attachment to what the first one had", () => {
  const namespace = new FakeNamespace();
  install(namespace, first, answerFor(first.puId));
  const before = namespace.readRules().inet;
  install(namespace, second, answerFor(second.puId))();
  expect(namespace.readRules().inet).toEqual(before);
});

it("says what is altered, and whose rules it isn't", () => {
  const namespace = new FakeNamespace();
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe("the table is missing");
  install(namespace, first, answerFor(first.puId));
  expect(findAlteration(namespace, second, answerFor(second.puId))).toBe("the table isn't this attachment's");
  expect(findAlteration(namespace, first, { ...answerFor(first.puId), markMask: 0xfff })).not.toBe(undefined);
});

it("keeps the seal of a namespace, and makes another for each", () => {
  const [one, other] = [new FakeNamespace(), new FakeNamespace()];
  for (const namespace of [one, other]) install(namespace, first, answerFor(first.puId));
  const before = sealOf(one.readRules().inet);
  install(one, second, answerFor(second.puId));
  expect(sealOf(one.readRules().inet)).toBe(before);
  expect(sealOf(other.readRules().inet)).not.toBe(before);
});

it("does without the egress rules where the kernel has no hook for them, and only there", () => {
  const namespace = new FakeNamespace();
  namespace.isEgressKnown = false;
  install(namespace, first, answerFor(first.puId));
  expect(namespace.readRules().egress).toBe(undefined);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
  namespace.isEgressKnown = true;
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe("the egress rules are missing");
});

it("takes no offence at a link-local address that came, but at one that isn't the pod's", () => {
  const namespace = new FakeNamespace();
  const addresses = ["10.1.0.2", "fd00::2"];
  namespace.interfaces.set("eth0", [...addresses, "fe80::2"]);
  install(namespace, first, answerFor(first.puId));
  namespace.interfaces.set("eth0", [...addresses, "fe80::2", "fe80::3"]);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toBe(undefined);
  namespace.interfaces.set("eth0", [...addresses, "fe80::3"]);
  expect(findAlteration(namespace, first, answerFor(first.puId))).toContain("changedRule");
});
