/** The one error of this package: an operation that the kernel refused, or an answer that can't be understood. */
import { getSystemErrorName } from "node:util";

/** What the kernel added to a refusal: NLMSGERR_ATTR_MSG, _OFFS and _MISS_TYPE of linux/netlink.h. */
export interface ExtendedAck {
  /** The kernel's own words. */
  readonly message: string | undefined;
  /** Offset, from the start of the refused message, of the attribute that it refused. */
  readonly offset: number | undefined;
  /** Type of the attribute that is missing. */
  readonly missingType: number | undefined;
}

const noDetails: ExtendedAck = { message: undefined, offset: undefined, missingType: undefined };

export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  /** What was being done, such as "open netns /run/netns/a". */
  readonly operation: string;
  /** Positive errno. */
  readonly errno: number;
  /** Its name, such as "ENOENT". */
  readonly code: string;
  readonly extendedAck: ExtendedAck;

  constructor(operation: string, errno: number, extendedAck: ExtendedAck = noDetails, cause?: unknown) {
    const code = errnoName(errno);
    super(`${operation}: ${code}${describe(extendedAck)}`, cause === undefined ? {} : { cause });
    this.operation = operation;
    this.errno = errno;
    this.code = code;
    this.extendedAck = extendedAck;
  }
}

/** `result` if it is no negative errno. */
export function checked(operation: string, result: number): number {
  if (result < 0) throw new NetlinkError(operation, -result);
  return result;
}

function errnoName(errno: number): string {
  const name = errno > 0 ? getSystemErrorName(-errno) : "";
  return name === "" || name.startsWith("Unknown") ? `errno ${errno}` : name;
}

function describe({ message, offset, missingType }: ExtendedAck): string {
  const parts = [
    ...(message === undefined ? [] : [message]),
    ...(offset === undefined ? [] : [`attribute at byte ${offset}`]),
    ...(missingType === undefined ? [] : [`attribute ${missingType} is missing`]),
  ];
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}
