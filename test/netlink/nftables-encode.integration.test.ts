/** Our batch against the bytes that nft makes of the same rules. */
import { expect, test } from "vitest";
import { Attributes, MessageWriter } from "../../netlink/cursor.ts";
import { attributeList } from "./attribute-list.ts";
import { decodeMessages, type Message } from "../../netlink/message.ts";
import { BatchEncoder } from "../../netlink/nftables/encode.ts";
import { messagesOfNft, type SentMessage } from "./nft-messages.ts";
import { referenceInet, referenceNetdev, referenceScript } from "./reference-tables.ts";

const NEWCHAIN = 0xa03;
const NEWRULE = 0xa06;
const NEWSET = 0xa09;
const NEWSETELEM = 0xa0c;

const nft = messagesOfNft(referenceScript);

function ourMessages(): Message[] {
  const writer = new MessageWriter();
  let sequence = 0;
  const encoder = new BatchEncoder(writer, () => ++sequence, "native");
  encoder.begin();
  encoder.replace(referenceInet);
  encoder.replace(referenceNetdev);
  encoder.end();
  const decoded = decodeMessages(writer.written());
  if (!decoded.ok) throw new Error(decoded.reason);
  return decoded.value;
}

const ours: SentMessage[] = ourMessages().map(({ type, payload }) => ({
  type,
  family: payload[0] ?? -1,
  attributes: payload.subarray(4),
}));

/** One attribute of every message of a type, with its family, as hexadecimal text. */
function column(messages: readonly SentMessage[], type: number, attribute: number): string[] {
  return messages
    .filter((message) => message.type === type)
    .map(({ family, attributes }) => {
      const data = new Attributes(attributes).bytes(attribute);
      return `${family}: ${data === undefined ? "absent" : hexadecimal(type === NEWSETELEM ? renumbered(data) : data)}`;
    });
}

/** nft counts the elements of a list in their types; the kernel, as it dumps them, does not. */
function renumbered(elements: Uint8Array): Uint8Array {
  const writer = new MessageWriter();
  for (const { data } of attributeList(elements)) writer.bytes(1, data);
  return writer.written();
}

function hexadecimal(data: Uint8Array): string {
  return Buffer.from(data).toString("hex");
}

for (const [what, type, attribute, count] of [
  ["chain's table", NEWCHAIN, 1, 6],
  ["chain's name", NEWCHAIN, 3, 6],
  ["chain's type", NEWCHAIN, 7, 6],
  ["chain's policy", NEWCHAIN, 5, 6],
  ["chain's hook", NEWCHAIN, 4, 6],
  ["rule's table", NEWRULE, 1, 50],
  ["rule's chain", NEWRULE, 2, 50],
  ["rule's expressions", NEWRULE, 4, 50],
  ["set's flags", NEWSET, 3, 14],
  ["set's key type", NEWSET, 4, 14],
  ["set's key length", NEWSET, 5, 14],
  ["set's description", NEWSET, 9, 14],
  ["set's id", NEWSET, 10, 14],
  ["set's elements", NEWSETELEM, 3, 14],
] as const) {
  test(`every ${what} is what nft sends`, () => {
    expect(column(ours, type, attribute)).toEqual(column(nft, type, attribute));
    expect(column(ours, type, attribute)).toHaveLength(count);
  });
}
