//! Remote write to a hub (or any Prometheus-compatible store): what one tick of all probes saw goes in one request,
//! snappy-compressed. While the hub does not answer, requests wait in a bounded queue; the oldest go first when it is full,
//! and every sample lost is counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gala_model::remote_write::Encoder;
use gala_model::series::for_each_sample;
use gala_model::{Event, Observation, ObservationSink};
use parking_lot::Mutex;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::{Notify, oneshot};

use crate::ledger::Ledger;

/// All probes tick together; their rows get this long to meet in one request.
const LINGER: Duration = Duration::from_millis(250);

/// A request this large goes without waiting for more (uncompressed; receivers refuse 16 MiB and more).
const MAX_BODY: usize = 4 << 20;

/// Compressed requests kept while the hub is away: some minutes of a busy host.
const MAX_QUEUE: usize = 8 << 20;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longer than a busy hub lets a write wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What may still be sent when the agent stops.
const LAST_WORDS: Duration = Duration::from_millis(300);

const PLACE: &str = "push";

/// Where to write to, or what is wrong with an address.
pub fn address(hub: &str) -> Result<Url, String> {
    let mut url = Url::parse(hub).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("scheme {} is not http or https", url.scheme()));
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/api/v1/write");
    }
    Ok(url)
}

struct Request {
    body: Vec<u8>,
    samples: u64,
}

#[derive(Default)]
struct Pending {
    encoder: Encoder,
    samples: u64,
    queue: VecDeque<Request>,
    queued_bytes: usize,
}

/// The sink; its other half runs in [`Push::run`].
pub struct Push {
    url: Url,
    pending: Mutex<Pending>,
    more: Notify,
    ledger: Ledger,
}

impl Push {
    /// `hub` is the address of a hub (`http://hub:7070`) or the whole address of a remote-write receiver.
    pub fn new(hub: &str, ledger: Ledger) -> Result<Arc<Self>, String> {
        let url = address(hub)?;
        Ok(Arc::new(Self { url, pending: Mutex::new(Pending::default()), more: Notify::new(), ledger }))
    }

    /// Sends until told to stop. Blocks; give it a thread of its own.
    pub fn run(&self, stopped: oneshot::Receiver<()>) {
        // Whoever started the process may have chosen a provider; ours is for those who did not.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = Client::builder().default_headers(headers()).timeout(TIMEOUT).build();
        let (runtime, client) = match (runtime, client) {
            (Ok(runtime), Ok(client)) => (runtime, client),
            (Err(error), _) => return self.give_up(&error.to_string()),
            (_, Err(error)) => return self.give_up(&error.to_string()),
        };
        runtime.block_on(async {
            tokio::select! {
                () = self.send_all(&client) => {}
                _ = stopped => {}
            }
            self.seal();
            let _ = tokio::time::timeout(LAST_WORDS, async {
                while let Some(body) = self.head() {
                    if self.send(&client, body).await.is_err() {
                        break;
                    }
                }
            })
            .await;
        });
    }

    fn give_up(&self, reason: &str) {
        tracing::error!("nothing is pushed to {}: {reason}", self.url);
        self.ledger.add(PLACE, "everything meant for the hub", reason, 1);
    }

    async fn send_all(&self, client: &Client) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(body) = self.head() else {
                self.more.notified().await;
                tokio::time::sleep(LINGER).await;
                self.seal();
                continue;
            };
            match self.send(client, body).await {
                Ok(()) => {
                    if pause > FIRST_PAUSE {
                        tracing::info!("hub {} answers again", self.url);
                        self.ledger.clear(PLACE, "samples waiting");
                    }
                    pause = FIRST_PAUSE;
                }
                Err((reason, wait)) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!("hub {}: {reason}; samples wait", self.url);
                    }
                    self.ledger.add(PLACE, "samples waiting", &reason, 1);
                    tokio::time::sleep(wait.unwrap_or(pause)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                    self.seal();
                }
            }
        }
    }

    /// Sends the head of the queue and removes it; `Err` says why it stays, and how long the hub asks to wait.
    async fn send(&self, client: &Client, body: Vec<u8>) -> Result<(), (String, Option<Duration>)> {
        let answer = client.post(self.url.clone()).body(body).send().await;
        let answer = answer.map_err(|error| (format!("does not answer: {}", root_cause(&error)), None))?;
        let status = answer.status();
        if status.is_success() {
            self.pop();
            return Ok(());
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let wait = seconds.map(|seconds: u64| Duration::from_secs(seconds).min(MAX_PAUSE));
            return Err((format!("answers {status}"), wait));
        }
        // Sending the same again would not help: samples too old, out of order, or a receiver of something else.
        let samples = self.pop();
        let text: String = answer.text().await.unwrap_or_default().chars().take(300).collect();
        self.ledger.add(PLACE, "samples refused", &format!("the hub answers {status}: {}", text.trim()), samples);
        Ok(())
    }

    fn head(&self) -> Option<Vec<u8>> {
        self.pending.lock().queue.front().map(|request| request.body.clone())
    }

    fn pop(&self) -> u64 {
        let mut pending = self.pending.lock();
        let Some(request) = pending.queue.pop_front() else { return 0 };
        pending.queued_bytes -= request.body.len();
        request.samples
    }

    /// Closes the request under way and queues it.
    fn seal(&self) {
        let mut pending = self.pending.lock();
        self.seal_locked(&mut pending);
    }

    fn seal_locked(&self, pending: &mut Pending) {
        if pending.samples == 0 {
            return;
        }
        let samples = std::mem::take(&mut pending.samples);
        let body = snap::raw::Encoder::new().compress_vec(pending.encoder.body());
        pending.encoder.clear();
        match body {
            Ok(body) => {
                pending.queued_bytes += body.len();
                pending.queue.push_back(Request { body, samples });
            }
            Err(error) => self.ledger.add(PLACE, "samples lost", &format!("compression failed: {error}"), samples),
        }
        while pending.queued_bytes > MAX_QUEUE {
            let Some(oldest) = pending.queue.pop_front() else { break };
            pending.queued_bytes -= oldest.body.len();
            self.ledger.add(PLACE, "samples lost", "the hub was away for longer than the queue holds", oldest.samples);
        }
    }
}

