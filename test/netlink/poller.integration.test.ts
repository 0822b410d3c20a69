/** The poller over real sockets, and a socket's time-out. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { addon } from "../../netlink/addon.ts";
import { MessageWriter } from "../../netlink/cursor.ts";
import { Poller, type PollerOptions } from "../../netlink/poller.ts";
import { ReceiveBatch } from "../../netlink/receive-batch.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../netlink/socket.ts";

const batch = new ReceiveBatch(8, 32_768);
const folder = fileURLToPath(new URL("../../netlink", import.meta.url));

/** Makes the kernel answer (with an error), so that the socket is readable. */
function provoke(socket: NetlinkSocket): void {
  const writer = new MessageWriter();
  writer.begin(0xfff0, 1, 1);
  writer.end();
  socket.send("provoke", writer.written());
}

/** Runs a script that has a poller with these options; returns what it printed. */
function run(options: PollerOptions, script: string): string {
  const code = `
    import { Poller } from "${folder}/poller.ts";
    import { NetlinkSocket } from "${folder}/socket.ts";
    import { MessageWriter } from "${folder}/cursor.ts";
    const options = ${JSON.stringify(options)};
    const socket = new NetlinkSocket(0);
    const writer = new MessageWriter();
    writer.begin(0xfff0, 1, 1);
    writer.end();
    socket.send("provoke", writer.written());
    ${script}`;
  return execFileSync(process.execPath, ["--input-type=module", "-e", code], { timeout: 10_000 }).toString();
}

describe.each<PollerOptions>([{}, { lingers: true }])("a poller with %j", (options) => {
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
      }, options);
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
    const poller = new Poller(() => undefined, options);
    expect(() => poller.add(-1, 0)).toThrow(/EBADF/);
    expect(() => poller.remove(0)).toThrow(/ENOENT/);
    poller.close();
    expect(() => poller.add(0, 0)).toThrow("closed");
  });

  test("a poller keeps the process alive until it is unreferenced or closed", () => {
    expect(
      run(
        options,
        "const poller = new Poller(() => undefined, options); poller.unref(); console.log('ends');",
      ),
    ).toBe("ends\n");
    expect(
      run(
        options,
        "const poller = new Poller(() => { console.log('called'); poller.close(); }, options); poller.add(socket.fd, 1);",
      ),
    ).toBe("called\n");
  });

  test("what the callback throws is an uncaught exception, like any other callback's", () => {
    const printed = run(
      options,
      `
    process.on("uncaughtException", (error) => { console.log("uncaught: " + error.message); process.exit(0); });
    const poller = new Poller(() => { throw new Error("mine"); }, options);
    poller.add(socket.fd, 1);`,
    );
    expect(printed).toBe("uncaught: mine\n");
  });

  test("microtasks of the callback run", () => {
    const printed = run(
      options,
      `
    const poller = new Poller(() => { Promise.resolve().then(() => { console.log("microtask"); }); poller.close(); }, options);
    poller.add(socket.fd, 1);`,
    );
    expect(printed).toBe("microtask\n");
  });

  test("leaves timers, immediates, messages and other pollers their turns, also while descriptors never cease to be ready", () => {
    const printed = run(
      options,
      `
    const { port1, port2 } = new MessageChannel();
    const done = new Set();
    const mark = (what) => {
      if (done.has(what)) return;
      done.add(what);
      if (done.size < 5) return;
      console.log([...done].sort().join(" "));
      process.exit(0);
    };
    let calls = 0;
    const unread = new Poller(() => {
      calls += 1;
      if (calls === 10) setImmediate(() => mark("immediate"));
      if (calls === 20) setTimeout(() => mark("late timer"), 5);
    }, options);
    unread.add(socket.fd, 1);
    const other = new NetlinkSocket(0);
    const second = new Poller(() => mark("other poller"), options);
    second.add(other.fd, 1);
    setTimeout(() => { mark("timer"); port2.postMessage(1); other.send("provoke", writer.written()); }, 50);
    port1.on("message", () => mark("message"));`,
    );
    expect(printed).toBe("immediate late timer message other poller timer\n");
  });

  test("is told what comes while it waits, and rests in between", () => {
    const printed = run(
      options,
      `
    import { ReceiveBatch } from "${folder}/receive-batch.ts";
    const batch = new ReceiveBatch(8, 32768);
    let calls = 0;
    const poller = new Poller(() => { calls += 1; batch.receive(socket.fd); }, options);
    poller.add(socket.fd, 1);
    const before = process.cpuUsage();
    const again = setInterval(() => socket.send("provoke", writer.written()), 20);
    setTimeout(() => {
      clearInterval(again);
      const { user, system } = process.cpuUsage(before);
      console.log(calls >= 10 && calls <= 30, (user + system) / 1e6 < 0.35);
      process.exit(0);
    }, 500);`,
    );
    expect(printed).toBe("true true\n");
  });
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
