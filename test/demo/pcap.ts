/** Reads a capture file: the classic format of libpcap, little endian, Ethernet frames (draft-ietf-opsawg-pcap). */

const HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const ETHERNET_BYTES = 14;
const MAGICS = new Set([0xa1b2c3d4, 0xa1b23c4d]);

/** The IP packets of a capture, in order. Throws RangeError where the file is not such a capture; a cut last record is left out. */
export function readPackets(file: Buffer): Buffer[] {
  if (file.length < HEADER_BYTES || !MAGICS.has(file.readUInt32LE(0)))
    throw new RangeError("not a pcap file");
  const packets: Buffer[] = [];
  for (let offset = HEADER_BYTES; offset + RECORD_BYTES <= file.length;) {
    const length = file.readUInt32LE(offset + 8);
    const start = offset + RECORD_BYTES;
    if (start + length > file.length) break;
    packets.push(file.subarray(start + ETHERNET_BYTES, start + length));
    offset = start + length;
  }
  return packets;
}
