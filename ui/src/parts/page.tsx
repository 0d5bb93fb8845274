// The four states every page has: empty, loading, broken, stale. And the page's title.
import { type ReactNode, useEffect, useState } from "react";
import { ApiError } from "../api/client";
import { useStream } from "../api/stream";
import { clock } from "../format";
import { useT } from "../i18n";
import { Rich } from "./rich";

/** Words appear after this long; until then the layout alone stands. */
const QUIET_MS = 400;

interface Asked<T> {
  data: T | undefined;
  error: Error | null;
  isPending: boolean;
  isError: boolean;
  refetch: () => unknown;
  dataUpdatedAt: number;
}

/** Shows an answer, the reason there is none, or the place where it will stand. An old answer stays when a new one fails. */
export function Answer<T>({ of, lines = 4, children }: { of: Asked<T>; lines?: number; children: (data: T) => ReactNode }) {
  if (of.data !== undefined)
    return (
      <>
        {of.isError ? <Broken error={of.error} retry={of.refetch} since={of.dataUpdatedAt} /> : null}
        {children(of.data)}
      </>
    );
  if (of.isError) return <Broken error={of.error} retry={of.refetch} />;
  return <Skeleton lines={lines} />;
}

export function Skeleton({ lines = 4, height = 32 }: { lines?: number; height?: number }) {
  const t = useT();
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), QUIET_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="skel" aria-busy="true" role="status">
      {Array.from({ length: lines }, (_, index) => (
        <i key={index} style={{ height: height - 14, width: `${94 - ((index * 37) % 40)}%` }} />
      ))}
      <span className={slow ? "lab" : "sr"}>{t("page.loading")}</span>
    </div>
  );
}

export function Broken({ error, retry, since }: { error: Error | null; retry: () => unknown; since?: number }) {
  const t = useT();
  const id = error instanceof ApiError ? error.requestId : null;
  return (
    <div className="broken" role="alert">
      <p>
        <b>{t(since ? "page.stale_answer" : "page.broken", { time: since ? clock(since) : "" })}</b> {error?.message}
      </p>
      <p className="meta">
        <button type="button" className="btn" onClick={() => void retry()}>
          {t("page.retry")}
        </button>
        {id ? (
          <span>
            {t("page.request_id")} <code>{id}</code>
          </span>
        ) : null}
      </p>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p>
        <b>{title}</b>
      </p>
      {typeof children === "string" ? (
        <p>
          <Rich text={children} />
        </p>
      ) : (
        children
      )}
    </div>
  );
}

/** A page: its title in the tab, and dimmed while the stream is lost. */
export function Page({ title, children, className }: { title: string; children: ReactNode; className?: string }) {
  const t = useT();
  const { lostSince } = useStream();
  useEffect(() => {
    document.title = `${title} · gala`;
  }, [title]);
  return (
    <div className={`wide ${className ?? ""}`}>
      {lostSince === null ? null : (
        <p className="stale" role="status">
          <Rich text={t("page.stale", { time: clock(lostSince) })} />
        </p>
      )}
      <div className={lostSince === null ? undefined : "dimmed"}>{children}</div>
    </div>
  );
}

export function Section({
  title,
  note,
  right,
  children,
  className,
}: {
  title: ReactNode;
  note?: ReactNode;
  right?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={`sec ${className ?? ""}`}>
      <header>
        <h2>
          {title} {note ? <small>{note}</small> : null}
        </h2>
        {right ? <span className="r">{right}</span> : null}
      </header>
      {children}
    </section>
  );
}

/** Copies on click and says so. */
export function CopyId({ id, shown }: { id: string; shown: string }) {
  const t = useT();
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(id);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" className="mono idc" title={`${t("page.copy")}: ${id}`} onClick={() => void copy()}>
      {copied ? t("page.copied") : shown}
    </button>
  );
}
