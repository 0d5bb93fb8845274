// Pages as chunks of their own: read when opened, or before that when nothing else is to be done.
import { type ComponentType, lazy } from "react";

/** The first page is on the screen by then. */
const AFTER_MS = 2000;
const reads: (() => Promise<unknown>)[] = [];

/** A chunk could not be read: the hub is away, or runs another build. */
export class NotRead extends Error {
  constructor(cause: unknown) {
    super("a part of the interface could not be read", { cause });
    this.name = "NotRead";
  }
}

export function page<P = object>(read: () => Promise<{ default: ComponentType<P> }>) {
  reads.push(read);
  return lazy(() =>
    read().catch((cause) => {
      throw new NotRead(cause);
    }),
  );
}

/** Reads every page in the background. One that cannot be read now is read when it is opened. */
export function readAll(): void {
  const begin = () => {
    performance.mark("gala-rest");
    for (const read of reads) read().catch(() => {});
  };
  const whenIdle = () => ("requestIdleCallback" in window ? requestIdleCallback(begin) : begin());
  setTimeout(whenIdle, AFTER_MS);
}
