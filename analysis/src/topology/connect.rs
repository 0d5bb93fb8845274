//! Who talks to whom: pairs the two ends of connections, lifts the pairs to processes, applications and hosts, and
//! makes unobserved peers visible as external entities.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use gala_model::entity;

use super::{Edge, EdgeAttributes, Entity, LabelMap, Observed, Relation};

/// Addresses that mean something else on every machine: loopback, link-local, the default container bridge.
fn is_machine_scoped(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[..2] == [172, 17],
        IpAddr::V6(v6) => v6.is_loopback() || (v6.segments()[0] & 0xffc0) == 0xfe80,
    }
}

/// IPv4 addresses mapped into IPv6 are the IPv4 address.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct FlowKey {
    /// Machine for addresses of machine scope, empty otherwise.
    scope: String,
    client: IpAddr,
    server: IpAddr,
    server_port: u16,
}

struct Link {
    index: usize,
    process: Option<Arc<str>>,
    key: FlowKey,
    client_port: u16,
    is_client: bool,
    /// Pod or container it is in, which have a loopback of their own.
    place: Option<Arc<str>>,
}

/// Adds `is_peer` between connection ends, `connect` between processes, and external peers.
pub fn connect(observed: &mut Observed) {
    let links = collect_links(observed);
    let mut servers: HashMap<&FlowKey, Vec<&Link>> = HashMap::new();
    for link in links.iter().filter(|link| !link.is_client) {
        servers.entry(&link.key).or_default().push(link);
    }
    let mut clients_of: HashMap<&FlowKey, usize> = HashMap::new();
    for link in links.iter().filter(|link| link.is_client) {
        *clients_of.entry(&link.key).or_default() += 1;
    }
    let mut pairs = Pairs::default();
    let mut matched_servers: HashSet<usize> = HashSet::new();
    let mut externals = Vec::new();
    for client in links.iter().filter(|link| link.is_client) {
        let mut candidates: Vec<&&Link> = servers
            .get(&client.key)
            .into_iter()
            .flatten()
            .filter(|server| client.client_port == 0 || server.client_port == 0 || client.client_port == server.client_port)
            .collect();
        let is_beside = |server: &&&Link| server.place == client.place;
        // Who shares the host's network talks to others all the same.
        if client.key.server.is_loopback() && candidates.iter().any(is_beside) {
            candidates.retain(is_beside);
        }
        if candidates.is_empty() {
            externals.push((client, client.key.server, client.key.server_port.to_string()));
            continue;
        }
        let by_port = client.client_port != 0 && candidates.iter().all(|server| server.client_port != 0);
        let ambiguous = !by_port && candidates.len() > 1 && clients_of[&client.key] > 1;
        for server in candidates {
            matched_servers.insert(server.index);
            pairs.add_peer(observed, client, server, ambiguous);
        }
    }
    for server in links.iter().filter(|link| !link.is_client && !matched_servers.contains(&link.index)) {
        externals.push((server, server.key.client, "any".to_owned()));
    }
    let external_entities = pairs.add_externals(observed, &externals);
    observed.edges.extend(pairs.peers);
    observed.edges.extend(pairs.connects.into_values().map(ConnectEdge::finish));
    observed.entities.extend(external_entities);
}

fn collect_links(observed: &Observed) -> Vec<Link> {
    let processes: HashMap<(&str, &str), &Arc<str>> = observed
        .entities
        .iter()
        .filter(|entity| entity.kind.name == "proc")
        .filter_map(|entity| Some(((entity.machine(), entity.label("tgid")?), &entity.id)))
        .collect();
    let mut links = Vec::new();
    for (index, entity) in observed.entities.iter().enumerate().filter(|(_, entity)| entity.kind.name == "tcp_link") {
        let address = |label: &str| entity.label(label).and_then(parse_address);
        let (Some(client), Some(server)) = (address("client_ip"), address("server_ip")) else { continue };
        let port = |label: &str| entity.label(label).and_then(|text| text.parse::<u16>().ok());
        let Some(server_port) = port("server_port") else { continue };
        let local = is_machine_scoped(client) || is_machine_scoped(server);
        let scope = if local { entity.machine().to_owned() } else { String::new() };
        links.push(Link {
            index,
            process: entity.label("tgid").and_then(|tgid| processes.get(&(entity.machine(), tgid)).map(|id| Arc::clone(id))),
            key: FlowKey { scope, client, server, server_port },
            client_port: port("client_port").unwrap_or(0),
            is_client: entity.label("role") == Some("client"),
            place: ["pod_id", "container_id"].iter().find_map(|label| entity.label(label)).map(Arc::from),
        });
    }
    links
}

