/**
 * Owns every failure that the plugin reports: one table of codes with their meaning and remedy, and the error object's
 * form. Source: CNI SPEC 1.1.0, "Error"; code 8 is the reference library's; codes 100 to 109 are the enforcer's
 * (`enforcer/control/messages.ts`) and pass through.
 */

/** What can fail. `remedy` is printed as the error's `details` unless the failure brings its own. */
export const failures = {
  incompatibleVersion: {
    code: 1,
    meaning: "The configuration's cniVersion isn't one of ours, or doesn't have this verb",
    remedy: "set the list's cniVersion to a version that every plugin of the list supports",
  },
  invalidEnvironment: {
    code: 4,
    meaning: "A CNI_* variable is missing or invalid; the message names it",
    remedy: "the runtime sets these variables; called by hand, set them as the CNI specification says",
  },
  unreadableInput: {
    code: 5,
    meaning: "The configuration can't be read from standard input",
    remedy: "the runtime must pass the network configuration on standard input",
  },
  undecodableInput: {
    code: 6,
    meaning: "Standard input is empty, too long, no UTF-8, no JSON, or no JSON object",
    remedy: "check the file in the runtime's CNI configuration directory",
  },
  invalidConfig: {
    code: 7,
    meaning: "The network configuration, a label or prevResult is invalid; the message names what",
    remedy: "correct the plugin's object in the conflist, or the pod's labels or annotation",
  },
  invalidNamespace: {
    code: 8,
    meaning: "CNI_NETNS isn't the path of a network namespace, or is the plugin's own",
    remedy: "pass the path of the container's own network namespace",
  },
  tryLater: {
    code: 11,
    meaning:
      "The enforcer is away or does not answer in time: nothing was changed, the runtime may try again",
    remedy: "is the enforcer running? `trireme status` and its log say more; the runtime will try again",
  },
  notReady: {
    code: 50,
    meaning: "The enforcer is away, and no pod of this node is enforced: no pod can be added",
    remedy: "start the enforcer (`trireme status`)",
  },
  limited: {
    code: 51,
    meaning: "The enforcer is away while pods are enforced: they open no new connections until it is back",
    remedy: "start the enforcer (`trireme status`); authorised connections go on meanwhile",
  },
  missingInNamespace: {
    code: 110,
    meaning: "The interface, or an address of prevResult, isn't in the container's namespace",
    remedy: "look at the plugins before this one in the conflist",
  },
  rulesNotInstalled: {
    code: 111,
    meaning: "The kernel refused the pod's rules or sysctls, or doesn't show them as they were written",
    remedy:
      "the kernel needs nf_tables, conntrack and NFQUEUE; the plugin needs CAP_NET_ADMIN and CAP_SYS_ADMIN",
  },
  untrustedSocket: {
    code: 112,
    meaning: "The control socket could belong to somebody else than root, so nothing was sent to it",
    remedy: "the socket and its directory must be root's, the directory with mode 0700",
  },
  rulesAltered: {
    code: 113,
    meaning: "CHECK: a rule in the container's namespace was deleted, added or altered",
    remedy: "somebody with CAP_NET_ADMIN in the pod changed them: delete and create the pod anew",
  },
  protocol: {
    code: 114,
    meaning: "The enforcer's answer isn't one of the control protocol",
    remedy: "install plugin and enforcer of the same release",
  },
  notGranted: {
    code: 115,
    meaning: "GC: the enforcer could not let go of every attachment; the message lists those left",
    remedy: "the enforcer's log says why; the next GC tries again",
  },
  internal: {
    code: 999,
    meaning: "A defect of the plugin",
    remedy: "please report it with the plugin's version and the configuration",
  },
} as const satisfies Record<string, { code: number; meaning: string; remedy: string }>;

export type FailureName = keyof typeof failures;

/** A failure of a verb on its way to stdout. `message` is the cause alone; who and which verb are added when it's printed. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: number;
  readonly details: string;

  constructor(failure: FailureName | { code: number }, cause: string, details?: string) {
    super(cause);
    const known = typeof failure === "string" ? failures[failure] : { ...failure, remedy: "" };
    this.code = known.code;
    this.details = details ?? known.remedy;
  }
}

/** Whatever was thrown, as a `CniError`: what isn't one is a defect, named by its class only (its text may hold anything). */
export function asCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  const kind = thrown instanceof Error ? thrown.name : typeof thrown;
  return new CniError("internal", `internal error (${kind})`);
}

/** The error object's text, one line. `cniVersion` must not be empty. */
export function formatError(error: CniError, cniVersion: string, subject: string): string {
  const msg = subject === "" ? error.message : `${subject}: ${error.message}`;
  const details = error.details === "" ? {} : { details: error.details };
  return `${JSON.stringify({ cniVersion, code: error.code, msg, ...details })}\n`;
}
