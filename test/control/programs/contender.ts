/** Tries to listen at the control socket argv[2], once for each line on its standard input, and says how it went. */
import { createInterface } from "node:readline";
import { ControlServer } from "../../../enforcer/control/server.ts";
import { tryLockFile } from "../../../netlink/file-lock.ts";
import { FakeLog } from "../fakes.ts";

createInterface({ input: process.stdin }).on("line", () => void contend());
process.stdout.write("ready\n");

async function contend(): Promise<void> {
  try {
    await ControlServer.listen({
      path: process.argv[2] ?? "",
      handle: () => Promise.resolve(),
      onClosed: () => undefined,
      peerUid: () => 0,
      tryLock: tryLockFile,
      registry: "/nowhere",
      log: new FakeLog(),
    });
    process.stdout.write("listening\n");
  } catch (error) {
    process.stdout.write(`refused: ${String(error)}\n`);
  }
}
