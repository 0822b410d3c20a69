/** Simulated time, and a network that loses, delays, reorders, duplicates and replays as a seed says. */

/** Numbers in [0, 1) from a seed: mulberry32, so that a failing run can be run again. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Simulation {
  nowMs = 0;
  private readonly events: Event[] = [];
  private count = 0;

  after(delayMs: number, run: () => void): void {
    const event = { atMs: this.nowMs + delayMs, order: this.count++, run };
    let low = 0;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(event, this.events[middle] ?? event)) low = middle + 1;
      else high = middle;
    }
    this.events.splice(low, 0, event);
  }

  /** Runs everything that happens until then. */
  runUntil(endMs: number): void {
    for (let next = this.events.at(-1); next !== undefined && next.atMs <= endMs; next = this.events.at(-1)) {
      this.events.pop();
      this.nowMs = next.atMs;
      next.run();
    }
    this.nowMs = endMs;
  }
}

/** Events lie with the latest first. */
function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Probabilities, for each packet. */
export interface Weather {
  readonly loss: number;
  readonly duplication: number;
  /** Late by up to 100 ms. */
  readonly reordering: number;
  /** Once more, up to 20 s later. */
  readonly replay: number;
}

export const fairWeather: Weather = { loss: 0, duplication: 0, reordering: 0, replay: 0 };

const delayMs = 1;

/** Joins two ends. */
export class Network {
  readonly counts = { lost: 0, duplicated: 0, reordered: 0, replayed: 0 };
  weather: Weather;
  private readonly simulation: Simulation;
  private readonly random: () => number;

  constructor(simulation: Simulation, random: () => number, weather: Weather) {
    this.simulation = simulation;
    this.random = random;
    this.weather = weather;
  }

  carry(packet: Buffer, deliver: (packet: Buffer) => void): void {
    const { loss, duplication, replay } = this.weather;
    if (this.happens(duplication, "duplicated")) this.simulation.after(this.delay(), () => deliver(packet));
    if (this.happens(replay, "replayed"))
      this.simulation.after(this.random() * 20_000, () => deliver(packet));
    if (this.happens(loss, "lost")) return;
    this.simulation.after(this.delay(), () => deliver(packet));
  }

  private delay(): number {
    return delayMs + (this.happens(this.weather.reordering, "reordered") ? this.random() * 100 : 0);
  }

  private happens(probability: number, name: keyof Network["counts"]): boolean {
    if (this.random() >= probability) return false;
    this.counts[name] += 1;
    return true;
  }
}
