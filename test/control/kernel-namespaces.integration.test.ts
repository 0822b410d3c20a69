/** What the enforcer reads of a pod's interface when the pod is added. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { kernelNamespaces } from "../../enforcer/control/kernel-namespaces.ts";
import { execOk, Lab, namespacePath } from "../harness/lab.ts";

const lab = new Lab();
let pod = "";

beforeAll(async () => {
  pod = await lab.addNamespace("pod");
  const node = await lab.addNamespace("node");
  await lab.addVeth({ namespace: pod, name: "eth0" }, { namespace: node, name: "veth0" });
  await execOk(pod, ["ip", "address", "add", "10.1.0.2/24", "dev", "eth0"]);
});
afterAll(() => lab.close());

function mtu(): number | undefined {
  const namespaces = kernelNamespaces();
  const fd = namespaces.open(namespacePath(pod));
  try {
    return namespaces.inspect(fd, "eth0")?.mtu;
  } finally {
    namespaces.close(fd);
  }
}

test.each([
  ["the interface's, without a route that says otherwise", "default via 10.1.0.1", 1500],
  ["a route's that is smaller", "default via 10.1.0.1 mtu 1300", 1300],
  ["locked or not", "default via 10.1.0.1 mtu lock 1290", 1290],
  ["and never larger than the interface's", "default via 10.1.0.1 mtu 9000", 1500],
])("the MTU is %s", async (_, route, expected) => {
  await execOk(pod, ["ip", "route", "replace", ...route.split(" ")]);
  expect(mtu()).toBe(expected);
});

test("routes of other interfaces don't count", async () => {
  await execOk(pod, ["ip", "route", "replace", "default", "via", "10.1.0.1"]);
  await execOk(pod, ["ip", "route", "add", "203.0.113.0/24", "dev", "lo", "mtu", "600"]);
  expect(mtu()).toBe(1500);
});
