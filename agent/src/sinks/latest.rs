//! The latest record of every row, for readers that come when they like: scrapes are independent and change nothing.
//!
//! Rows sit in one slab per table, found by a hash of their label text, so a report of known rows allocates nothing but the
//! boxes of histograms. Bounded: a new row beyond the cap is refused and counted; a row not refreshed in time is removed.

use std::sync::Arc;

use gala_model::exposition::Writer;
use gala_model::{LabelSet, TableDef, Value};
use hashbrown::HashTable;
use parking_lot::Mutex;

/// Rows kept over all tables: some 40 MB of labels and values at the most.
pub const DEFAULT_MAX_ROWS: usize = 50_000;

/// What makes cached labels void: another process behind the pid, other configured labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Version {
    pub owner: u64,
    pub context: u64,
}

struct Slot {
    key: Box<[u8]>,
    hash: u64,
    labels: Arc<LabelSet>,
    version: Version,
    at_ms: i64,
    values: Vec<Value>,
}

struct TableRows {
    def: &'static TableDef,
    index: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    timeout_ms: i64,
}

#[derive(Default)]
struct Inner {
    tables: Vec<TableRows>,
    rows: usize,
    series: usize,
}

/// A row as a probe reported it.
pub struct Row<'a> {
    pub def: &'static TableDef,
    /// Label text of the row, unambiguous within its table.
    pub key: &'a [u8],
    pub hash: u64,
    pub version: Version,
    pub at_ms: i64,
    pub values: &'a [Value],
    /// How long the row may be shown without a newer one.
    pub timeout_ms: i64,
}

/// What became of a row.
#[derive(Debug)]
pub enum Kept {
    Stored(Arc<LabelSet>),
    /// The labels could not be made: its owner is unknown.
    Ownerless,
    /// No room.
    Full,
}

pub struct Latest {
    inner: Mutex<Inner>,
    max_rows: usize,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    table: usize,
    slot: usize,
    wrote: bool,
}

impl Latest {
    pub fn new(max_rows: usize) -> Self {
        Self { inner: Mutex::new(Inner::default()), max_rows }
    }

    /// Stores a row; `labels` is called only for a row that is new or has another owner.
    pub fn store(&self, row: &Row<'_>, labels: impl FnOnce() -> Option<Arc<LabelSet>>) -> Kept {
        let mut inner = self.inner.lock();
        let full = inner.rows >= self.max_rows;
        let table = inner.table(row.def);
        table.timeout_ms = row.timeout_ms;
        let found = table.index.find(row.hash, |at| table.slots[*at as usize].as_ref().is_some_and(|slot| *slot.key == *row.key));
        if let Some(at) = found.copied()
            && let Some(slot) = &mut table.slots[at as usize]
        {
            if slot.version != row.version {
                let Some(labels) = labels() else { return Kept::Ownerless };
                slot.labels = labels;
                slot.version = row.version;
            }
            slot.at_ms = row.at_ms;
            slot.values.clear();
            slot.values.extend_from_slice(row.values);
            return Kept::Stored(Arc::clone(&slot.labels));
        }
        if full {
            return Kept::Full;
        }
        let Some(labels) = labels() else { return Kept::Ownerless };
        let slot = Slot {
            key: row.key.into(),
            hash: row.hash,
            labels: Arc::clone(&labels),
            version: row.version,
            at_ms: row.at_ms,
            values: row.values.to_vec(),
        };
        let at = match table.free.pop() {
            Some(at) => {
                table.slots[at as usize] = Some(slot);
                at
            }
            None => {
                table.slots.push(Some(slot));
                (table.slots.len() - 1) as u32
            }
        };
        let TableRows { index, slots, .. } = table;
        index.insert_unique(row.hash, at, |at| slots[*at as usize].as_ref().map_or(0, |slot| slot.hash));
        inner.rows += 1;
        Kept::Stored(labels)
    }

