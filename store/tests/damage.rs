//! Bytes changed or cut behind the store's back: what is served is right, what is not served is named and set aside.

use gala_store::{Labels, SeriesRead, SeriesWrite, Store, StoreOptions, TimeRange, now_ms, tool};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ALL: TimeRange = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };
const SERIES: i64 = 30;

fn value(series: i64, t_ms: i64) -> f64 {
    match series % 3 {
        0 => (t_ms * (series + 1)) as f64,
        1 => (t_ms as f64).sqrt(),
        _ => series as f64,
    }
}

/// Two blocks and a log, each with several rounds of all series.
fn build(dir: &Path) -> usize {
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    let start = now_ms() - 3_600_000;
    let references: Vec<_> = (0..SERIES)
        .map(|number| store.resolve(&Labels::new([("__name__", "load"), ("n", &*number.to_string())])).unwrap())
        .collect();
    for round in 0..90 {
        let t_ms = start + round * 1_000;
        let batch: Vec<_> =
            references.iter().enumerate().map(|(number, &series)| (series, t_ms, value(number as i64, t_ms))).collect();
        store.append(&batch).unwrap();
        store.sync().unwrap();
        if round == 29 || round == 59 {
            store.flush().unwrap();
        }
    }
    90 * SERIES as usize
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["wal", "blocks"]
        .iter()
        .flat_map(|part| std::fs::read_dir(dir.join(part)).unwrap().flatten().map(|entry| entry.path()))
        .filter(|path| std::fs::metadata(path).unwrap().len() > 8)
        .collect();
    found.sort();
    found
}

/// Reads everything, checks each sample served against the truth, returns how many there are.
fn read_checked(store: &Store) -> usize {
    let found = store.select(&[], ALL, usize::MAX).unwrap();
    let mut seen = BTreeMap::new();
    for series in &found {
        let number: i64 = series.labels.get("n").unwrap().parse().unwrap();
        for sample in &series.samples {
            assert_eq!(sample.value.to_bits(), value(number, sample.t_ms).to_bits(), "series {number} at {}", sample.t_ms);
            assert!(seen.insert((number, sample.t_ms), ()).is_none(), "served twice");
        }
    }
    seen.len()
}

