// Links keep the time, the host and the table twin; an entity looks the same everywhere.
import { Link, type LinkProps, useLocation } from "react-router";
import { useT } from "../i18n";
import { tidyName } from "../map/names";
import { Icon, typeIcon } from "./icons";
import { usePanel } from "./panel";

const KEPT = ["at", "range", "host"];

/** `path` may carry its own parameters; they win over the kept ones. */
export function keep(path: string, search: string): string {
  const [bare, own] = path.split("?") as [string, string | undefined];
  const out = new URLSearchParams();
  const now = new URLSearchParams(search);
  for (const name of KEPT) {
    const value = now.get(name);
    if (value !== null) out.set(name, value);
  }
  for (const [name, value] of new URLSearchParams(own ?? "")) {
    if (value === "") out.delete(name);
    else out.set(name, value);
  }
  const text = out.toString();
  return text ? `${bare}?${text}` : bare;
}

export function To({ to, ...rest }: Omit<LinkProps, "to"> & { to: string }) {
  const { search } = useLocation();
  return <Link to={keep(to, search)} {...rest} />;
}

export function entityPath(id: string): string {
  return `/entities/${encodeURIComponent(id)}`;
}

/** Whether a click means "here", not "in another tab". */
export function isPlain(event: React.MouseEvent): boolean {
  return !event.defaultPrevented && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}

/** A click opens the entity in the side panel, beside what is looked at; in another tab, or on an entity's page, its page. */
export function EntityName({ id, type, name, host }: { id: string | null; type: string; name: string; host?: string | null }) {
  const panel = usePanel();
  const t = useT();
  // `stress (4711) +3`: one process that stands for three more of the same program.
  const [, first, more] = /^(.*) \+(\d+)$/.exec(name) ?? [null, tidyName(type, name), null];
  const inner = (
    <>
      <Icon name={typeIcon(type)} />
      <span className="en">{first}</span>
      {more ? (
        <small title={t("page.more_of_it", { count: more })}>
          +{more}
          <span className="sr"> {t("page.more_of_it", { count: more })}</span>
        </small>
      ) : null}
      {host ? <small>{host}</small> : null}
    </>
  );
  if (id === null) return <span className="ent">{inner}</span>;
  return (
    <To
      className="ent"
      to={entityPath(id)}
      data-entity={id}
      aria-current={panel.id === id ? "true" : undefined}
      onClick={(event) => {
        if (!panel.here || !isPlain(event)) return;
        event.preventDefault();
        panel.open(id);
      }}
    >
      {inner}
    </To>
  );
}
