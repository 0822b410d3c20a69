/** Sends UDP datagrams from thousands of ports to a port that no rule allows, for some time: flood.ts ADDRESS MILLISECONDS. Prints how many. */
import { parseAddress } from "../../../netlink/prefix.ts";
import { RawSocket } from "../../../netlink/raw-socket.ts";
import { ipPacket } from "../../packet/build.ts";

const [, , address = "", durationMs = "0"] = process.argv;
/** The router's, outside the pod networks. */
const source = "c0a8f409";

function datagram(port: number): Buffer {
  const body = Buffer.alloc(40);
  body.writeUInt16BE(port, 0);
  body.writeUInt16BE(9_999, 2);
  body.writeUInt16BE(body.length, 4);
  const destination = Buffer.from(parseAddress(address) ?? []).toString("hex");
  return ipPacket({ version: 4, protocol: 17, source, destination }, body, 6);
}

const datagrams = Array.from({ length: 4_096 }, (_, index) => datagram(1_024 + index));
const socket = RawSocket.open({ version: 4 });
const endMs = performance.now() + Number(durationMs);
let sent = 0;
while (performance.now() < endMs) for (const one of datagrams) if (socket.send(one) === 0) sent += 1;
socket.close();
console.log(sent);
