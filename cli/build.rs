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
    println!("cargo:rerun-if-changed=../.git/HEAD");
}
