/** Offers and choices of an honest handshake, rewritten on the way. */
import type { Segment } from "../../handshake/segments.ts";
import type { Attack } from "../attack.ts";
import { isSyn, isSynAck } from "../forged-ends.ts";
import { changing } from "./altered.ts";

/** Where the messages have these; PROTOCOL.md, sections 2 and 3. */
const at = { syn: { versionMax: 10, suites: 11, flags: 13 }, synAck: { version: 9, suite: 10 } } as const;

/** The data with these bytes from there on. */
const writing =
  (offset: number, ...bytes: readonly number[]) =>
  ({ data }: Segment): Partial<Segment> => {
    const copy = Buffer.from(data);
    copy.set(bytes, offset);
    return { data: copy };
  };

export const downgraded: readonly Attack[] = [
  {
    name: "downgrade of the version: what the client offers",
    patch: "transcript-without-syn",
    stopped: { by: "client", reason: "tag-invalid" },
    run: changing("to-server", isSyn, writing(at.syn.versionMax, 9)),
  },
  {
    name: "downgrade of the version: what the server chose",
    patch: "version-not-checked",
    stopped: { by: "client", reason: "version-unsupported" },
    run: changing("to-client", isSynAck, writing(at.synAck.version, 9)),
  },
  {
    name: "downgrade of the suite: what the client offers",
    patch: "transcript-without-syn",
    stopped: { by: "client", reason: "tag-invalid" },
    run: changing("to-server", isSyn, writing(at.syn.suites, 0, 3)),
  },
  {
    name: "downgrade of the suite: what the server chose",
    patch: "suite-not-checked",
    stopped: { by: "client", reason: "suite-unsupported" },
    run: changing("to-client", isSynAck, writing(at.synAck.suite, 2)),
  },
  {
    name: "downgrade of the flags",
    patch: "flags-not-checked",
    stopped: { by: "server", reason: "flags-unknown" },
    run: changing("to-server", isSyn, writing(at.syn.flags, 0, 1)),
  },
];