#[derive(Default)]
struct Pairs {
    peers: Vec<Edge>,
    connects: BTreeMap<(Arc<str>, Arc<str>), ConnectEdge>,
    /// Links whose traffic an edge already counts: a link with several peers must not be added twice.
    counted: HashSet<(usize, Arc<str>, Arc<str>)>,
}

struct ConnectEdge {
    edge: Edge,
    srtt_sum_us: f64,
    srtt_count: f64,
    retransmitted: f64,
    segments_out: f64,
}

impl Pairs {
    fn add_peer(&mut self, observed: &Observed, client: &Link, server: &Link, ambiguous: bool) {
        let ends = (&observed.entities[client.index], &observed.entities[server.index]);
        let mut peer = Edge::direct(Relation::IsPeer, &ends.0.id, &ends.1.id);
        peer.ambiguous = ambiguous;
        self.peers.push(peer);
        let (Some(from), Some(to)) = (&client.process, &server.process) else { return };
        if from == to {
            return;
        }
        self.count(from, to, client, ends.0, ambiguous, true);
        self.count_server_side(from, to, server, ends.1);
    }

    fn count(&mut self, from: &Arc<str>, to: &Arc<str>, link: &Link, entity: &Entity, ambiguous: bool, from_client: bool) {
        if !self.counted.insert((link.index, from.clone(), to.clone())) {
            return;
        }
        let connect = self.connects.entry((from.clone(), to.clone())).or_insert_with(|| ConnectEdge::new(from, to));
        connect.edge.ambiguous |= ambiguous;
        connect.add_link(entity, link.key.server_port, from_client);
    }

    /// The server's view adds what only the server's kernel knows: its retransmissions.
    fn count_server_side(&mut self, from: &Arc<str>, to: &Arc<str>, link: &Link, entity: &Entity) {
        if !self.counted.insert((link.index, from.clone(), to.clone())) {
            return;
        }
        if let Some(connect) = self.connects.get_mut(&(from.clone(), to.clone())) {
            connect.add_loss(entity);
        }
    }

    fn add_externals(&mut self, observed: &Observed, externals: &[(&Link, IpAddr, String)]) -> Vec<Entity> {
        let mut made: BTreeMap<Arc<str>, Entity> = BTreeMap::new();
        let Some(kind) = entity::entity_type("external") else { return Vec::new() };
        for (link, address, port) in externals {
            let Some(process) = &link.process else { continue };
            let entity = &observed.entities[link.index];
            let id: Arc<str> = format!("ext_{address}_{port}").into();
            let seen = made.entry(id.clone()).or_insert_with(|| Entity {
                id: id.clone(),
                kind,
                machine_id: "".into(),
                labels: LabelMap::from([("ip".into(), address.to_string().into()), ("port".into(), port.as_str().into())]),
                metrics: BTreeMap::new(),
                last_sample_ms: i64::MIN,
            });
            seen.last_sample_ms = seen.last_sample_ms.max(entity.last_sample_ms);
            let (from, to) = if link.is_client { (process, &id) } else { (&id, process) };
            self.count(from, to, link, entity, false, link.is_client);
        }
        made.into_values().collect()
    }
}

impl ConnectEdge {
    fn new(from: &Arc<str>, to: &Arc<str>) -> Self {
        Self {
            edge: Edge::direct(Relation::Connect, from, to),
            srtt_sum_us: 0.0,
            srtt_count: 0.0,
            retransmitted: 0.0,
            segments_out: 0.0,
        }
    }

