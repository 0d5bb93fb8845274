//! What the store holds in memory under a steady load, counted at the allocator: the same after every half hour.
#![allow(unsafe_code, clippy::print_stdout)] // a global allocator is unsafe to write; the figures are worth seeing

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use gala_store::{Labels, SeriesRead, SeriesRef, SeriesWrite, Store, StoreOptions, TimeRange, now_ms};

/// Counts the bytes that are allocated now.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sizes are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

const SERIES: usize = 300;
const STEP_MS: i64 = 5_000;
const ROUNDS: i64 = 360;
const HALF_HOURS: i64 = 5;

fn labels(number: usize) -> Labels {
    let metric = format!("gala_gopher_proc_metric_{}", number % 100);
    let tgid = (number / 100).to_string();
    let names = ["comm", "container_id", "container_name", "machine_id", "pod", "pod_namespace", "proc_role"];
    let shared = names.map(|name| (name.to_owned(), format!("{name} of process {tgid}")));
    let own = [("__name__".to_owned(), metric), ("tgid".to_owned(), tgid.clone())];
    Labels::new(shared.into_iter().chain(own))
}

/// Counters that move, gauges that wobble, and a third that hardly ever changes.
fn value(number: usize, round: i64) -> f64 {
    match number % 3 {
        0 => (round * (number as i64 + 7)) as f64,
        1 => ((round * 31 + number as i64) % 97) as f64 / 10.0,
        _ => number as f64,
    }
}

#[test]
fn a_steady_load_holds_the_same_after_every_half_hour() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let series: Vec<SeriesRef> = (0..SERIES).map(|number| store.resolve(&labels(number)).unwrap()).collect();
    let start = now_ms() - HALF_HOURS * ROUNDS * STEP_MS;
    let mut batch: Vec<(SeriesRef, i64, f64)> = Vec::with_capacity(SERIES);
    let mut after_flush = Vec::new();
    for half_hour in 0..HALF_HOURS {
        let before = held();
        for round in half_hour * ROUNDS..(half_hour + 1) * ROUNDS {
            let t_ms = start + round * STEP_MS;
            batch.clear();
            batch.extend(series.iter().enumerate().map(|(number, &series)| (series, t_ms, value(number, round))));
            assert!(store.append_best_effort(&batch, store.epoch()).unwrap().unwrap().rejected.is_empty());
            store.sync().unwrap();
        }
        let in_head = held() - before;
        let bytes_a_sample = in_head as f64 / (SERIES as i64 * ROUNDS) as f64;
        println!("half hour {half_hour}: {bytes_a_sample:.2} bytes a sample in the head");
        assert!(bytes_a_sample < 8.0, "{bytes_a_sample} bytes a sample");
        store.flush().unwrap();
        store.tick().unwrap();
        // A dashboard of everything, which fills what is kept between queries.
        let lately = TimeRange { from_ms: start + half_hour * ROUNDS * STEP_MS, to_ms: i64::MAX };
        assert_eq!(store.select(&[], lately, usize::MAX).unwrap().len(), SERIES);
        after_flush.push(held());
    }
    println!("bytes held after each half hour: {after_flush:?}");
    let (early, late) = (after_flush[1], after_flush[after_flush.len() - 1]);
    // What may be added is the indexes of blocks kept between queries, some hundred kilobytes each here.
    assert!(late < early + (2 << 20), "from {early} to {late} bytes");
}
