// Paths that lead nowhere, what was not there at a time, and pages that broke: what happened and a way back.
import { useEffect, useRef } from "react";
import { useLocation, useRouteError } from "react-router";
import { get } from "./api/client";
import { useStream } from "./api/stream";
import { useT } from "./i18n";
import { NotRead } from "./pages";
import { To } from "./parts/links";
import { Page } from "./parts/page";
import { remember, remembered } from "./storage";
import { useTime } from "./time/useTime";

/** `text` says more where it is not an address that is wrong. */
export function NotFound({ what, text }: { what?: string; text?: string }) {
  const t = useT();
  const { pathname } = useLocation();
  return (
    <Page title={t("notfound.title")}>
      <h1>{t("notfound.title")}</h1>
      <p className="lead">{text ?? t("notfound.text", { what: what ?? pathname })}</p>
      <p className="way">
        <To className="btn" to="/">
          {t("notfound.back")}
        </To>
      </p>
    </Page>
  );
}

/** Goes back to now on the same page. */
export function ToNow() {
  const t = useT();
  const time = useTime();
  return (
    <p className="way">
      <button type="button" className="btn" onClick={() => time.set({ ...time, at: null })}>
        {t("time.to_now")}
      </button>
    </p>
  );
}

/** An entity that is not known at the time of the page. */
export function NotThen({ id }: { id: string }) {
  const t = useT();
  return (
    <Page title={t("panel.unknown")}>
      <h1>{t("panel.unknown")}</h1>
      <p className="lead">{t("notfound.then", { id })}</p>
      <ToNow />
    </Page>
  );
}

const RELOADED = "gala.reloaded";
/** A build that cannot be read even after a reload is not reloaded for ever. */
const RELOAD_AGAIN_MS = 60_000;
const REACH_LIMIT_MS = 5000;

/** Loads the page anew if the hub is there, so that its build can be read; not again and again, unless it was away. */
async function reload(wasAway: boolean): Promise<void> {
  const last = Number(remembered(RELOADED, "session") ?? 0);
  if (!wasAway && Date.now() - last < RELOAD_AGAIN_MS) return;
  try {
    await get("/health", {}, undefined, REACH_LIMIT_MS);
  } catch {
    return;
  }
  remember(RELOADED, String(Date.now()), "session");
  location.reload();
}

export function PageError() {
  const t = useT();
  const error = useRouteError();
  const { lostSince } = useStream();
  const isNotRead = error instanceof NotRead;
  const wasAway = useRef(false);
  useEffect(() => {
    if (lostSince !== null) wasAway.current = true;
    else if (isNotRead) void reload(wasAway.current);
  }, [lostSince, isNotRead]);
  const title = t(isNotRead ? "pageerror.not_read" : "pageerror.title");
  return (
    <Page title={title}>
      <h1>{title}</h1>
      <p className="lead">{isNotRead ? t("pageerror.not_read_help") : error instanceof Error ? error.message : String(error)}</p>
      <p className="way">
        <button type="button" className="btn" onClick={() => location.reload()}>
          {t("page.retry")}
        </button>
      </p>
    </Page>
  );
}