impl ObservationSink for Push {
    fn observe(&self, batch: &[Observation]) {
        let mut pending = self.pending.lock();
        for observation in batch {
            let samples = encode(observation, &mut pending.encoder);
            pending.samples += samples;
            if pending.encoder.body().len() >= MAX_BODY {
                self.seal_locked(&mut pending);
            }
        }
        drop(pending);
        self.more.notify_one();
    }

    fn event(&self, _event: &Event) {
        self.ledger.add(PLACE, "events", "remote write carries samples only; the hub's own rules see the same metrics", 1);
    }
}

/// Adds the samples of an observation, labels sorted by name as the protocol asks; answers how many.
fn encode(observation: &Observation, encoder: &mut Encoder) -> u64 {
    let mut labels: Vec<(&str, &str)> = Vec::with_capacity(observation.labels.0.len() + 2);
    // An empty label is an absent one there.
    labels.extend(observation.labels.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, &**value)));
    labels.push(("__name__", ""));
    labels.sort_unstable();
    let name_at = labels.iter().position(|(name, _)| *name == "__name__").unwrap_or(0);
    let le_at = labels.partition_point(|(name, _)| *name < "le");
    let mut samples = 0;
    for_each_sample(observation, |name, le, value| {
        labels[name_at].1 = name;
        let head = labels[..le_at].iter().copied();
        let tail = labels[le_at..].iter().copied();
        let all = head.chain(le.map(|edge| ("le", edge))).chain(tail);
        encoder.series(all, [(observation.at_ms, value)]);
        samples += 1;
    });
    samples
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static("0.1.0")),
        (reqwest::header::USER_AGENT, HeaderValue::from_static(concat!("gala-agent/", env!("CARGO_PKG_VERSION")))),
    ])
}

/// The innermost reason, for the outer ones only repeat the address.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use gala_model::remote_write::decode;
    use gala_model::{Histogram, LabelSet, Table, Value};

    use super::*;

    /// File system
    #[derive(Table)]
    #[table(name = "fs", entity = "fs", probe = "baseinfo")]
    struct Fs {
        /// Mount point
        #[key(name = "MountOn")]
        mount_on: String,
        /// Latency
        #[histogram(unit = "ns", per_period)]
        latency: Histogram,
    }

    fn observation(at_ms: i64) -> Observation {
        let labels = LabelSet(vec![("MountOn", "/".into()), ("pod", "".into()), ("machine_id", "u-192.0.2.2".into())]);
        let mut latency = Histogram::new(&[10]);
        latency.record(5);
        Observation { table: Fs::def(), labels: Arc::new(labels), at_ms, values: vec![Value::Histogram(Box::new(latency))] }
    }

    #[test]
    fn labels_are_sorted_with_name_and_edge_in_their_places() {
        let mut encoder = Encoder::new();
        assert_eq!(encode(&observation(7), &mut encoder), 5);
        let mut seen = Vec::new();
        for item in decode(encoder.body()) {
            let gala_model::remote_write::Item::Series(series) = item.unwrap() else { panic!("series") };
            let mut labels = Vec::new();
            series.labels(&mut labels).unwrap();
            assert!(labels.is_sorted(), "{labels:?}");
            seen.push((
                labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","),
                series.samples().next(),
            ));
        }
        assert_eq!(seen[0].0, "MountOn=/,__name__=gala_gopher_fs_latency,le=10,machine_id=u-192.0.2.2");
        assert_eq!(seen[4], ("MountOn=/,__name__=gala_gopher_fs_latency_count,machine_id=u-192.0.2.2".into(), Some((7, 1.0))));
    }

    #[test]
    fn a_full_queue_loses_the_oldest_and_counts_them() {
        let ledger = Ledger::default();
        let push = Push::new("http://127.0.0.1:1", ledger.clone()).unwrap();
        {
            let mut pending = push.pending.lock();
            pending.queue.push_back(Request { body: vec![0; MAX_QUEUE], samples: 41 });
            pending.queued_bytes = MAX_QUEUE;
        }
        push.observe(&[observation(7)]);
        push.seal();
        assert_eq!(ledger.lines()[0].count, 41);
        assert_eq!(push.pop(), 5);
        assert_eq!(push.pending.lock().queued_bytes, 0);
    }

    #[test]
    fn addresses_are_completed_and_checked() {
        let url = |text: &str| Push::new(text, Ledger::default()).map(|push| push.url.to_string());
        assert_eq!(url("http://hub:7070").unwrap(), "http://hub:7070/api/v1/write");
        assert_eq!(url("http://vm:8428/insert").unwrap(), "http://vm:8428/insert");
        assert!(url("ftp://hub").is_err() && url("hub").is_err());
    }
}
