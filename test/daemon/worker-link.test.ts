import { EventEmitter } from "node:events";
import { beforeEach, expect, test } from "vitest";
import { WorkerLink, type WorkerThread } from "../../enforcer/daemon/worker-link.ts";
import type { PuDescription, ToWorker } from "../../enforcer/datapath/messages.ts";
import type { OwnToken } from "../../enforcer/identity/identity.ts";

class FakeThread extends EventEmitter {
  readonly told: ToWorker[] = [];
  isTerminated = false;

  postMessage(message: ToWorker): void {
    this.told.push(message);
  }

  terminate(): Promise<number> {
    this.isTerminated = true;
    this.emit("exit", 1);
    return Promise.resolve(1);
  }
}

const pu: PuDescription = { id: "a", attributes: new Map(), interfaceName: "eth0", mtu: 1500, netnsFd: 3 };
const token = {} as OwnToken;
let thread: FakeThread;
let link: WorkerLink;
let deaths: string[];

beforeEach(() => {
  thread = new FakeThread();
  deaths = [];
  link = new WorkerLink(thread as unknown as WorkerThread, {
    onReport: () => undefined,
    onPolicyApplied: () => undefined,
    onDeath: (problem) => deaths.push(problem),
  });
});

test("each request is settled by its own answer", async () => {
  const attaching = link.attach(pu);
  const other = link.attach({ ...pu, id: "b" });
  const detaching = link.detach("c");
  thread.emit("message", { kind: "attachFailed", puId: "b", message: "EBUSY" });
  thread.emit("message", { kind: "detached", puId: "c" });
  thread.emit("message", { kind: "attached", puId: "a" });
  thread.emit("message", { kind: "attached", puId: "nobody asked" });
  await attaching;
  await detaching;
  await expect(other).rejects.toMatchObject({ name: "OperationError", code: "io" });
});

test("a death fails what waits, and is told once", async () => {
  const attaching = link.attach(pu);
  thread.emit("error", new Error("boom"));
  thread.emit("exit", 1);
  await expect(attaching).rejects.toMatchObject({ code: "unreachable" });
  await expect(link.detach("a")).rejects.toMatchObject({ code: "unreachable" });
  expect(deaths).toHaveLength(1);
  expect(deaths[0]).toContain("boom");
});

test("a stop is no death, and nothing is told afterwards", async () => {
  const stopping = link.stop();
  thread.emit("message", { kind: "stopped" });
  await stopping;
  link.tell({ kind: "token", puId: "a", token });
  expect(thread.told).toEqual([{ kind: "stop" }]);
  expect([thread.isTerminated, deaths]).toEqual([true, []]);
});

test("a thread that doesn't answer is ended all the same", async () => {
  await link.stop();
  expect(thread.isTerminated).toBe(true);
});
