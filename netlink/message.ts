/** Netlink messages: splitting a datagram, acknowledgements with their extended attributes. Source: netlink(7), linux/netlink.h. */
import { Attributes, Malformed, viewOf } from "./cursor.ts";
import type { ExtendedAck } from "./error.ts";

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
export const NLM_F_EXCL = 0x200;
export const NLM_F_APPEND = 0x800;

const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_HEADER = 16;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;
const NLMSGERR_ATTR_MISS_TYPE = 5;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** What follows the message header; shares memory with the datagram. */
  readonly payload: Uint8Array;
}

export type Decoded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** Turns a decoder that throws Malformed into one that returns a reason. */
export function decoding<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    if (error instanceof Malformed) return { ok: false, reason: error.message };
    throw error;
  }
}

/** The messages of one datagram. */
export function decodeMessages(datagram: Uint8Array): Decoded<Message[]> {
  return decoding(() => {
    const view = viewOf(datagram);
    const messages: Message[] = [];
    for (let offset = 0; offset < datagram.length;) {
      const length = messageLength(view, offset);
      messages.push({
        type: view.getUint16(offset + 4, true),
        flags: view.getUint16(offset + 6, true),
        sequence: view.getUint32(offset + 8, true),
        payload: datagram.subarray(offset + NLMSG_HEADER, offset + length),
      });
      offset += Math.min((length + 3) & ~3, datagram.length - offset);
    }
    return messages;
  });
}

function messageLength(view: DataView, offset: number): number {
  const rest = view.byteLength - offset;
  if (rest < NLMSG_HEADER) throw new Malformed("message header");
  const length = view.getUint32(offset, true);
  if (length < NLMSG_HEADER || length > rest) throw new Malformed("message length");
  return length;
}

/** An answer to a request, or what ends one. `errno` is positive, 0 for success. */
export interface Acknowledgement {
  readonly errno: number;
  readonly extendedAck: ExtendedAck;
}

/** Decodes an NLMSG_ERROR or NLMSG_DONE. A DONE without a code counts as success. */
export function decodeAcknowledgement(message: Message): Decoded<Acknowledgement> {
  return decoding(() => {
    const { payload } = message;
    const isError = message.type === NLMSG_ERROR;
    if (payload.length < (isError ? 4 + NLMSG_HEADER : 4)) throw new Malformed("acknowledgement");
    const code = viewOf(payload).getInt32(0, true);
    if (code > 0) throw new Malformed("acknowledgement code");
    const attributes =
      message.flags & NLM_F_ACK_TLVS ? payload.subarray(attributesOffset(message)) : new Uint8Array(0);
    return { errno: -code, extendedAck: extendedAck(new Attributes(attributes)) };
  });
}

/** An error quotes the header of the request, and all of it unless NLM_F_CAPPED is set. */
function attributesOffset({ type, flags, payload }: Message): number {
  if (type === NLMSG_DONE) return 4;
  const quoted = flags & NLM_F_CAPPED ? NLMSG_HEADER : viewOf(payload).getUint32(4, true);
  const offset = 4 + ((quoted + 3) & ~3);
  if (quoted < NLMSG_HEADER || offset > payload.length) throw new Malformed("quoted message");
  return offset;
}

function extendedAck(attributes: Attributes): ExtendedAck {
  return {
    message: attributes.string(NLMSGERR_ATTR_MSG),
    offset: attributes.u32(NLMSGERR_ATTR_OFFS),
    missingType: attributes.u32(NLMSGERR_ATTR_MISS_TYPE),
  };
}

/** The dumped objects changed meanwhile: the dump has to be repeated. */
export function wasInterrupted(message: Message): boolean {
  return (message.flags & NLM_F_DUMP_INTR) !== 0;
}
