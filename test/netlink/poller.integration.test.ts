/** The poller over real sockets, and a socket's time-out. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { addon } from "../../netlink/addon.ts";
import { MessageWriter } from "../../netlink/cursor.ts";
import { Poller } from "../../netlink/poller.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../netlink/socket.ts";

const batch = new ReceiveBatch(8, 32_768);

/** Makes the kernel answer (with an error), so that the socket is readable. */
function provoke(socket: NetlinkSocket): void {
  const writer = new MessageWriter();
  writer.begin(0xfff0, 1, 1);
  writer.end();
  socket.send("provoke", writer.written());
}

test("one call tells all that are ready, again until they are read, and none that was removed", async () => {
  const sockets = Array.from({ length: 5 }, () => new NetlinkSocket(NETLINK_ROUTE));
  const calls: number[][] = [];
  await new Promise<void>((resolve) => {
    const poller = new Poller((tokens, count) => {
      calls.push([...tokens.subarray(0, count)].sort());
      if (calls.length === 2) for (const socket of sockets) batch.receive(socket.fd);
      if (calls.length < 3) return;
      poller.close();
      poller.close();
      resolve();
    });
    sockets.forEach((socket, token) => {
      poller.add(socket.fd, 0xffff_fff0 + token);
      provoke(socket);
    });
    poller.remove(sockets[0]?.fd ?? -1);
    setTimeout(() => provoke(sockets[3] ?? new NetlinkSocket(NETLINK_ROUTE)), 30);
  });
  const four = [1, 2, 3, 4].map((token) => 0xffff_fff0 + token);
  expect(calls).toEqual([four, four, [0xffff_fff3]]);
  for (const socket of sockets) socket.close();
});

test("a closed poller and a wrong descriptor are errors", () => {
  const poller = new Poller(() => undefined);
  expect(() => poller.add(-1, 0)).toThrow(/EBADF/);
  expect(() => poller.remove(0)).toThrow(/ENOENT/);
  poller.close();
  expect(() => poller.add(0, 0)).toThrow("closed");
});

/** Runs a script that has a poller; returns what it printed and its exit code. */
function run(script: string): string {
  const folder = fileURLToPath(new URL("../../netlink", import.meta.url));
  const code = `
    import { Poller } from "${folder}/poller.ts";
    import { NetlinkSocket } from "${folder}/socket.ts";
    import { MessageWriter } from "${folder}/cursor.ts";
    const socket = new NetlinkSocket(0);
    const writer = new MessageWriter();
    writer.begin(0xfff0, 1, 1);
    writer.end();
    socket.send("provoke", writer.written());
    ${script}`;
  return execFileSync(process.execPath, ["--input-type=module", "-e", code], { timeout: 10_000 }).toString();
}

test("a poller keeps the process alive until it is unreferenced or closed", () => {
  expect(run("const poller = new Poller(() => undefined); poller.unref(); console.log('ends');")).toBe(
    "ends\n",
  );
  expect(
    run(
      "const poller = new Poller(() => { console.log('called'); poller.close(); }); poller.add(socket.fd, 1);",
    ),
  ).toBe("called\n");
});

test("what the callback throws is an uncaught exception, like any other callback's", () => {
  const printed = run(`
    process.on("uncaughtException", (error) => { console.log("uncaught: " + error.message); process.exit(0); });
    const poller = new Poller(() => { throw new Error("mine"); });
    poller.add(socket.fd, 1);`);
  expect(printed).toBe("uncaught: mine\n");
});

test("microtasks of the callback run", () => {
  const printed = run(`
    const poller = new Poller(() => { Promise.resolve().then(() => { console.log("microtask"); }); poller.close(); });
    poller.add(socket.fd, 1);`);
  expect(printed).toBe("microtask\n");
});

test("waiting for an answer ends with the time-out", () => {
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  const start = performance.now();
  expect(socket.receive("wait", start + 60)).toBeUndefined();
  expect(performance.now() - start).toBeGreaterThanOrEqual(59);
  socket.close();
});

test("wrong arguments are refused by the addon itself", () => {
  const native = addon() as unknown as Record<string, (...values: readonly unknown[]) => unknown>;
  const takesNone = ["releaseUnusedMemory"];
  for (const name of Object.keys(native))
    if (!takesNone.includes(name)) expect(() => native[name]?.()).toThrow(/wrong arguments/);
  expect(() => native["receive"]?.(0, new Uint8Array(8), 0, new Int32Array(1))).toThrow(/wrong arguments/);
  expect(() => native["pollerAdd"]?.({}, 0, 0)).toThrow(/wrong arguments/);
  expect(native["send"]?.(0, new Uint8Array(8), 4, 8)).toBe(-22);
  expect(
    native["sendBatch"]?.(0, new Uint8Array(8), Uint32Array.of(0xffff_ffff, 2), new Uint8Array(0), 0),
  ).toBe(-22);
});
