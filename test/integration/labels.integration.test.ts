/** Large identities: twenty labels of 31 characters, certificate included, in both families at an MTU of 1,500. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../harness/lab.ts";
import { connect, startEchoServer } from "../harness/traffic.ts";
import { manyLabels } from "./labels.ts";
import { createPair, type Pair } from "./pair.ts";

const PORT = 8080;

describe.each(["psk", "pki"] as const)("twenty labels of 31 characters at both ends, mode %s", (mode) => {
  const lab = new Lab();
  let pair: Pair;

  beforeAll(async () => {
    pair = await createPair(lab, { mode, clientLabels: manyLabels(20), serverLabels: manyLabels(20) });
    await startEchoServer(lab, pair.server.namespace, PORT);
  }, 60_000);
  afterAll(() => lab.close());

  test.each(["address", "address6"] as const)("connect by %s", async (family) => {
    const { client, server } = pair;
    const attempt = await connect(client.namespace, server[family], PORT, { bytes: 50_000 });
    expect(attempt).toMatchObject({ outcome: "connected", echoed: 50_000 });
  });
});
