// What those who do not see the page are told: that another page is there, what it found, that it waits or could not be read,
// that the hub was lost and is back.
import { useEffect, useRef, useState } from "react";
import { NavigationType, useLocation, useNavigationType } from "react-router";
import { useStream } from "./api/stream";
import { plain, stamp } from "./format";
import { useT } from "./i18n";
import { useTold } from "./parts/tell";
import { usePageTitle } from "./parts/title";

/** A page that was gone to is seen from its top and has the focus; Back leaves the place to the browser. */
export function useArrival(): void {
  const { pathname } = useLocation();
  const how = useNavigationType();
  const before = useRef(pathname);
  useEffect(() => {
    if (before.current === pathname) return;
    before.current = pathname;
    if (how === NavigationType.Pop) return;
    window.scrollTo(0, 0);
    const main = document.getElementById("main");
    // A field of the page may have taken it already.
    if (!main?.contains(document.activeElement)) main?.focus({ preventScroll: true });
  }, [pathname, how]);
}

/** Stands there from the start: a region that comes with its words is not heard. */
export function Said() {
  const t = useT();
  const title = usePageTitle();
  const { lostSince } = useStream();
  const first = useRef(true);
  const wasLost = useRef(false);
  const [text, setText] = useState("");
  useEffect(() => {
    // The browser tells the first title itself.
    if (first.current) first.current = title === "";
    else setText(title);
  }, [title]);
  useEffect(() => {
    if (lostSince !== null) setText(plain(t("page.stale", { time: stamp(lostSince) }), Date.now()));
    else if (wasLost.current) setText(t("page.back"));
    wasLost.current = lostSince !== null;
  }, [lostSince, t]);
  const told = useTold();
  useEffect(() => {
    if (told.words !== "") setText(told.words);
  }, [told]);
  return (
    <p className="sr" role="status" id="said">
      {/* Anew each time, else the same words again are no news. */}
      <span key={told.at}>{text}</span>
    </p>
  );
}
