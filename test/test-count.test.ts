import { expect, test } from "vitest";
import { countTests, type VitestReport } from "./test-count.ts";

function report(statuses: readonly string[], fileStatus = "passed"): VitestReport {
  const assertionResults = statuses.map((status, index) => ({ fullName: ` test ${index}`, status }));
  return { testResults: [{ name: "file", status: fileStatus, assertionResults }] };
}

const listed = [{ test: "test 1", reason: "a reason" }];

test.each([
  { name: "passed and failed", report: report(["passed", "failed"], "failed"), exit: 1, counts: [1, 1, 0] },
  { name: "a skip outside CI", report: report(["passed", "skipped"]), exit: 0, counts: [1, 0, 1] },
  { name: "a todo is a skip", report: report(["passed", "todo"]), exit: 0, counts: [1, 0, 1] },
  { name: "a listed skip in CI", report: report(["passed", "pending"]), exit: 0, listed, counts: [1, 0, 1] },
  {
    name: "an unlisted skip in CI",
    report: report(["skipped", "passed"]),
    exit: 0,
    listed,
    counts: [1, 1, 0],
  },
  { name: "a file that can't be loaded", report: report([], "failed"), exit: 1, counts: [0, 1, 0] },
  { name: "a hook that throws", report: report(["passed", "skipped"], "failed"), exit: 1, counts: [1, 1, 1] },
  { name: "an error outside of tests", report: report(["passed"]), exit: 1, counts: [1, 1, 0] },
  { name: "no test at all", report: { testResults: [] }, exit: 0, counts: [0, 1, 0] },
])("$name", ({ report, exit, listed, counts }) => {
  const [passed, failed, skipped] = counts;
  expect(countTests(report, exit, listed, () => undefined)).toEqual({ passed, failed, skipped });
});
