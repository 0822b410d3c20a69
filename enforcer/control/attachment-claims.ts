/** Owns the checks of what an ADD claims about its namespace, before any identity is bound to it. */
import { parseAddress } from "../../netlink/prefix.ts";
import { errorText } from "../operation-error.ts";
import type { AddRequest, ControlError, ControlErrorCode, Decoded } from "./messages.ts";
import type { Namespaces, PodInterface } from "./namespaces.ts";

/** A namespace that is what the request says. Whoever gets it owns the descriptor. */
export interface CheckedNamespace {
  readonly netnsFd: number;
  readonly podInterface: PodInterface;
}

/**
 * Opens the namespace of a request and checks it: another one than ours, of the cookie claimed, with the interface named,
 * which holds at least one of the addresses claimed. Else nothing stays open.
 */
export function openClaimed(namespaces: Namespaces, request: AddRequest): Decoded<CheckedNamespace> {
  let netnsFd: number;
  try {
    netnsFd = namespaces.open(request.netnsPath);
  } catch (error) {
    return refuse(104, `${request.netnsPath} is not a network namespace (${errorText(error)})`);
  }
  const checked = checkOpen(namespaces, request, netnsFd);
  if (!checked.ok) namespaces.close(netnsFd);
  return checked;
}

function checkOpen(namespaces: Namespaces, request: AddRequest, netnsFd: number): Decoded<CheckedNamespace> {
  try {
    if (namespaces.isOwn(netnsFd))
      return refuse(8, `${request.netnsPath} is the host's own network namespace`);
    const cookie = namespaces.cookie(netnsFd);
    if (cookie !== request.netnsCookie) {
      return refuse(104, `${request.netnsPath} is namespace ${cookie} here, not ${request.netnsCookie}`);
    }
    const podInterface = namespaces.inspect(netnsFd, request.ifname);
    if (podInterface === undefined)
      return refuse(104, `${request.netnsPath} has no interface ${request.ifname}`);
    const problem = addressProblem(request, podInterface);
    return problem === undefined
      ? { ok: true, value: { netnsFd, podInterface } }
      : { ok: false, error: problem };
  } catch (error) {
    return refuse(105, `cannot look into ${request.netnsPath}: ${errorText(error)}`);
  }
}

function addressProblem(request: AddRequest, { addresses: held }: PodInterface): ControlError | undefined {
  const claimed = request.addresses.map(({ address }) => parseAddress(address));
  if (claimed.includes(undefined)) return { code: 100, message: "an address claimed is not an address" };
  const holds = claimed.some((address) => address && held.some((one) => Buffer.compare(one, address) === 0));
  if (holds) return undefined;
  const list = request.addresses.map(({ address }) => address).join(", ");
  return {
    code: 104,
    message: `${request.ifname} in ${request.netnsPath} has none of the addresses claimed (${list === "" ? "none" : list})`,
  };
}

function refuse(code: ControlErrorCode, message: string): Decoded<never> {
  return { ok: false, error: { code, message } };
}
