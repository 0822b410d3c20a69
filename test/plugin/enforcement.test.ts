/** Several attachments in one namespace: each comes and goes without touching the others. */
import { expect, it } from "vitest";
import type { AddAnswer } from "../../enforcer/control/messages.ts";
import { findAlteration, install, ownerOf, uninstall } from "../../plugin/enforcement.ts";
import { ruleOwners, sealOf } from "../../plugin/rule-set.ts";
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
