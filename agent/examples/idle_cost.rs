//! What watching an idle host costs: `cargo run --release -p gala-agent --example idle_cost`. Runs the release build of `gala`,
//! alone as an agent, beside 500 more processes, and all in one; needs root.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use figures::Better::Less;
use figures::{also, figure, is_short, least, note, title};
use measure::{Cost, Gala, Redis, Running, client, get, measure, spawn, within};

#[path = "../../store/benches/figures/mod.rs"]
mod figures;
mod measure;

const MORE_PROCESSES: usize = 500;
const LATE: Duration = Duration::from_secs(90);
const MIB: f64 = (1 << 20) as f64;

/// Seconds to settle, stretches to measure, periods in each.
struct Plan {
    settle: Duration,
    stretches: usize,
    periods: u32,
}

fn main() -> Result<()> {
    let plan = if is_short() {
        Plan { settle: Duration::from_secs(6), stretches: 1, periods: 1 }
    } else {
        Plan { settle: Duration::from_secs(20), stretches: 3, periods: 4 }
    };
    title("start of `gala up`");
    start()?;
    title("idle host, reports every 5 s");
    agent_alone(&plan)?;
    all_in_one(&plan)
}

/// Until there is something to scrape, and until a service is on the first page with its rate.
fn start() -> Result<()> {
    if !Redis::is_installed() {
        note("skipped: the first screen needs redis-server");
        return Ok(());
    }
    let redis = Redis::start()?;
    let _client = client(redis.port, 4, 100)?;
    let gala = Gala::start("up")?;
    within(Duration::from_secs(30), "a metric", || gala.has_metrics())?;
    figure("first metrics after", gala.started.elapsed().as_secs_f64(), "s", Less, 2.0, 2.0);
    let pid = redis.process.0.id();
    let known = format!("/api/v1/query?query=gala_gopher_sli_requests_total%7Btgid%3D%22{pid}%22%7D");
    within(LATE, "the requests in the store", || get(gala.hub_port, &known)?.contains("\"metric\"").then_some(()))?;
    also("its requests are in the store after", gala.started.elapsed().as_secs_f64(), "s");
    within(LATE, "a service on the first page", || {
        get(gala.hub_port, "/")?;
        get(gala.hub_port, "/api/v1/services")?.contains(&format!("_proc_{pid}\"")).then_some(())
    })?;
    figure("first useful screen after: Redis with rate and latency", gala.started.elapsed().as_secs_f64(), "s", Less, 30.0, 30.0);
    Ok(())
}

/// Settles, then measures; answers the stretches.
fn stretches(gala: &Gala, plan: &Plan) -> Result<Vec<Cost>> {
    gala.ready()?;
    sleep(plan.settle);
    (0..plan.stretches).map(|_| measure(gala, plan.periods)).collect()
}

/// The mean of all stretches, in which what is done seldom counts too, and the least, of what `cpu` picks.
fn shares(costs: &[Cost], cpu: impl Fn(&Cost) -> f64) -> (f64, f64) {
    let shares: Vec<f64> = costs.iter().map(|cost| cost.percent(cpu(cost))).collect();
    (shares.iter().sum::<f64>() / shares.len() as f64, least(&shares))
}

fn agent_alone(plan: &Plan) -> Result<()> {
    let gala = Gala::start("agent")?;
    let costs = stretches(&gala, plan)?;
    let (cpu, best) = shares(&costs, |cost| cost.process + cost.bpf);
    figure("agent, CPU and BPF run time", cpu, "% a core", Less, 0.6, 0.2);
    also("the least of the stretches", best, "%");
    also("BPF run time in it", shares(&costs, |cost| cost.bpf).0, "%");
    let (resident, maps) = (gala.resident()? as f64 / MIB, gala.maps()? as f64 / MIB);
    figure("agent, resident and BPF maps", resident + maps, "MiB", Less, 80.0, 64.0);
    also("maps in it", maps, "MiB");

    // They end by themselves should this program be killed.
    let more: Result<Vec<Running>> = (0..MORE_PROCESSES).map(|_| spawn(Command::new("sleep").arg("300"))).collect();
    let more = more?;
    let costs = stretches(&gala, plan)?;
    let (cpu, best) = shares(&costs, |cost| cost.process + cost.bpf);
    figure(&format!("agent with {MORE_PROCESSES} more processes, CPU and BPF run time"), cpu, "% a core", Less, 1.0, 1.0);
    also("the least of the stretches", best, "%");
    also("resident and maps then", (gala.resident()? + gala.maps()?) as f64 / MIB, "MiB");
    drop(more);
    Ok(())
}

fn all_in_one(plan: &Plan) -> Result<()> {
    let gala = Gala::start("up")?;
    let costs = stretches(&gala, plan)?;
    let (cpu, best) = shares(&costs, |cost| cost.process - cost.agent);
    figure("hub, store and analysis in `gala up`, CPU", cpu, "% a core", Less, 1.5, 1.5);
    also("the least of the stretches", best, "%");
    let (all, _) = shares(&costs, |cost| cost.process + cost.bpf);
    also("all in one, BPF run time included", all, "%");
    figure("all in one, resident", gala.resident()? as f64 / MIB, "MiB", Less, 200.0, 128.0);
    also("BPF maps besides", gala.maps()? as f64 / MIB, "MiB");
    Ok(())
}
