/** Gets the messages that nft would send for a script: from the picture that libmnl draws of them with --debug=mnl. */
import { spawnSync } from "node:child_process";

export interface SentMessage {
  readonly type: number;
  readonly family: number;
  /** The attributes, behind struct nfgenmsg. */
  readonly attributes: Uint8Array;
}

/** Runs nft in a new namespace; what the kernel then says doesn't matter. */
export function messagesOfNft(script: string): SentMessage[] {
  const { stdout, stderr } = spawnSync("unshare", ["-n", "nft", "-c", "--debug=mnl", "-f", "-"], {
    input: script,
  });
  // eslint-disable-next-line no-control-regex -- the picture has colours
  const text = `${stdout.toString()}${stderr.toString()}`.replace(/\x1b\[[0-9;]*m/g, "");
  return text
    .split(/\| +message length +\|/)
    .slice(1)
    .map(parseMessage);
}

function parseMessage(picture: string): SentMessage {
  const type = Number(/\| (\d+) \| \S+ \|\s+\| +type/.exec(picture)?.[1]);
  const header = /\| (\S\S) \S\S \S\S \S\S +\|\s+\| +extra header/.exec(picture)?.[1] ?? "0";
  const bytes: number[] = [];
  for (const line of picture.split("\n")) bytes.push(...attributeHeader(line), ...dataWord(line));
  return { type, family: Number.parseInt(header, 16), attributes: Uint8Array.from(bytes) };
}

function attributeHeader(line: string): number[] {
  const match = /^\|(\d{5})\|([N-])([B-])\|(\d{5})\|/.exec(line);
  if (match === null) return [];
  const [length, type] = [Number(match[1]), Number(match[4]) | (match[2] === "N" ? 0x8000 : 0)];
  return [length & 0xff, length >> 8, type & 0xff, type >> 8];
}

function dataWord(line: string): number[] {
  const match = /^\| (\S\S) (\S\S) (\S\S) (\S\S) +\|\s+\| +data/.exec(line);
  return match === null ? [] : match.slice(1).map((digits) => Number.parseInt(digits, 16));
}
