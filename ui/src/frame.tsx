// The frame around every page: brand, host, search, the one time, theme, language, the agent's own cost; the rail of pages.
import { Suspense, useCallback, useEffect, useState } from "react";
import { Outlet, useLocation, useSearchParams } from "react-router";
import { useBudget, useHosts, useLedger, useOpenFaults } from "./api/queries";
import { useStream } from "./api/stream";
import { bytes, cost, num, percent, zone } from "./format";
import { setLanguage, useLang, useT } from "./i18n";
import { countOf } from "./incident/read";
import { PAGES, useKeys } from "./keys";
import { page } from "./pages";
import { HoverCard } from "./parts/HoverCard";
import { Icon } from "./parts/icons";
import { To } from "./parts/links";
import { Palette } from "./parts/Palette";
import { Skeleton } from "./parts/page";
import { usePanel } from "./parts/panel";
import { Shortcuts } from "./parts/Shortcuts";
import { judgedClass, ofSeverity } from "./parts/state";
import { setOpenCount } from "./parts/title";
import { switchTwin, useTwin } from "./parts/twin";
import { Said, useArrival } from "./said";
import { toggleTheme, useTheme } from "./theme";
import { TimeBar } from "./time/TimeBar";
import { useNow, useTime } from "./time/useTime";

const Panel = page(() => import("./panel/Panel"));

export function Frame() {
  const t = useT();
  const [asked, setAsked] = useState<"search" | "keys" | null>(null);
  const search = useCallback(() => setAsked("search"), []);
  const close = useCallback(() => setAsked(null), []);
  const panel = usePanel();
  useKeys(setAsked);
  useArrival();
  return (
    <>
      <a className="skip" href="#main">
        {t("frame.skip")}
      </a>
      <Top onSearch={search} />
      <div className={panel.id === null ? "body" : "body with"}>
        <Rail />
        <main id="main" tabIndex={-1}>
          <Suspense fallback={<Skeleton lines={8} />}>
            <Outlet />
          </Suspense>
        </main>
        {panel.id === null ? null : (
          <Suspense fallback={null}>
            <Panel id={panel.id} onClose={panel.close} />
          </Suspense>
        )}
      </div>
      <HoverCard />
      <Said />
      {asked === "search" ? <Palette onClose={close} /> : null}
      {asked === "keys" ? <Shortcuts onClose={close} /> : null}
    </>
  );
}

function Top({ onSearch }: { onSearch: () => void }) {
  const t = useT();
  const lang = useLang();
  const theme = useTheme();
  return (
    <header className="top">
      <To className="brand" to="/">
        <svg viewBox="0 0 18 18" aria-hidden="true">
          <path
            d="M1 13.5h4.2c2.4 0 2.6-10 4.3-10s1.7 6.5 3.6 6.5H17"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.9"
            strokeLinecap="round"
          />
        </svg>
        gala
      </To>
      <HostPick />
      <button type="button" className="find" onClick={onSearch} aria-label={t("frame.search_label")}>
        <Icon name="search" />
        <span>{t("frame.search")}</span>
        <kbd>/</kbd>
      </button>
      <TimeBar />
      <TwinSwitch />
      <button
        type="button"
        className="pick plain"
        onClick={toggleTheme}
        aria-label={t(theme === "dark" ? "frame.to_light" : "frame.to_dark")}
        title={t(theme === "dark" ? "frame.to_light" : "frame.to_dark")}
      >
        <Icon name="theme" />
      </button>
      <button
        type="button"
        className="pick plain lang"
        onClick={() => setLanguage(lang === "en" ? "zh" : "en")}
        aria-label={`${lang === "en" ? "EN" : "中"}, ${t("frame.language")}`}
      >
        {lang === "en" ? "EN" : "中"}
      </button>
      <Cost />
    </header>
  );
}

/** What the key `t` does, for those who have no such key: screen readers use it themselves, telephones have none. */
function TwinSwitch() {
  const t = useT();
  const twin = useTwin();
  const [, setParams] = useSearchParams();
  return (
    <button
      type="button"
      className="pick plain"
      aria-pressed={twin}
      aria-label={t("frame.tables")}
      title={t("frame.tables")}
      onClick={() => setParams(switchTwin, { replace: true })}
    >
      <Icon name="table" />
    </button>
  );
}

function HostPick() {
  const t = useT();
  const time = useTime();
  const hosts = useHosts(time);
  const [params, setParams] = useSearchParams();
  const host = params.get("host") ?? "";
  const items = hosts.data?.items ?? [];
  return (
    <label className="pick sel">
      <span className="sr">{t("frame.host")}</span>
      <select
        value={host}
        aria-label={t("frame.host")}
        onChange={(event) =>
          setParams((old) => {
            const next = new URLSearchParams(old);
            if (event.target.value) next.set("host", event.target.value);
            else next.delete("host");
            return next;
          })
        }
      >
        <option value="">{items.length === 1 ? items[0]!.name : t("frame.all_hosts")}</option>
        {items.length > 1 || host
          ? items.map((one) => (
              <option key={one.entity_id} value={one.name}>
                {one.name}
              </option>
            ))
          : null}
      </select>
    </label>
  );
}

function Cost() {
  const t = useT();
  const budget = useBudget();
  const { pulse } = useStream();
  const cpu = pulse?.cpu_ratio ?? budget.data?.cpu.used_ratio;
  const memory = pulse?.memory_bytes ?? budget.data?.memory.used_bytes;
  const known = cpu !== undefined;
  const title = known ? t("frame.cost", { cpu: percent(cpu), memory: bytes(memory) }) : t("frame.cost_unknown");
  return (
    <To className="cost" to="/agent" title={title}>
      <Icon name="agent" />
      <span className="w">{t("frame.agent")}</span> <b>{known ? cost(cpu) : "–"}</b>
    </To>
  );
}

function Rail() {
  const t = useT();
  const { pathname } = useLocation();
  const open = useOpenFaults();
  const ledger = useLedger();
  const { lostSince } = useStream();
  const now = useNow();
  const items = open.data?.items ?? [];
  const count = items.length === 0 ? "" : countOf(open.data!);
  useEffect(() => setOpenCount(count), [count]);
  const worst = items.some((fault) => ofSeverity(fault.severity) === "crit") ? "crit" : "warn";
  const watched = ledger.data?.watched;
  return (
    <nav className="rail" aria-label={t("frame.pages")}>
      {PAGES.map((page) => {
        const here = page.path === "/" ? pathname === "/" : pathname === page.path || pathname.startsWith(`${page.path}/`);
        return (
          <To key={page.path} to={page.path} aria-current={here ? "page" : undefined} title={`g ${page.key}`}>
            <Icon name={page.icon} />
            <span>{t(page.name)}</span>
            {page.path === "/incidents" && count !== "" ? (
              <span className={`n ${judgedClass(worst)}`} title={t("frame.open", { count })}>
                {count}
                <span className="sr"> {t("frame.open_n")}</span>
              </span>
            ) : null}
          </To>
        );
      })}
      <p className="foot">
        {lostSince === null ? t(watched?.processes === 0 ? "frame.starting" : "frame.live") : t("frame.not_live")}
        {watched && watched.processes > 0 ? (
          <>
            <br />
            {t(watched.hosts === 1 ? "frame.hosts_1" : "frame.hosts", { count: watched.hosts })}
            <br />
            {t("frame.processes", { count: num(watched.processes) })}
          </>
        ) : null}
        <br />
        <span title={t("frame.zone")}>{zone(now)}</span>
      </p>
    </nav>
  );
}
