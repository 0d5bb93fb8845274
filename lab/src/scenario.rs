//! The faults: what each is in words, what it needs, and what a right answer is.

use clap::ValueEnum;

/// Those of the series that `docs/accuracy.md` holds, in its order, then the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A noisy neighbour on the server's processor
    Cpu,
    /// A tenth of the packets to the client is lost
    Loss,
    /// The disk under the server's log takes few writes a second
    Disk,
    /// A neighbour syncs to the same disk all the time
    Fsync,
    /// More connections come at once than the server's queue holds
    Listen,
    /// The server is stopped by a signal
    Stop,
    /// Somebody's script holds the server for seconds, again and again
    Hang,
    /// The link to the clients is down
    Link,
    /// A control group gives the server half the processor time it needs
    Quota,
    /// The server may use no more memory and refuses to write
    Memory,
    /// 30 ms more on the way to the clients; needs netem in the kernel
    Delay,
    /// The server is killed and stays away until it is healed
    Kill,
}

/// Which faults a series makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Series {
    /// cpu, loss, disk, fsync, listen
    Five,
    /// stop, hang, link, quota, memory, delay, kill
    More,
    /// Both
    All,
}

impl Series {
    pub fn faults(self) -> Vec<Fault> {
        let all = Fault::value_variants();
        match self {
            Self::Five => all[..5].to_vec(),
            Self::More => all[5..].to_vec(),
            Self::All => all.to_vec(),
        }
    }
}

impl Fault {
    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// In words.
    pub fn means(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// Whether the server must write its log to the lab's own disk.
    pub const fn needs_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Fsync)
    }

    /// Whether another process is the server afterwards, which must become known first.
    pub const fn replaces_server(self) -> bool {
        matches!(self, Self::Kill)
    }
}

/// One right answer: what is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The process that does the harm, or the server itself; categories
    Process(u32, &'static [&'static str]),
    /// The processor all of them want
    Processor(usize),
    /// `loop0` and its number `7:0`
    Disk(String, String, &'static [&'static str]),
    /// One between the server's address and its clients
    Connection(String),
    /// The server's link
    Interface(String, &'static [&'static str]),
    /// The server's listening socket
    Listener(u32),
}

impl Truth {
    /// Whether a cause says this: the entity at fault and its category.
    pub fn is_named(&self, entity_id: &str, entity_type: &str, category: &str) -> bool {
        let ends = |end: &str| entity_id.ends_with(end);
        let (entity, categories) = match self {
            Self::Process(pid, categories) => (entity_type == "proc" && ends(&format!("_proc_{pid}")), *categories),
            Self::Processor(cpu) => (entity_type == "cpu" && ends(&format!("_cpu_{cpu}")), &["S1"][..]),
            Self::Disk(device, number, categories) => {
                let number = number.replace(':', "_");
                let is_it = match entity_type {
                    "disk" => ends(&format!("_disk_{device}")),
                    "block" => ends(&format!("_block_{number}")),
                    _ => false,
                };
                (is_it, *categories)
            }
            Self::Connection(address) => {
                (entity_type == "tcp_link" && entity_id.split('_').any(|part| part == address), &["S4"][..])
            }
            Self::Interface(link, categories) => (entity_type == "nic" && ends(&format!("_nic_{link}")), *categories),
            Self::Listener(pid) => (entity_type == "endpoint_tcp" && entity_id.contains(&format!("_{pid}_")), &["S4"][..]),
        };
        entity && categories.contains(&category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_are_the_five_and_the_others_without_overlap() {
        let (five, more, all) = (Series::Five.faults(), Series::More.faults(), Series::All.faults());
        assert_eq!(five, [Fault::Cpu, Fault::Loss, Fault::Disk, Fault::Fsync, Fault::Listen]);
        assert_eq!([five, more.clone()].concat(), all);
        // Others would meet a server that is not known yet.
        assert!(more.iter().rev().skip(1).all(|fault| !fault.replaces_server()));
    }

    #[test]
    fn every_fault_says_what_it_is() {
        for fault in Fault::value_variants() {
            assert!(fault.means().len() > 20, "{}: {}", fault.name(), fault.means());
        }
    }

    #[test]
    fn only_the_thing_at_fault_in_its_category_is_right() {
        let machine = "5c1f0b2e-77aa-4b1e-8f00-000000000001-192.0.2.2";
        let is_named = |truth: &Truth, rest: &str, category: &str| {
            let entity_type = rest.split_once("_tcp_").map_or_else(|| rest.split('_').next().unwrap(), |_| "endpoint_tcp");
            let entity_type = if rest.starts_with("tcp_link") { "tcp_link" } else { entity_type };
            truth.is_named(&format!("{machine}_{rest}"), entity_type, category)
        };
        let process = Truth::Process(412, &["S5", "S6"]);
        assert!(is_named(&process, "proc_412", "S5") && is_named(&process, "proc_412", "S6"));
        assert!(!is_named(&process, "proc_1412", "S5") && !is_named(&process, "proc_412", "S1"));
        assert!(is_named(&Truth::Processor(1), "cpu_1", "S1") && !is_named(&Truth::Processor(1), "cpu_11", "S1"));
        let disk = Truth::Disk("loop0".into(), "7:0".into(), &["S3"]);
        assert!(is_named(&disk, "disk_loop0", "S3") && is_named(&disk, "block_7_0", "S3"));
        assert!(!is_named(&disk, "disk_vda", "S3") && !is_named(&disk, "block_254_0", "S3"));
        let connection = Truth::Connection("198.18.77.1".into());
        assert!(is_named(&connection, "tcp_link_412_server_198.18.77.2_198.18.77.1_0_16379_2", "S4"));
        assert!(
            !is_named(&connection, "tcp_link_99_client_10.0.0.5_10.0.0.9_0_443_2", "S4"),
            "another of the host's connections"
        );
        assert!(!is_named(&connection, "tcp_link_412_server_198.18.77.2_198.18.77.10_0_16379_2", "S4"));
        let link = Truth::Interface("galalab0s".into(), &["H3"]);
        assert!(is_named(&link, "nic_galalab0s", "H3") && !is_named(&link, "nic_eth0", "H3"));
        let listener = Truth::Listener(412);
        assert!(is_named(&listener, "endpoint_tcp_412_198.18.77.1_16379", "S4"));
        assert!(!is_named(&listener, "endpoint_tcp_77_0.0.0.0_22", "S4") && !is_named(&listener, "net_TCP", "S4"));
    }
}
