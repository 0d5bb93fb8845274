//! libbpf's log, kept per thread instead of printed: the lines of a failed load become the reason of a hook.

use std::cell::RefCell;
use std::sync::Once;

use libbpf_rs::{PrintLevel, set_print};

/// A verifier log can be megabytes; its end is what says why.
const KEPT_LINES: usize = 400;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn keep(_level: PrintLevel, text: String) {
    LINES.with_borrow_mut(|lines| {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if lines.len() == KEPT_LINES {
                lines.remove(0);
            }
            lines.push(line.trim_start_matches("libbpf: ").to_owned());
        }
    });
}

/// Runs `work` with libbpf quiet; answers its result and what libbpf wrote meanwhile on this thread.
pub fn captured<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        set_print(Some((PrintLevel::Info, keep)));
    });
    LINES.with_borrow_mut(Vec::clear);
    let result = work();
    (result, LINES.with_borrow_mut(std::mem::take))
}