/// Splitmix64 over a counter: spread positions, the same in every run.
fn spread(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

#[test]
fn a_changed_byte_anywhere_costs_what_it_hits_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let written = build(&original);
    let mut losses = 0;
    for (number, file) in files(&original).iter().enumerate() {
        for trial in 0..25u64 {
            let dir = folder.path().join("copy");
            copy(&original, &dir);
            let name = file.strip_prefix(&original).unwrap();
            let mut bytes = std::fs::read(file).unwrap();
            let at = spread(number as u64 * 1_000 + trial) as usize % bytes.len();
            bytes[at] ^= 1 << (trial % 8);
            std::fs::write(dir.join(name), &bytes).unwrap();
            let report = tool::check(&dir).unwrap();
            assert!(!report.problems.is_empty(), "check overlooks byte {at} of {}", name.display());
            assert!(report.problems.iter().any(|problem| Path::new(&problem.file) == name), "{:?}", report.problems);
            let store = Store::open(StoreOptions::new(&dir)).unwrap();
            let served = read_checked(&store);
            let damage = store.damage();
            assert!(
                damage.iter().any(|part| Path::new(&part.file) == name),
                "byte {at} of {} is not named: {damage:?}",
                name.display()
            );
            for part in &damage {
                let aside = part.set_aside.as_ref().expect("set aside");
                assert!(dir.join(aside).is_file(), "{aside}");
            }
            assert!(!store.health().ok);
            losses += usize::from(served < written);
            assert!(served >= written / 2, "one byte of {} cost {} of {written} samples", name.display(), written - served);
            drop(store);
            let again = Store::open(StoreOptions::new(&dir)).unwrap();
            assert_eq!(read_checked(&again), served, "what was served stays");
            drop(again);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    assert!(losses > 0, "some byte must have mattered");
}

#[test]
fn a_cut_block_is_set_aside_and_a_cut_log_keeps_its_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let written = build(&original);
    for (number, file) in files(&original).iter().enumerate() {
        for trial in 0..10u64 {
            let dir = folder.path().join("copy");
            copy(&original, &dir);
            let name = file.strip_prefix(&original).unwrap();
            let bytes = std::fs::read(file).unwrap();
            let keep = spread(number as u64 * 77 + trial) as usize % bytes.len();
            std::fs::write(dir.join(name), &bytes[..keep]).unwrap();
            let store = Store::open(StoreOptions::new(&dir)).unwrap();
            let served = read_checked(&store);
            assert!(served >= written / 2);
            if name.starts_with("blocks") {
                assert_eq!(served, written - written / 3);
                assert!(store.damage().iter().any(|part| Path::new(&part.file) == name));
            } else {
                assert!(store.damage().is_empty(), "an unfinished end is what a crash leaves: {:?}", store.damage());
            }
            drop(store);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}

#[test]
fn the_tools_check_compact_export_and_back_up() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let written = build(&dir);
    let report = tool::check(&dir).unwrap();
    assert_eq!((report.samples as usize, report.series, report.problems.len()), (written, SERIES as u64, 0));
    let target = folder.path().join("backup");
    assert!(tool::backup(&dir, &target).unwrap().files >= 3);
    assert!(tool::backup(&dir, &target).unwrap_err().to_string().contains("not empty"));
    let compacted = tool::compact(&dir).unwrap();
    assert_eq!((compacted.after.blocks, compacted.after.samples), (1, written as u64));
    for dir in [&dir, &target] {
        assert_eq!(read_checked(&Store::open(StoreOptions::new(dir)).unwrap()), written);
    }
    let mut text = Vec::new();
    let matcher = gala_store::Matcher::equal("n", "2");
    let report = tool::export(&dir, std::slice::from_ref(&matcher), ALL, tool::ExportFormat::Text, &mut text).unwrap();
    assert_eq!((report.series, report.samples), (1, 90));
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("load{n=\"2\"} 2 "), "{text}");
    let mut json = Vec::new();
    tool::export(&dir, &[matcher], ALL, tool::ExportFormat::JsonLines, &mut json).unwrap();
    let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(line["metric"]["n"], "2");
    assert_eq!(line["values"].as_array().unwrap().len(), 90);
    let running = Store::open(StoreOptions::new(&dir)).unwrap();
    assert_eq!(tool::check(&dir).unwrap().samples as usize, written, "beside a running hub");
    assert!(tool::compact(&dir).unwrap_err().to_string().contains("held by process"));
    assert!(tool::backup(&dir, &folder.path().join("other")).unwrap_err().to_string().contains("held by process"));
    drop(running);
    assert!(tool::check(folder.path()).unwrap_err().to_string().contains("is not a store"));
}

/// Every file with its content.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.path().is_dir() {
            true => found.extend(contents(&entry.path())),
            false => drop(found.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    found
}

#[test]
fn an_export_changes_nothing_and_works_beside_a_running_hub() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let written = build(&dir);
    // Unfinished files, a torn end and damage are what an owner would clear away.
    std::fs::write(dir.join("blocks/0000000009-0000000009.tmp"), b"unfinished").unwrap();
    let log = files(&dir).into_iter().find(|path| path.extension().is_some_and(|extension| extension == "wal")).unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&log, &bytes).unwrap();
    let block = files(&dir)[0].clone();
    let mut bytes = std::fs::read(&block).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&block, &bytes).unwrap();
    let before = contents(&dir);
    let export = || {
        let mut out = Vec::new();
        tool::export(&dir, &[], ALL, tool::ExportFormat::Text, &mut out).unwrap().samples as usize
    };
    let served = export();
    assert!(served > written / 2 && served < written, "{served} of {written}");
    assert_eq!(read_checked(&Store::open_read_only(&dir).unwrap()), served);
    assert_eq!(Store::open_read_only(&dir).unwrap().damage().len(), 0, "what was not asked for was not read");
    assert_eq!(contents(&dir), before);
    let running = Store::open(StoreOptions::new(&dir)).unwrap();
    assert_eq!(export(), read_checked(&running));
    running.flush().unwrap();
    assert_eq!(export(), read_checked(&running));
}

#[test]
fn a_block_damaged_while_open_is_set_aside_whole_when_others_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let written = build(&dir);
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    store.flush().unwrap();
    let blocks: Vec<_> = files(&dir).into_iter().filter(|path| path.parent().unwrap().ends_with("blocks")).collect();
    assert_eq!(blocks.len(), 3);
    // The index lies before the footer of 72 bytes.
    let mut bytes = std::fs::read(&blocks[1]).unwrap();
    let at = bytes.len() - 80;
    bytes[at] ^= 1;
    std::fs::write(&blocks[1], &bytes).unwrap();
    assert_eq!(store.compact().unwrap(), 2);
    let aside = dir.join("damaged").join(format!("blocks-{}", blocks[1].file_name().unwrap().to_string_lossy()));
    assert!(std::fs::read(aside).unwrap() == bytes, "the whole file is kept");
    assert_eq!(store.damage().len(), 1);
    assert_eq!(read_checked(&store), written - written / 3);
    drop(store);
    assert_eq!(read_checked(&Store::open(StoreOptions::new(&dir)).unwrap()), written - written / 3);
}

#[test]
fn what_was_set_aside_counts_as_the_stores_and_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let written = build(&dir);
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    std::fs::create_dir(dir.join("damaged")).unwrap();
    std::fs::write(dir.join("damaged/blocks-old"), vec![0; 1 << 20]).unwrap();
    store.tick().unwrap();
    assert!(dir.join("damaged/blocks-old").exists());
    store.set_limits(std::time::Duration::MAX, 1 << 20);
    store.tick().unwrap();
    assert!(!dir.join("damaged/blocks-old").exists());
    assert_eq!(read_checked(&store), written);
}
