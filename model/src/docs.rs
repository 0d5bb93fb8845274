//! `docs/metrics.md`, rendered from the tables: every probe, table, label and metric with unit, meaning and help.

use std::fmt::Write;

use crate::table::{Bad, FieldDef, Kind, Role, Semantics, TableDef};

const HEAD: &str = "# Metrics

Generated from the declarations in `model/src/tables/`; after a change there run `GALA_WRITE_DOCS=1 cargo test -p gala-model docs`.

Every series has the label `machine_id`. Rows of a process also have `comm`, those of entity `proc` `cmdline` and `start_time`;
in a container `container_id`, `container_name`, `container_image`, in a pod `pod_id`, `pod`, `pod_namespace`.

*Meaning*: a **level** is a state at the time of the report; **per period** counts what happened since the previous report (never
take a rate of it); **cumulative** grows for ever (take a rate). *Bad* is the direction of change that hurts; a metric without one
is context and never opens an incident. A histogram is exported as `name{le=..}`, `name_sum` and `name_max`.
";

/// The whole document.
pub fn render(tables: &[&'static TableDef]) -> String {
    let mut out = HEAD.to_owned();
    let mut probes: Vec<&str> = tables.iter().map(|table| table.probe).collect();
    probes.sort_unstable();
    probes.dedup();
    for probe in probes {
        let _ = write!(out, "\n## Probe `{probe}`\n");
        for table in tables.iter().filter(|table| table.probe == probe) {
            write_table(table, &mut out);
        }
    }
    out
}

fn write_table(table: &TableDef, out: &mut String) {
    let _ = write!(out, "\n### `{}` (entity `{}`)\n\n{}.\n\n", table.name, table.entity, cell(table.help));
    let _ = writeln!(out, "| label | | |\n|---|---|---|");
    for field in table.labels() {
        let role = if field.role == Role::Key { "key" } else { "" };
        let _ = writeln!(out, "| `{}` | {role} | {} |", field.name, cell(field.help));
    }
    if table.metrics().next().is_none() {
        return;
    }
    let _ = writeln!(out, "\n| metric | type | unit | meaning | bad | sub-probe | |\n|---|---|---|---|---|---|---|");
    for field in table.metrics() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            field.series.base,
            kind(field),
            field.unit,
            meaning(field.semantics),
            bad(field.bad),
            field.sub_probe,
            cell(field.help),
        );
    }
}

/// Text that cannot end a cell.
fn cell(text: &str) -> String {
    text.trim_end_matches('.').replace('|', "\\|")
}

fn kind(field: &FieldDef) -> &'static str {
    match field.role {
        Role::Metric(Kind::Gauge) => "gauge",
        Role::Metric(Kind::Counter) => "counter",
        Role::Metric(Kind::Summary) => "summary",
        Role::Metric(Kind::Histogram) => "histogram",
        Role::Key | Role::Label => "label",
    }
}

fn meaning(semantics: Semantics) -> &'static str {
    match semantics {
        Semantics::Level => "level",
        Semantics::PerPeriod => "per period",
        Semantics::Cumulative => "cumulative",
    }
}

fn bad(bad: Bad) -> &'static str {
    match bad {
        Bad::Up => "up",
        Bad::Down => "down",
        Bad::Both => "both",
        Bad::Never => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_docs_are_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let rendered = render(&crate::tables::all());
        if std::env::var_os("GALA_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
            std::fs::write(path, &rendered).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let differing = committed.lines().zip(rendered.lines()).find(|(old, new)| old != new);
        assert!(
            committed == rendered,
            "docs/metrics.md is not what the tables say; run `GALA_WRITE_DOCS=1 cargo test -p gala-model docs`; first difference: {differing:?}"
        );
    }

    /// One exported name with two meanings would be added up by whoever sums it.
    #[test]
    fn no_exported_name_is_that_of_two_fields() {
        let mut owners = std::collections::HashMap::new();
        for table in crate::tables::all() {
            for field in table.metrics() {
                let series = &field.series;
                let mut names = vec![series.base];
                if field.role == Role::Metric(Kind::Histogram) {
                    names.extend([series.sum, series.count, series.bucket]);
                    names.extend(Some(series.max).filter(|_| !series.max_is_declared));
                }
                for name in names {
                    let before = owners.insert(name, (table.name, field.name));
                    assert_eq!(before, None, "{name} is exported by {}.{} too", table.name, field.name);
                }
            }
        }
    }

    #[test]
    fn every_name_is_one_series_with_help() {
        let mut names = std::collections::HashSet::new();
        for table in crate::tables::all() {
            for field in table.metrics() {
                assert!(
                    field.series.base.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                    "{}",
                    field.series.base
                );
                assert!(!field.help.is_empty(), "{} has no help", field.series.base);
                assert!(names.insert((table.name, field.name)), "{} twice", field.series.base);
            }
        }
    }
}
