// Whether the hub is heard of. The stream tells when it breaks, but not when a connection is dead without a word, and the
// comments that keep it alive are not told to scripts: after a silence of twice their distance the hub is asked. Pure; time,
// asking and telling come from the caller.

/** The hub sends at least a comment this often. */
export const KEEP_ALIVE_MS = 15_000;
const SILENCE_MS = 2 * KEEP_ALIVE_MS;

export class Alive {
  private heardMs: number;
  private brokenMs: number | null = null;
  private silentMs: number | null = null;
  private asking = false;

  /** `ask` fails when no answer comes in time; `tell` is given since when the hub is lost, null when it is heard again. */
  constructor(
    private readonly now: () => number,
    private readonly ask: () => Promise<unknown>,
    private readonly tell: (lostSince: number | null) => void,
  ) {
    this.heardMs = now();
  }

  private publish(): void {
    this.tell(this.brokenMs ?? this.silentMs);
  }

  /** An event or an answer came. */
  heard(): void {
    this.heardMs = this.now();
    if (this.silentMs === null) return;
    this.silentMs = null;
    this.publish();
  }

  /** The stream is broken since a moment. */
  broken(since: number): void {
    if (this.brokenMs !== null) return;
    this.brokenMs = this.silentMs ?? since;
    this.publish();
  }

  /** The stream is open. */
  opened(): void {
    this.heardMs = this.now();
    this.brokenMs = null;
    this.silentMs = null;
    this.publish();
  }

  /** To be called every few seconds. */
  async check(): Promise<void> {
    if (this.asking || this.now() - this.heardMs < SILENCE_MS) return;
    const since = this.heardMs;
    this.asking = true;
    try {
      await this.ask();
      this.heard();
    } catch {
      // An event may have come while the question was on its way.
      if (this.heardMs === since) {
        this.silentMs ??= since;
        this.publish();
      }
    } finally {
      this.asking = false;
    }
  }
}
