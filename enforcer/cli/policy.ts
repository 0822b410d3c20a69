/** Owns `trireme policy check` and `trireme policy test`: policy questions answered offline. */
import type { Command } from "commander";
import { loadPolicy } from "../config/policy-source.ts";
import {
  type ConnectionAnswer,
  type ConnectionQuestion,
  type EndDecision,
  judgeConnection,
} from "../policy/both-ends.ts";
import { compilePolicy } from "../policy/evaluate.ts";
import { explain, type PolicyExplanation } from "../policy/explain.ts";
import type { Policy } from "../policy/model.ts";
import { formatProblem, type Problem } from "../policy/problem.ts";
import { type CommandEnvironment, exitCodes } from "./command-environment.ts";
import { formatQuestion, parseQuestion } from "./policy-question.ts";

/** What these commands touch of the process; texts end with a newline. */
export type PolicyCommandEnvironment = Pick<CommandEnvironment, "stdout" | "stderr" | "setExitCode">;

interface CheckOptions {
  readonly json?: true;
}

interface TestOptions extends CheckOptions {
  readonly explain?: true;
}

const verdictCodes = { allow: exitCodes.done, deny: exitCodes.denied } as const;

/** Adds `policy check FILE` and `policy test FILE FROM TO:PORT` to the operator's command. */
export function registerPolicyCommands(program: Command, environment: PolicyCommandEnvironment): void {
  const policy = program
    .command("policy")
    .description("check a policy file, or ask it a question; works offline");
  policy
    .command("check")
    .description("validate a policy file; prints every problem with its line and its remedy")
    .argument("<file>", "the policy file")
    .option("--json", "print one JSON document")
    .action((file: string, options: CheckOptions) => checkFile(file, options, environment));
  policy
    .command("test")
    .description("may FROM connect to TO? exits with 0 if allowed, 3 if denied")
    .argument("<file>", "the policy file")
    .argument("<from>", "attributes (app=web,tier=front,@ns=shop) or an address")
    .argument(
      "<to>",
      "attributes or address with port: app=db:5432, 10.0.0.10:53/udp, [fd00::10]:53/udp, 10.0.0.1/icmp",
    )
    .option("--json", "print one JSON document")
    .option("--explain", "say of every policy and rule whether it matches, and why not")
    .action((file: string, from: string, to: string, options: TestOptions) =>
      testFile(file, from, to, options, environment),
    );
}

function checkFile(file: string, options: CheckOptions, environment: PolicyCommandEnvironment): void {
  const result = loadPolicy(file);
  if (!result.ok) {
    refuse(result.problems, options, environment);
    return;
  }
  const { policies } = result.policy;
  const rules = policies.reduce((sum, one) => sum + one.ingress.length + one.egress.length, 0);
  if (options.json)
    writeJson(environment, { version: 1, valid: true, policies: policies.length, rules, problems: [] });
  else environment.stdout(`${file}: valid; policies: ${policies.length}, rules: ${rules}\n`);
  environment.setExitCode(exitCodes.done);
}

function refuse(
  problems: readonly Problem[],
  options: CheckOptions,
  environment: PolicyCommandEnvironment,
): void {
  if (options.json) writeJson(environment, { version: 1, valid: false, problems });
  else for (const problem of problems) environment.stderr(`${formatProblem(problem)}\n`);
  environment.setExitCode(exitCodes.failed);
}

function testFile(
  file: string,
  from: string,
  to: string,
  options: TestOptions,
  environment: PolicyCommandEnvironment,
): void {
  const question = parseQuestion(from, to);
  if ("error" in question) {
    environment.stderr(`${question.error}\n`);
    environment.setExitCode(exitCodes.usage);
    return;
  }
  const result = loadPolicy(file);
  if (!result.ok) {
    refuse(result.problems, options, environment);
    return;
  }
  const answer = judgeConnection(compilePolicy(result.policy), question);
  const reasons = options.explain === true ? explainEnds(result.policy, question, answer) : undefined;
  if (options.json) writeJson(environment, toDocument(answer, reasons));
  else environment.stdout(formatAnswer(question, answer, reasons));
  environment.setExitCode(verdictCodes[answer.verdict]);
}

/** Of each end that was asked, what every policy says. */
function explainEnds(
  policy: Policy,
  question: ConnectionQuestion,
  answer: ConnectionAnswer,
): PolicyExplanation[][] {
  return answer.ends.map(({ end }) => {
    const [self, peer] = end === "egress" ? [question.from, question.to] : [question.to, question.from];
    const attributes = self.kind === "unit" ? self.attributes : new Map<string, string[]>();
    return explain(policy, { ...question, direction: end, self: attributes, peer });
  });
}

function toDocument(answer: ConnectionAnswer, reasons: PolicyExplanation[][] | undefined): unknown {
  const rules = answer.ends.map((end, index) => ({
    end: end.end,
    verdict: end.verdict,
    reason: end.reason,
    rule: end.rule ?? null,
    ...(reasons === undefined ? {} : { policies: reasons[index] }),
  }));
  return { version: 1, verdict: answer.verdict, reason: answer.reason, rules };
}

function formatAnswer(
  question: ConnectionQuestion,
  answer: ConnectionAnswer,
  reasons: PolicyExplanation[][] | undefined,
): string {
  const head = `${answer.verdict}: ${formatQuestion(question)} (${answer.reason})`;
  const ends = answer.ends.flatMap((end, index) => [
    formatEnd(end),
    ...(reasons?.[index] ?? []).flatMap(formatExplanation),
  ]);
  return `${[head, ...ends].join("\n")}\n`;
}

function formatEnd({ end, verdict, reason, rule }: EndDecision): string {
  return `  ${end}: ${verdict} (${reason}${rule === undefined ? "" : `, ${rule}`})`;
}

function formatExplanation({ policy, notSelected, rules }: PolicyExplanation): string[] {
  if (notSelected !== undefined) return [`    ${policy}: not for this unit: ${notSelected}`];
  if (rules.length === 0) return [`    ${policy}: no rule in this direction`];
  return rules.map(
    ({ rule, action, unmet }) =>
      `    ${rule}: ${unmet === undefined ? `matches, ${action}` : `does not match: ${unmet}`}`,
  );
}

function writeJson(environment: PolicyCommandEnvironment, document: unknown): void {
  environment.stdout(`${JSON.stringify(document)}\n`);
}
