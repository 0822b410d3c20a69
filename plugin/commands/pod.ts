/** Owns what ADD and CHECK have in common: the container's own namespace, and the pod's addresses in it. */
import type { AddressPrefix } from "../../enforcer/control/messages.ts";
import { parseAddress } from "../../netlink/prefix.ts";
import type { Call } from "../call.ts";
import { CniError } from "../cni-error.ts";
import type { PodNamespace } from "../pod-namespace.ts";
import type { PreviousResult } from "../previous-result.ts";
import type { PodInvocation } from "../environment.ts";

type PodCall = Call<PodInvocation>;

/** Works in the container's namespace, closed at the end. Throws a `CniError` with code 8 where it isn't one of the container's. */
export async function inNamespace<T>(
  call: PodCall,
  work: (namespace: PodNamespace) => Promise<T>,
): Promise<T> {
  const { netns, ownNetnsAllowed } = call.invocation;
  if (!ownNetnsAllowed && call.edges.isOwnNamespace(netns)) {
    throw new CniError("invalidNamespace", "plugin's netns and netns from CNI_NETNS should not be the same");
  }
  const namespace = call.edges.openNamespace(netns);
  try {
    return await work(namespace);
  } finally {
    namespace.close();
  }
}

/**
 * The pod's addresses: those that prevResult ties to the interface, all of which must be there, and of those that it ties
 * to none, the ones that are. Throws a `CniError` with code 110.
 */
export function podAddresses(
  namespace: PodNamespace,
  ifname: string,
  previous: PreviousResult,
): readonly AddressPrefix[] {
  const found = namespace.addressesOf(ifname);
  if (found === undefined)
    throw new CniError("missingInNamespace", `there is no interface ${ifname} in the namespace`);
  const isThere = ({ address }: AddressPrefix): boolean => has(found, address);
  const missing = previous.bound.find((address) => !isThere(address));
  if (missing !== undefined) {
    throw new CniError(
      "missingInNamespace",
      `${ifname} has no address ${missing.address}, which prevResult says it has`,
    );
  }
  const addresses = [...previous.bound, ...previous.unbound.filter(isThere)];
  if (addresses.length > 0) return addresses;
  throw new CniError("missingInNamespace", `${ifname} has none of prevResult's addresses`);
}

function has(addresses: readonly Uint8Array[], text: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && addresses.some((candidate) => Buffer.compare(candidate, address) === 0);
}
