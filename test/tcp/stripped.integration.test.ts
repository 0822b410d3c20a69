/** A router that overwrites our TCP option with NOPs, as middleboxes do with options that they don't know: the marker of SYN and SYN-ACK, and the tag. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../harness/command.ts";
import { Lab } from "../harness/lab.ts";
import { close } from "./sockets.ts";
import { families, SocketStage } from "./socket-stage.ts";
import { dropTable, putTable, tableCounters } from "./tables.ts";

const PORT = 8080;
const openings = {
  syn: "tcp flags & (syn|ack) == syn",
  "SYN-ACK": "tcp flags & (syn|ack) == syn|ack",
  both: "tcp flags & syn == syn",
} as const;

/** `came`: matching segments with our option; `left`: those that have it behind the chain that takes it out. */
const stripping = (segments: string): string => `counter came {}
  counter left {}
  chain strip {
    type filter hook forward priority 0
    ${segments} tcp option 253 exists counter name came reset tcp option 253
  }
  chain check {
    type filter hook forward priority 10
    ${segments} tcp option 253 exists counter name left
  }`;

describe.each(["psk", "pki"] as const)("our option is stripped, mode %s", (mode) => {
  const lab = new Lab();
  let stage: SocketStage;
  let router: string;

  beforeAll(async () => {
    stage = await SocketStage.build(lab, { mode });
    ({ router } = stage.pair.cluster);
    await stage.listen(PORT);
  }, 60_000);
  afterAll(() => lab.close());

  const sight = (): Promise<Record<string, number>> => tableCounters(router, "strip");
  describe.each(Object.entries(openings))("from %s", (name, segments) => {
    test.each(families)("connects all the same: the payload says what it is, by %s", async (family) => {
      await putTable(router, "strip", stripping(segments));
      const connection = await stage.connect(stage.pair.server[family], PORT);
      const { came, left } = await sight();
      expect(came).toBeGreaterThanOrEqual(name === "both" ? 2 : 1);
      expect(left).toBe(0);
      await stage.expectAuthorised(connection);
      await close(connection);
      await dropTable(router, "strip");
    });
  });

  describe("from the segments that should prove", () => {
    const tagged = `tcp dport ${PORT} tcp flags & syn == 0`;

    test.each(families)("opens nothing, until one comes through on a repetition, by %s", async (family) => {
      const { client, pair, server } = stage;
      await putTable(router, "strip", stripping(tagged));
      const missing = await stage.refusals("tag-missing");
      const dialled = await stage.dial(pair.server[family], PORT);
      await client.ok(`send ${dialled.name} 5000`);
      await waitFor("tags that were taken out", async () => ((await sight())["came"] ?? 0) >= 3, 20_000);
      await waitFor(
        "segments without",
        async () => (await stage.refusals("tag-missing")) >= missing + 4,
        20_000,
      );
      expect(await server.ask(`accept ${PORT} none now`)).toBe("error EAGAIN");
      const from = { address: pair.client[family], port: dialled.port };
      expect(stage.serverKernel.isAuthorised({ client: from, server: dialled.to })).toBe(false);
      expect((await sight())["left"]).toBe(0);
      const repeated = stage.clientKernel.counter("TcpRetransSegs");
      await dropTable(router, "strip");
      const connection = await stage.accept(dialled);
      await server.ok(`receive ${dialled.name} 5000`);
      expect(stage.clientKernel.counter("TcpRetransSegs")).toBeGreaterThan(repeated);
      await stage.expectAuthorised(connection);
      await close(connection);
    });
  });
});
