// Links keep the time, the host and the table twin; an entity looks the same everywhere.
import { Link, type LinkProps, useLocation } from "react-router";
import { Icon, typeIcon } from "./icons";

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

export function EntityName({ id, type, name, host }: { id: string | null; type: string; name: string; host?: string | null }) {
  const inner = (
    <>
      <Icon name={typeIcon(type)} />
      <span className="en">{name}</span>
      {host ? <small>{host}</small> : null}
    </>
  );
  if (id === null) return <span className="ent">{inner}</span>;
  return (
    <To className="ent" to={entityPath(id)} data-entity={id}>
      {inner}
    </To>
  );
}
