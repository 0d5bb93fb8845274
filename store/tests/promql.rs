//! PromQL against scripts: what was loaded, what is asked, what must come out. Our own scripts lie in `promql/`; scripts in
//! the same language from elsewhere run too when `GALA_PROMQL_TESTDATA` names their folder (files, or lines within them,
//! that need native histograms or start timestamps are counted as skipped; `GALA_PROMQL_KNOWN` failures are tolerated).
#![allow(clippy::print_stdout)] // says what it skips

mod promql_script;

use std::path::Path;

use promql_script::run::{Outcome, run_file};

fn scripts(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    files
}

fn run_folder(folder: &Path) -> (String, usize, usize) {
    let mut report = String::new();
    let (mut passed, mut failed) = (0, 0);
    for file in scripts(folder) {
        let outcomes = run_file(&file);
        let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count();
        let (ok, skipped) = (count(|o| matches!(o, Outcome::Passed)), count(|o| matches!(o, Outcome::Skipped)));
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        report.push_str(&format!("{name}: {ok} passed, {} failed, {skipped} skipped\n", outcomes.len() - ok - skipped));
        for (line, outcome) in &outcomes {
            if let Outcome::Failed(reason) = outcome {
                report.push_str(&format!("  {name}:{line}: {reason}\n"));
                failed += 1;
            }
        }
        passed += ok;
    }
    (report, passed, failed)
}

#[test]
fn our_scripts_hold() {
    let (report, passed, failed) = run_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql"));
    assert_eq!(failed, 0, "\n{report}");
    assert!(passed > 100, "only {passed} evaluations ran\n{report}");
}

#[test]
fn scripts_from_elsewhere_hold() {
    let Some(folder) = std::env::var_os("GALA_PROMQL_TESTDATA") else {
        println!("skipped: GALA_PROMQL_TESTDATA does not name a folder of scripts");
        return;
    };
    let (report, passed, failed) = run_folder(Path::new(&folder));
    println!("{report}{passed} passed, {failed} failed");
    // Scripts may test options that Prometheus leaves off by default, such as keeping the metric name until the end.
    let known = std::env::var("GALA_PROMQL_KNOWN").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(failed <= known, "\n{report}");
}
