/** The demo as a user runs it: what it prints, its exit status, and what is left when it is interrupted. */
import { spawn } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { nodeBinary } from "../harness/binaries.ts";
import { run, sleep } from "../harness/command.ts";
import { withLab } from "../harness/lab.ts";

const program = join(import.meta.dirname, "main.ts");

/** Namespaces and folders of labs whose process is `pid`. */
function leftovers(pid: number | undefined): string[] {
  const names = [...readdirSync("/run/netns"), ...readdirSync(tmpdir())];
  return names.filter((name) => name.startsWith(`trlab${pid ?? 0}x`));
}

describe("make demo", () => {
  test("shows the embedded policy's results in at most 60 lines, and exits 0", async () => {
    const { status, stdout } = await run([nodeBinary, program], { timeoutMs: 60_000 });
    expect(stdout).toMatch(/12 pairs: 2 connected, 10 refused, 0 not as the policy says/);
    expect(stdout.split("\n").length).toBeLessThanOrEqual(60);
    expect(status).toBe(0);
  });

  test("shows the results of the policy that it is given", async () => {
    await withLab(async (lab) => {
      const file = join(lab.folder, "policy.yaml");
      const everybody = "egress: [{ name: out, to: [{}] }], ingress: [{ name: in, from: [{}] }]";
      writeFileSync(file, `version: 1\npolicies: [{ name: all, subject: {}, ${everybody} }]\n`);
      const { status, stdout } = await run([nodeBinary, program, file], { timeoutMs: 60_000 });
      expect(stdout).toMatch(/12 pairs: 12 connected, 0 refused, 0 not as the policy says/);
      expect(status).toBe(0);
    });
  });

  test("a policy file that is missing or wrong is an error that says so", async () => {
    expect(await run([nodeBinary, program, "/nonexistent.yaml"])).toMatchObject({
      status: 2,
      stderr: "demo: /nonexistent.yaml: no such policy file\n",
    });
    const wrong = await run([nodeBinary, program, program]);
    expect(wrong.status).toBe(1);
    expect(wrong.stderr).toContain(`${program}:`);
  });

  test.each([300, 1_500, 4_000, 7_000])(
    "interrupted after %i ms it leaves nothing behind",
    async (afterMs) => {
      const demo = spawn(nodeBinary, [program], { stdio: "ignore" });
      const ended = new Promise<number | null>((resolve) => demo.once("close", resolve));
      await sleep(afterMs);
      demo.kill("SIGINT");
      // A signal that comes before there is anything to remove simply ends the program.
      expect([130, null]).toContain(await ended);
      expect(leftovers(demo.pid)).toEqual([]);
    },
  );
});
