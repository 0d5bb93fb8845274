// Paths that lead nowhere, and pages that broke: what happened and a way back.
import { useLocation, useRouteError } from "react-router";
import { useT } from "./i18n";
import { To } from "./parts/links";
import { Page } from "./parts/page";

export function NotFound({ what }: { what?: string }) {
  const t = useT();
  const { pathname } = useLocation();
  return (
    <Page title={t("notfound.title")}>
      <h1>{t("notfound.title")}</h1>
      <p className="lead">{t("notfound.text", { what: what ?? pathname })}</p>
      <p className="way">
        <To className="btn" to="/">
          {t("notfound.back")}
        </To>
      </p>
    </Page>
  );
}

export function PageError() {
  const t = useT();
  const error = useRouteError();
  return (
    <Page title={t("pageerror.title")}>
      <h1>{t("pageerror.title")}</h1>
      <p className="lead">{error instanceof Error ? error.message : String(error)}</p>
      <p className="way">
        <button type="button" className="btn" onClick={() => location.reload()}>
          {t("page.retry")}
        </button>
      </p>
    </Page>
  );
}
