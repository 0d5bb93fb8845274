//! Name, command line, main class, start time and cgroup of a process from `/proc/<pid>/{stat,comm,cmdline,cgroup}` (proc(5)).
//! Parsers take bytes; the readers around them reuse one buffer.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cgroup::{self, ContainerRef};

/// Exported length of a command line, in characters; a bound for what a process can put into every series of its own.
const MAX_CMDLINE: usize = 127;

/// No file read here is longer in any useful way.
const MAX_READ: u64 = 64 * 1024;

/// What `/proc` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    pub comm: String,
    /// Blanks between arguments.
    pub cmdline: String,
    /// Of a Java program: its class, module or jar.
    pub main: Option<String>,
    /// Clock ticks since boot; with the pid it names the process for good.
    pub start_ticks: u64,
    pub container: Option<ContainerRef>,
}

/// Reads facts below one `/proc`.
#[derive(Debug)]
pub struct ProcessReader {
    root: PathBuf,
    buffer: Vec<u8>,
}

impl ProcessReader {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), buffer: Vec::with_capacity(4096) }
    }

    /// Everything; `None` when there is no such process (any more).
    pub fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        let (comm, start_ticks) = parse_stat(self.load(pid, "stat")?)?;
        let is_java = comm == "java";
        let of_line = |raw: &[u8]| (parse_cmdline(raw), if is_java { java_main(raw) } else { None });
        let (cmdline, main) = self.load(pid, "cmdline").map(of_line).unwrap_or_default();
        let container = self.load(pid, "cgroup").and_then(|text| cgroup::container_of(&String::from_utf8_lossy(text)));
        Some(ProcessFacts { comm, cmdline, main, start_ticks, container })
    }

    /// Name and start only: one file, enough to see whether a pid is still the same process.
    pub fn read_stat(&mut self, pid: u32) -> Option<(String, u64)> {
        parse_stat(self.load(pid, "stat")?)
    }

    fn load(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        self.buffer.clear();
        let file = File::open(self.root.join(pid.to_string()).join(name)).ok()?;
        file.take(MAX_READ).read_to_end(&mut self.buffer).ok()?;
        Some(&self.buffer)
    }
}

/// Name (field 2) and start time in clock ticks (field 22) of `/proc/<pid>/stat`. The name may hold blanks and brackets.
pub fn parse_stat(stat: &[u8]) -> Option<(String, u64)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let comm = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let start = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((comm, start))
}

/// Arguments with blanks between; empty for kernel threads.
pub fn parse_cmdline(raw: &[u8]) -> String {
    let end = raw.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&raw[..end]);
    text.chars().map(|c| if c == '\0' { ' ' } else { c }).collect()
}

/// Options of the Java launcher whose value is the next argument (java(1)).
const JAVA_VALUED: [&str; 16] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--enable-native-access",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--patch-module",
    "--describe-module",
    "-d",
    "--source",
];

/// What a Java launcher runs, from its arguments as `/proc` has them: the first one that is no option, which is the jar's
/// file behind `-jar`, else the class; or the module.
pub fn java_main(raw: &[u8]) -> Option<String> {
    let text = |argument: &[u8]| String::from_utf8_lossy(argument).into_owned();
    let mut arguments = raw.split(|byte| *byte == 0).skip(1).map(text);
    while let Some(argument) = arguments.next() {
        if let Some(module) = argument.strip_prefix("--module=") {
            return Some(module.to_owned());
        }
        if argument == "-m" || argument == "--module" {
            return arguments.next().filter(|module| !module.is_empty());
        }
        // A file with further arguments (`@file`) names no class.
        if !argument.is_empty() && !argument.starts_with(['-', '@']) {
            return Some(argument);
        }
        if JAVA_VALUED.contains(&argument.as_str()) {
            arguments.next();
        }
    }
    None
}

impl ProcessFacts {
    /// What is exported as the command line: of a Java program what it runs, for its options alone are longer.
    pub fn shown_cmdline(&self) -> &str {
        let whole = self.main.as_deref().unwrap_or(&self.cmdline);
        whole.char_indices().nth(MAX_CMDLINE).map_or(whole, |(at, _)| &whole[..at])
    }
}

