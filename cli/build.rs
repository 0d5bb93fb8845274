//! Stamps commit and date into the version; a source tree without git says so.

use std::process::Command;

fn main() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "no commit".into());
    let date = git(&["log", "-1", "--format=%cs"]).unwrap_or_else(|| "no date".into());
    println!("cargo:rustc-env=GALA_COMMIT={commit}");
    println!("cargo:rustc-env=GALA_DATE={date}");
    // The log of HEAD grows with every commit and checkout; HEAD itself only names the branch.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
