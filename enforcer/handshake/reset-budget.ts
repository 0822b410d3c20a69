/** Owns the rate at which a PU's enforcer answers stray segments with resets: a token bucket that holds one second's worth. */

export class ResetBudget {
  private readonly perSecond: number;
  private available: number;
  private filledMs = 0;

  constructor(perSecond: number) {
    this.perSecond = perSecond;
    this.available = perSecond;
  }

  /** Takes one reset, if there is one left. */
  take(nowMs: number): boolean {
    const earned = (Math.max(0, nowMs - this.filledMs) / 1000) * this.perSecond;
    this.available = Math.min(this.perSecond, this.available + earned);
    this.filledMs = nowMs;
    if (this.available < 1) return false;
    this.available -= 1;
    return true;
  }
}