/// Boot time in seconds since 1970 (`btime` of `/proc/stat`).
pub fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Pids below a `/proc`.
pub fn all_pids(root: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_blanks_do_not_shift_the_fields() {
        let stat = b"4242 (tmux: (server) x) S 1 4242 4242 0 -1 4194368 1 0 0 0 7 8 0 0 20 0 1 0 987654 8712192 1 184";
        assert_eq!(parse_stat(stat), Some(("tmux: (server) x".into(), 987_654)));
        assert_eq!(parse_stat(b"4242 (x) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn command_lines_are_joined_by_blanks_and_cut_when_shown() {
        assert_eq!(parse_cmdline(b"nginx: worker process\0\0\0"), "nginx: worker process");
        assert_eq!(parse_cmdline(b"java\0-jar\0a.jar\0"), "java -jar a.jar");
        assert_eq!(parse_cmdline(b""), "");
        assert_eq!(shown(&"\u{e9}".repeat(200), None).chars().count(), MAX_CMDLINE);
        assert_eq!(shown("short", None), "short");
    }

    fn shown(cmdline: &str, main: Option<&str>) -> String {
        let main = main.map(str::to_owned);
        let facts = ProcessFacts { comm: "x".into(), cmdline: cmdline.into(), main, start_ticks: 1, container: None };
        facts.shown_cmdline().to_owned()
    }

    #[test]
    fn of_java_the_class_the_jar_or_the_module_is_shown() {
        let main = |line: &str| java_main(line.replace(' ', "\0").as_bytes());
        let kafka = "java -Xmx1G -XX:+UseG1GC -javaagent:/a.jar=x -cp /opt/a.jar:/opt/b.jar kafka.Kafka /etc/server.properties";
        assert_eq!(main(kafka).as_deref(), Some("kafka.Kafka"));
        assert_eq!(shown(kafka, Some("kafka.Kafka")), "kafka.Kafka");
        assert_eq!(main("/usr/bin/java -jar -Dx=y /srv/app.jar --port 80").as_deref(), Some("/srv/app.jar"));
        let modules = "java --module-path mods --add-opens java.base/java.lang=ALL-UNNAMED -m shop/org.shop.Main x";
        assert_eq!(main(modules).as_deref(), Some("shop/org.shop.Main"));
        assert_eq!(main("java --module=shop/org.shop.Main").as_deref(), Some("shop/org.shop.Main"));
        assert_eq!(main("java --add-modules=ALL-SYSTEM @/etc/options Main").as_deref(), Some("Main"));
        assert_eq!(java_main(b"java\0-cp\0/a b.jar\0Main Class\0").as_deref(), Some("Main Class"), "blanks are no ends");
        for none in ["java -version", "java -cp", "java -m", "java", ""] {
            assert_eq!(main(none), None, "{none}");
        }
    }

    #[test]
    fn only_processes_named_java_are_asked_for_what_they_run() {
        let root = tempfile::tempdir().unwrap();
        let shown = |comm: &str| {
            std::fs::create_dir_all(root.path().join("7")).unwrap();
            let stat = format!("7 ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
            std::fs::write(root.path().join("7/stat"), stat).unwrap();
            std::fs::write(root.path().join("7/cmdline"), b"java\0-Xmx1G\0-jar\0app.jar\0").unwrap();
            let facts = ProcessReader::new(root.path()).read(7).unwrap();
            assert_eq!(facts.cmdline, "java -Xmx1G -jar app.jar", "ranges compare the whole line");
            facts.shown_cmdline().to_owned()
        };
        assert_eq!(shown("java"), "app.jar");
        assert_eq!(shown("jsvc"), "java -Xmx1G -jar app.jar");
    }

    #[test]
    fn this_process_is_read() {
        let mut reader = ProcessReader::new(Path::new("/proc"));
        let facts = reader.read(std::process::id()).unwrap();
        let (comm, start) = reader.read_stat(std::process::id()).unwrap();
        assert_eq!((facts.comm, facts.start_ticks), (comm, start));
        assert!(facts.cmdline.contains("gala"), "{}", facts.cmdline);
        assert!(all_pids(Path::new("/proc")).contains(&std::process::id()));
        assert!(reader.read(u32::MAX).is_none());
    }

    #[test]
    fn boot_time_is_found_among_the_other_lines() {
        assert_eq!(parse_boot_time("cpu  1 2 3\nintr 5\nbtime 1795200000\nprocesses 9\n"), Some(1_795_200_000));
        assert_eq!(parse_boot_time("cpu 1\n"), None);
    }
}
