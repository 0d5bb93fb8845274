//! What is asked over connections: rate, latency and errors of a server's requests, put on the edges of its clients.
//!
//! Requests are counted at the server, all clients together. Where several clients are connected to it, its requests are
//! divided among them by the bytes each sent, and the edge says that its rate is an estimate; latency and errors are the
//! server's own.

use std::collections::{BTreeMap, HashMap};

use gala_model::entity::id::canonical_machine;
use gala_store::{MatchOp, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

use super::collect::is_silent;
use super::{Config, EdgeAttributes, Observed, Relation};

/// Rates are of the last minute; reports that come once a minute need a second one to compare with.
const WINDOW_MS: i64 = 60_000;
const READ_MS: i64 = 150_000;
const MAX_SAMPLES: usize = 20_000_000;

/// Series that tell of requests: answered, failed, their times.
const SERIES: &str = "gala_gopher_sli_(requests_total|errors_total|latency_nsec|latency_nsec_sum)";

/// A listening process: machine, process, port.
type Server = (String, String, u16);

/// Requests of one server, per second.
#[derive(Default)]
struct Requests {
    rate: f64,
    /// `None` where errors are not counted.
    errors: Option<f64>,
    time_ns: f64,
    /// Cumulative, by the bits of their upper bound: non-negative numbers order like their bits.
    buckets: BTreeMap<u64, f64>,
    app: String,
}

/// Puts what the store tells of requests on the edges between processes.
pub fn attribute(config: &Config, store: &dyn SeriesRead, observed: &mut Observed) -> Result<(), StoreError> {
    let servers = read(config, observed.at_ms, store)?;
    if servers.is_empty() {
        return Ok(());
    }
    let processes: HashMap<&str, (&str, &str)> = observed
        .entities
        .iter()
        .filter(|entity| entity.kind.name == "proc")
        .filter_map(|entity| Some((&*entity.id, (entity.machine(), entity.label("tgid")?))))
        .collect();
    let mut clients: BTreeMap<&Server, Vec<usize>> = BTreeMap::new();
    for (index, edge) in observed.edges.iter().enumerate().filter(|(_, edge)| edge.relation == Relation::Connect) {
        let Some((machine, tgid)) = processes.get(&*edge.to) else { continue };
        for port in &edge.attributes.server_ports {
            if let Some((server, _)) = servers.get_key_value(&((*machine).to_owned(), (*tgid).to_owned(), *port)) {
                clients.entry(server).or_default().push(index);
            }
        }
    }
    for (server, edges) in clients {
        let weights: Vec<f64> = edges.iter().map(|index| weight(&observed.edges[*index].attributes)).collect();
        let total: f64 = weights.iter().sum();
        for (index, weight) in edges.iter().zip(&weights) {
            let share = if total > 0.0 { weight / total } else { 1.0 / edges.len() as f64 };
            servers[server].put_on(&mut observed.edges[*index].attributes, share);
        }
    }
    Ok(())
}

/// Bytes of requests say most of how many there were.
fn weight(attributes: &EdgeAttributes) -> f64 {
    attributes.bytes_tx.unwrap_or(0.0).max(0.0)
}

fn read(config: &Config, now_ms: i64, store: &dyn SeriesRead) -> Result<HashMap<Server, Requests>, StoreError> {
    let matchers = [Matcher::new("__name__", MatchOp::Regex, SERIES)?];
    let range = TimeRange { from_ms: now_ms - READ_MS, to_ms: now_ms };
    let mut servers: HashMap<Server, Requests> = HashMap::new();
    for series in store.select(&matchers, range, MAX_SAMPLES)? {
        let Some(per_s) = rate(&series.samples, now_ms - config.alive_window_ms) else { continue };
        // A server that is asked no more may not be reported either.
        let per_s = if is_silent(&series.samples, now_ms) { 0.0 } else { per_s };
        if let Some(server) = server_of(&series) {
            servers.entry(server).or_default().add(&series, per_s);
        }
    }
    Ok(servers)
}

fn server_of(series: &Series) -> Option<Server> {
    let label = |name: &str| series.labels.get(name);
    let port = label("server_port")?.parse().ok()?;
    Some((canonical_machine(label("machine_id")?).to_owned(), label("tgid")?.to_owned(), port))
}

/// Growth per second over the last minute; a counter that fell began anew. `None` without two samples or a recent one.
fn rate(samples: &[Sample], alive_since_ms: i64) -> Option<f64> {
    let newest = samples.last().filter(|sample| sample.t_ms >= alive_since_ms)?;
    let before = samples.partition_point(|sample| sample.t_ms <= newest.t_ms - WINDOW_MS);
    let window = &samples[before.saturating_sub(1)..];
    let span_ms = newest.t_ms - window.first()?.t_ms;
    if span_ms <= 0 {
        return None;
    }
    let growth = |pair: &[Sample]| if pair[1].value < pair[0].value { pair[1].value } else { pair[1].value - pair[0].value };
    let grown: f64 = window.windows(2).map(growth).filter(|growth| growth.is_finite()).sum();
    Some(grown * 1000.0 / span_ms as f64)
}

impl Requests {
    fn add(&mut self, series: &Series, per_s: f64) {
        match series.labels.metric() {
            "gala_gopher_sli_requests_total" => {
                self.rate += per_s;
                if self.app.is_empty() {
                    self.app = series.labels.get("app").unwrap_or("").to_lowercase();
                }
            }
            "gala_gopher_sli_errors_total" => *self.errors.get_or_insert(0.0) += per_s,
            "gala_gopher_sli_latency_nsec_sum" => self.time_ns += per_s,
            _ => {
                let edge = series.labels.get("le").map(|le| if le == "+Inf" { Ok(f64::INFINITY) } else { le.parse::<f64>() });
                if let Some(Ok(edge)) = edge {
                    *self.buckets.entry(edge.to_bits()).or_default() += per_s;
                }
            }
        }
    }

    fn put_on(&self, attributes: &mut EdgeAttributes, share: f64) {
        if self.rate * share <= 0.0 {
            attributes.merge(&EdgeAttributes { rate_per_s: Some(0.0), ..EdgeAttributes::default() });
            return;
        }
        let own = EdgeAttributes {
            rate_per_s: Some(self.rate * share),
            rate_is_estimate: share < 1.0,
            latency_mean_ms: self
                .buckets
                .last_key_value()
                .filter(|(_, count)| **count > 0.0)
                .map(|(_, count)| self.time_ns / count / 1e6),
            latency_p95_ms: self.quantile(0.95).map(|ns| ns / 1e6),
            error_ratio: self.errors.map(|errors| (errors / self.rate).min(1.0)),
            protocols: Some(self.app.clone()).filter(|app| !app.is_empty()).into_iter().collect(),
            ..EdgeAttributes::default()
        };
        attributes.merge(&own);
    }

    /// Linear inside the bucket, as Prometheus does it; the open bucket answers the last edge.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = *self.buckets.last_key_value()?.1;
        if total <= 0.0 {
            return None;
        }
        let (rank, mut low, mut below) = (quantile * total, 0.0, 0.0);
        for (bits, count) in &self.buckets {
            let high = f64::from_bits(*bits);
            if *count >= rank {
                return Some(if high.is_infinite() || *count <= below {
                    low
                } else {
                    low + (high - low) * (rank - below) / (count - below)
                });
            }
            (low, below) = (high, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value }).collect()
    }

    #[test]
    fn rates_are_of_the_last_minute_and_survive_a_reset() {
        let steady = samples(&[(0, 0.0), (60_000, 6_000.0), (120_000, 6_600.0)]);
        assert_eq!(rate(&steady, 0), Some(10.0));
        let reset = samples(&[(60_000, 500.0), (90_000, 800.0), (120_000, 300.0)]);
        assert_eq!(rate(&reset, 0), Some(10.0));
        assert_eq!(rate(&samples(&[(120_000, 5.0)]), 0), None);
        assert_eq!(rate(&steady, 130_000), None);
    }

    #[test]
    fn quantiles_of_the_open_bucket_are_its_lower_edge() {
        let mut requests = Requests::default();
        for (edge, count) in [(1e6, 90.0), (2e6, 100.0), (f64::INFINITY, 100.0)] {
            requests.buckets.insert(edge.to_bits(), count);
        }
        assert_eq!(requests.quantile(0.95), Some(1.5e6));
        requests.buckets.insert(f64::INFINITY.to_bits(), 1000.0);
        assert_eq!(requests.quantile(0.95), Some(2e6));
    }
}
