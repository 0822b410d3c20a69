import { AttributeCursor, Malformed, viewOf } from "../../netlink/cursor.ts";

export interface Attribute {
  readonly type: number;
  readonly data: Uint8Array;
}

/** All attributes of `data`, in order. Throws Malformed. */
export function attributeList(data: Uint8Array): Attribute[] {
  const cursor = new AttributeCursor();
  cursor.enter(viewOf(data), 0, data.length);
  const list: Attribute[] = [];
  while (cursor.next()) {
    list.push({ type: cursor.type, data: data.subarray(cursor.offset, cursor.offset + cursor.length) });
  }
  if (cursor.malformed) throw new Malformed("attribute length");
  return list;
}
