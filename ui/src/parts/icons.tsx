// Glyphs on a 14 px grid, lines of 1.25 px; one per page and per entity type.

const PATHS = {
  search: "M6.2 2a4.2 4.2 0 1 0 0 8.4a4.2 4.2 0 0 0 0-8.4M9.3 9.3l3.2 3.2",
  theme: "M7 1.8a5.2 5.2 0 1 0 0 10.4ZM7 1.8a5.2 5.2 0 0 1 0 10.4",
  table: "M1.8 2.5h10.4v9H1.8ZM1.8 5.5h10.4M1.8 8.5h10.4M5.4 5.5v6",
  agent: "M7 1.6l4.8 1.8v3.4c0 2.8-2 4.7-4.8 5.7-2.8-1-4.8-2.9-4.8-5.7V3.4ZM4.8 7l1.6 1.6 3-3.2",
  now: "M1 7.5h3l2-5 2.5 9 2-4H13",
  incidents: "M7 2l5.6 10H1.4ZM7 6v2.6M7 10.3v.1",
  map: "M3 2.2a1.6 1.6 0 1 0 0 3.2a1.6 1.6 0 0 0 0-3.2M11 2.2a1.6 1.6 0 1 0 0 3.2a1.6 1.6 0 0 0 0-3.2M7 8.8a1.6 1.6 0 1 0 0 3.2a1.6 1.6 0 0 0 0-3.2M4.6 3.8h4.8M3.8 5.2l2.3 3.7M10.2 5.2L7.9 8.9",
  entities: "M2 3.2h1M5 3.2h7M2 7h1M5 7h7M2 10.8h1M5 10.8h7",
  explore: "M1.8 3.5l3 3.2-3 3.2M6.5 10.5h5.7",
  proc: "M3 2h8a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1ZM5 5h4v4H5Z",
  app: "M7 1.5l4.8 2.75v5.5L7 12.5 2.2 9.75v-5.5Z",
  host: "M2 2.2h10v4H2ZM2 7.8h10v4H2ZM4.2 4.2h.2M4.2 9.8h.2",
  disk: "M2 4c0-1.1 2.2-2 5-2s5 .9 5 2v6c0 1.1-2.2 2-5 2s-5-.9-5-2V4Zm0 0c0 1.1 2.2 2 5 2s5-.9 5-2",
  fs: "M1.5 11V3.5a1 1 0 0 1 1-1h3L7 4h4.5a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1Z",
  thread: "M3.5 2v10M7 2v10M10.5 2v10",
  block: "M2 2.5h10v2.6H2ZM2 8.9h10v2.6H2ZM7 5.1v3.8",
  clients: "M7 2a2.4 2.4 0 1 0 0 4.8A2.4 2.4 0 0 0 7 2ZM2.5 12c.4-2.4 2.2-3.6 4.5-3.6s4.1 1.2 4.5 3.6",
  endpoint: "M7 2a5 5 0 1 0 0 10a5 5 0 0 0 0-10ZM7 5.4a1.6 1.6 0 1 0 0 3.2a1.6 1.6 0 0 0 0-3.2",
  sched: "M7 1.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11ZM7 4v3l2 1.5",
  cpu: "M4 4h6v6H4ZM5.5 1.5V4M8.5 1.5V4M5.5 10v2.5M8.5 10v2.5M1.5 5.5H4M1.5 8.5H4M10 5.5h2.5M10 8.5h2.5",
  nic: "M2 3h10v6H2ZM4.5 9v2.5M7 9v2.5M9.5 9v2.5",
  mem: "M1.5 4h11v5h-11ZM4.5 6v1M7 6v1M9.5 6v1M3.5 9v2M7 9v2M10.5 9v2",
  link: "M1.6 7a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0-3.2 0M9.2 7a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0-3.2 0M4.8 7h4.4",
  net: "M7 1.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11ZM1.5 7h11M7 1.5c-3.2 3.4-3.2 7.6 0 11M7 1.5c3.2 3.4 3.2 7.6 0 11",
  container: "M1.5 4.5L7 2l5.5 2.5v5L7 12 1.5 9.5ZM1.5 4.5L7 7l5.5-2.5M7 7v5",
  other: "M3 7h.1M7 7h.1M11 7h.1",
} as const;

export type IconName = keyof typeof PATHS;

const BY_TYPE: Record<string, IconName> = {
  host: "host",
  cpu: "cpu",
  mem: "mem",
  disk: "disk",
  block: "block",
  fs: "fs",
  nic: "nic",
  qdisc: "nic",
  net: "net",
  sched: "sched",
  sli_node: "sched",
  proc: "proc",
  thread: "thread",
  container: "container",
  pod: "container",
  appinstance: "app",
  sli: "now",
  l7: "now",
  l7_api: "now",
  tcp_link: "link",
  endpoint_tcp: "endpoint",
  endpoint_udp: "endpoint",
  endpoint: "endpoint",
  dns: "net",
  clients: "clients",
};

export function iconPath(name: IconName): string {
  return PATHS[name];
}

export function typeIcon(type: string): IconName {
  return BY_TYPE[type] ?? "other";
}

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="ic" viewBox="0 0 14 14" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