    fn add_link(&mut self, entity: &Entity, server_port: u16, from_client: bool) {
        let metric = |name: &str| entity.metrics.get(name).copied();
        let attributes = &mut self.edge.attributes;
        attributes.connections += metric("connections").map_or(1, |count| count.max(1.0) as u64);
        let (sent, received) = if from_client { ("tx_bytes", "rx_bytes") } else { ("rx_bytes", "tx_bytes") };
        add_to(&mut attributes.bytes_tx, metric(sent));
        add_to(&mut attributes.bytes_rx, metric(received));
        if !attributes.server_ports.contains(&server_port) {
            attributes.server_ports.push(server_port);
            attributes.server_ports.sort_unstable();
        }
        self.srtt_sum_us += metric("srtt_sum").unwrap_or(0.0);
        self.srtt_count += metric("srtt_count").unwrap_or(0.0);
        self.add_loss(entity);
    }

    fn add_loss(&mut self, entity: &Entity) {
        self.retransmitted += entity.metrics.get("retran_packets").copied().unwrap_or(0.0);
        self.segments_out += entity.metrics.get("segs_out").copied().unwrap_or(0.0);
    }

    fn finish(mut self) -> Edge {
        let attributes: &mut EdgeAttributes = &mut self.edge.attributes;
        if self.srtt_count > 0.0 {
            attributes.srtt_mean_ms = Some(self.srtt_sum_us / self.srtt_count / 1000.0);
        }
        if self.segments_out > 0.0 {
            attributes.retransmission_ratio = Some(self.retransmitted / self.segments_out);
        }
        attributes.protocols = vec!["tcp".to_owned()];
        self.edge
    }
}

fn add_to(slot: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        *slot = Some(slot.unwrap_or(0.0) + value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity_of(kind: &str, labels: &[(&str, &str)]) -> Entity {
        let labels: LabelMap = labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
        let tgid = labels["tgid"].clone();
        let kind = entity::entity_type(kind).unwrap();
        let id = format!("m_{}_{tgid}", kind.name);
        Entity { id: id.into(), kind, machine_id: "m".into(), labels, metrics: BTreeMap::new(), last_sample_ms: 0 }
    }

    /// Who talks to whom, given process, role and container of each end of connections to one port of the loopback address.
    fn talks(ends: &[(&str, &str, &str)]) -> Vec<String> {
        let addresses = [("client_ip", "127.0.0.1"), ("server_ip", "127.0.0.1"), ("client_port", "0"), ("server_port", "6379")];
        let mut observed = Observed::default();
        for (tgid, role, container) in ends {
            let own = [("tgid", *tgid), ("role", *role), ("container_id", *container)];
            observed.entities.push(entity_of("proc", &own));
            observed.entities.push(entity_of("tcp_link", &[&own[..], &addresses].concat()));
        }
        connect(&mut observed);
        let told = |edge: &Edge| {
            let sure = if edge.ambiguous { "?" } else { "" };
            format!("{} > {}{sure}", edge.from.trim_start_matches("m_proc_"), edge.to.trim_start_matches("m_proc_"))
        };
        observed.edges.iter().filter(|edge| edge.relation == Relation::Connect).map(told).collect()
    }

    #[test]
    fn each_container_has_a_loopback_of_its_own_but_those_on_the_hosts_network() {
        let apart = [("1", "client", "a"), ("2", "server", "a"), ("3", "client", "b"), ("4", "server", "b")];
        assert_eq!(talks(&apart), ["1 > 2", "3 > 4"]);
        assert_eq!(talks(&[("1", "client", "a"), ("2", "server", "")]), ["1 > 2"]);
        let workers = [("1", "client", ""), ("2", "server", ""), ("3", "client", ""), ("4", "server", "")];
        assert_eq!(talks(&workers), ["1 > 2?", "1 > 4?", "3 > 2?", "3 > 4?"], "nothing tells which");
    }
}