    /// Removes rows past their timeout; answers how many went.
    pub fn sweep(&self, now_ms: i64) -> usize {
        let mut inner = self.inner.lock();
        let mut gone = 0;
        let mut series = 0;
        for table in &mut inner.tables {
            let TableRows { index, slots, free, timeout_ms, .. } = table;
            for (at, place) in slots.iter_mut().enumerate() {
                let Some(slot) = place else { continue };
                if is_recent(slot.at_ms, now_ms, *timeout_ms) {
                    series += slot.values.iter().map(series_of).sum::<usize>();
                    continue;
                }
                if let Ok(entry) = index.find_entry(slot.hash, |found| *found as usize == at) {
                    entry.remove();
                }
                *place = None;
                free.push(at as u32);
                gone += 1;
            }
            if free.len() == slots.len() {
                slots.clear();
                free.clear();
            }
        }
        inner.rows -= gone;
        inner.series = series;
        gone
    }

    /// Appends text from where the cursor is until `target` bytes are written; answers whether there is more. The lock is
    /// held for one piece only, so a slow reader never stops collection.
    pub fn render(&self, cursor: &mut Cursor, now_ms: i64, writer: &mut Writer, target: usize, out: &mut Vec<u8>) -> bool {
        let inner = self.inner.lock();
        while let Some(table) = inner.tables.get(cursor.table) {
            while let Some(place) = table.slots.get(cursor.slot) {
                if out.len() >= target {
                    return true;
                }
                cursor.slot += 1;
                if let Some(slot) = place
                    && is_recent(slot.at_ms, now_ms, table.timeout_ms)
                {
                    writer.write(table.def, &slot.labels, &slot.values, slot.at_ms, out);
                    cursor.wrote = true;
                }
            }
            if cursor.wrote {
                out.push(b'\n');
            }
            *cursor = Cursor { table: cursor.table + 1, slot: 0, wrote: false };
        }
        false
    }

    /// Rows kept, and series counted at the last sweep.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.rows, inner.series)
    }

    /// Estimate of what the rows hold; label texts shared with others count once per row that names them.
    pub fn bytes(&self) -> usize {
        let inner = self.inner.lock();
        let per_slot = |slot: &Slot| {
            let texts: usize = slot.labels.0.iter().map(|_| size_of::<(&str, Arc<str>)>()).sum();
            slot.key.len() * 2 + texts + slot.values.len() * size_of::<Value>() + 96
        };
        inner
            .tables
            .iter()
            .flat_map(|table| &table.slots)
            .map(|slot| size_of::<Option<Slot>>() + slot.as_ref().map_or(0, per_slot))
            .sum()
    }
}

