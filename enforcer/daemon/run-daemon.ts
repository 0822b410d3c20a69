/** Owns the daemon as a process: its log on stderr, its signals, and how it ends. */
import type { ConfigFlags } from "../config/config.ts";
import { readConfig } from "../config/config-file.ts";
import { Logger } from "../telemetry/log.ts";
import { Daemon } from "./daemon.ts";
import { keepHeapSmall } from "./memory.ts";

/** SIGTERM ends the process within 5 s, whatever hangs. */
const STOP_TIMEOUT_MS = 4500;
const LOG_FLUSH_MS = 1000;

/** Runs the enforcer until a signal ends it; then the process is gone. Rejects with `OperationError` if it can't start. */
export async function runDaemon(configPath: string, flags: ConfigFlags): Promise<void> {
  keepHeapSmall();
  const config = readConfig(configPath, flags);
  const log = new Logger({
    level: config.logLevel,
    format: config.logFormat,
    write: (line) => void process.stderr.write(line),
  });
  setInterval(() => log.flush(), LOG_FLUSH_MS).unref();
  const fail = (problem: unknown): void => {
    log.error("the enforcer ends", { problem: problem instanceof Error ? problem.stack : String(problem) });
    process.exit(1);
  };
  const daemon = Daemon.start({ config, log, onFatal: fail });
  const unhandle = handleSignals(daemon, log);
  process.on("uncaughtException", fail);
  try {
    await daemon;
  } catch (error) {
    process.removeListener("uncaughtException", fail);
    unhandle();
    throw error;
  }
}

/** Gives what takes the handlers away again. */
function handleSignals(starting: Promise<Daemon>, log: Logger): () => void {
  let isStopping = false;
  const stop = (signal: string): void => {
    if (isStopping) return;
    isStopping = true;
    log.info("stopping; the pods' rules stay", { signal });
    setTimeout(() => process.exit(0), STOP_TIMEOUT_MS).unref();
    void starting.then((daemon) => daemon.stop()).finally(() => process.exit(0));
  };
  const reload = (): void => void starting.then((daemon) => daemon.reload());
  const handlers = [
    ["SIGTERM", stop],
    ["SIGINT", stop],
    ["SIGHUP", reload],
  ] as const;
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) process.removeListener(signal, handler);
  };
}
