// The four states every page has: empty, loading, broken, stale. And the page's title.
import { type ReactNode, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { useStream } from "../api/stream";
import { plain, stamp } from "../format";
import { useT } from "../i18n";
import { Rich } from "./rich";
import { tell } from "./tell";
import { setPageTitle } from "./title";

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

/**
 * The same in the place of one chart: nothing moves while its numbers are asked for, and what could not be read does not look
 * like what was not there.
 */
export function ChartAnswer<T>({ of, height, children }: { of: Asked<T>; height: number; children: (data: T) => ReactNode }) {
  if (of.data === undefined && !of.isError) return <Skeleton chart={height} />;
  return (
    <Answer of={of} lines={1}>
      {children}
    </Answer>
  );
}

/** `chart`: of this height exactly, instead of lines. */
export function Skeleton({ lines = 4, height = 32, chart }: { lines?: number; height?: number; chart?: number }) {
  const t = useT();
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => {
      setSlow(true);
      tell(t("page.loading"));
    }, QUIET_MS);
    return () => clearTimeout(timer);
  }, [t]);
  if (chart !== undefined)
    return (
      <div className="skel of-chart" style={{ height: chart }} aria-busy="true">
        <i />
        <span className={slow ? "lab" : "sr"}>{t("page.loading")}</span>
      </div>
    );
  return (
    <div className="skel" aria-busy="true">
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
  const words = `${since ? plain(t("page.stale_answer", { time: stamp(since) }), Date.now()) : t("page.broken")} ${error?.message ?? ""}`;
  useEffect(() => tell(words), [words]);
  return (
    <div className="broken">
      <p>
        <b>{since ? <Rich text={t("page.stale_answer", { time: stamp(since) })} /> : t("page.broken")}</b> {error?.message}
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
    setPageTitle(plain(title, Date.now()));
  }, [title]);
  return (
    <div className={`wide ${className ?? ""}`}>
      {lostSince === null ? null : (
        <p className="stale">
          <Rich text={t("page.stale", { time: stamp(lostSince) })} />
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

/** Copies on click and says so. Browsers keep the clipboard from pages of plain HTTP: there the whole id is selected instead. */
export function CopyId({ id, shown }: { id: string; shown: string }) {
  const t = useT();
  const [copied, setCopied] = useState(false);
  const [selected, setSelected] = useState(false);
  const text = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (!selected || !text.current) return;
    text.current.focus();
    getSelection()?.selectAllChildren(text.current);
  }, [selected]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(id);
    } catch {
      setSelected(true);
      return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  if (selected)
    return (
      <span ref={text} className="mono idc all" tabIndex={-1} title={t("page.to_copy")}>
        {id}
      </span>
    );
  return (
    <button type="button" className="mono idc" title={`${t("page.copy")}: ${id}`} onClick={() => void copy()}>
      {copied ? t("page.copied") : shown}
    </button>
  );
}