impl Inner {
    fn table(&mut self, def: &'static TableDef) -> &mut TableRows {
        let at = self.tables.iter().position(|table| std::ptr::eq(table.def, def)).unwrap_or_else(|| {
            self.tables.push(TableRows { def, index: HashTable::new(), slots: Vec::new(), free: Vec::new(), timeout_ms: 0 });
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }
}

/// What is further ahead than anything may be old was told before the clock was set back.
fn is_recent(at_ms: i64, now_ms: i64, timeout_ms: i64) -> bool {
    (now_ms - at_ms).abs() <= timeout_ms
}

/// Series a value is exported as.
fn series_of(value: &Value) -> usize {
    match value {
        Value::Missing => 0,
        Value::Number(_) => 1,
        Value::Histogram(histogram) => histogram.edges.len() + 3,
    }
}

#[cfg(test)]
mod tests {
    use gala_model::Table;

    use super::*;

    /// Disk
    #[derive(Table)]
    #[table(name = "disk", entity = "disk", probe = "baseinfo")]
    struct Disk {
        /// Name
        #[key]
        disk_name: String,
        /// Reads
        #[gauge(unit = "count", per_period)]
        reads: u64,
    }

    fn store(latest: &Latest, name: &str, owner: u64, at_ms: i64, reads: f64) -> Kept {
        let row = Row {
            def: Disk::def(),
            key: name.as_bytes(),
            hash: name.bytes().map(u64::from).sum(),
            version: Version { owner, context: 0 },
            at_ms,
            values: &[Value::Number(reads)],
            timeout_ms: 60_000,
        };
        let labels = Arc::new(LabelSet(vec![("disk_name", name.into()), ("owner", owner.to_string().into())]));
        latest.store(&row, || (owner != 13).then_some(labels))
    }

    fn text(latest: &Latest, now_ms: i64) -> String {
        let (mut out, mut cursor) = (Vec::new(), Cursor::default());
        while latest.render(&mut cursor, now_ms, &mut Writer::default(), out.len() + 1, &mut out) {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_row_shows_its_latest_record_once() {
        let latest = Latest::new(10);
        store(&latest, "sda", 1, 1000, 5.0);
        store(&latest, "sdb", 1, 1000, 6.0);
        store(&latest, "sda", 1, 2000, 7.0);
        let expected = "gala_gopher_disk_reads{disk_name=\"sda\",owner=\"1\"} 7 2000\n\
                        gala_gopher_disk_reads{disk_name=\"sdb\",owner=\"1\"} 6 1000\n\n";
        assert_eq!(text(&latest, 2000), expected);
        assert_eq!(text(&latest, 2000), expected, "reading changes nothing");
    }

    #[test]
    fn another_owner_gets_new_labels_in_the_same_place() {
        let latest = Latest::new(10);
        store(&latest, "sda", 1, 1000, 5.0);
        store(&latest, "sda", 2, 2000, 6.0);
        assert_eq!(text(&latest, 2000), "gala_gopher_disk_reads{disk_name=\"sda\",owner=\"2\"} 6 2000\n\n");
    }

    #[test]
    fn labels_are_the_same_object_between_reports() {
        let latest = Latest::new(10);
        let Kept::Stored(first) = store(&latest, "sda", 1, 1000, 5.0) else { panic!("stored") };
        let Kept::Stored(second) = store(&latest, "sda", 1, 2000, 5.0) else { panic!("stored") };
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn old_rows_are_not_shown_and_their_places_are_used_again() {
        let latest = Latest::new(2);
        store(&latest, "sda", 1, 1000, 5.0);
        store(&latest, "sdb", 1, 50_000, 5.0);
        assert!(matches!(store(&latest, "sdc", 1, 60_000, 5.0), Kept::Full));
        assert!(!text(&latest, 70_000).contains("sda"));
        assert_eq!(latest.sweep(70_000), 1);
        assert!(matches!(store(&latest, "sdc", 1, 70_000, 5.0), Kept::Stored(_)));
        assert!(text(&latest, 70_000).contains("sdc"));
        assert_eq!(latest.sweep(10_000_000), 2);
        assert_eq!((latest.size(), text(&latest, 10_000_000)), ((0, 0), String::new()));
    }

    #[test]
    fn rows_of_before_the_clock_was_set_back_do_not_stay() {
        let latest = Latest::new(10);
        store(&latest, "sda", 1, 3_700_000, 5.0);
        store(&latest, "sdb", 1, 100_000, 6.0);
        assert_eq!(text(&latest, 100_000), "gala_gopher_disk_reads{disk_name=\"sdb\",owner=\"1\"} 6 100000\n\n");
        assert_eq!((latest.sweep(100_000), latest.size().0), (1, 1));
    }

    #[test]
    fn a_row_without_owner_is_not_stored() {
        let latest = Latest::new(2);
        assert!(matches!(store(&latest, "sda", 13, 1000, 5.0), Kept::Ownerless));
        assert_eq!(latest.size().0, 0);
    }

    #[test]
    fn equal_hashes_do_not_mix_rows() {
        let latest = Latest::new(10);
        store(&latest, "ab", 1, 1000, 1.0);
        store(&latest, "ba", 1, 1000, 2.0);
        let out = text(&latest, 1000);
        assert!(out.contains("\"ab\",owner=\"1\"} 1 ") && out.contains("\"ba\",owner=\"1\"} 2 "), "{out}");
    }
}
