//! External entity ids, their escaping, the host's two spellings, and the internal 128-bit id.

use std::net::IpAddr;

use super::EntityType;

/// Upstream cuts ids here before escaping.
const MAX_ID_CHARS: usize = 254;

/// Key that the topology leaves out of external ids; detectors do not, so both spellings occur.
const SKIPPED_KEY: &str = "toa_client_ip";

/// Cuts to 254 characters and replaces everything outside `a-z A-Z 0-9 _ - : . @ ( ) + , = ; $ ! * ' %` by `:`.
pub fn escape(id: &str) -> String {
    id.chars()
        .take(MAX_ID_CHARS)
        .map(|c| if c.is_ascii_alphanumeric() || "_-:.@()+,=;$!*'%".contains(c) { c } else { ':' })
        .collect()
}

/// External id from the values of the type's keys; `None` where a required key is missing or empty (only
/// `toa_client_ip` may be, for it is not part of the id).
pub fn external<'a>(machine_id: &str, kind: &EntityType, value_of: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut id = format!("{machine_id}_{}", kind.name);
    for key in kind.keys.iter().filter(|key| **key != SKIPPED_KEY) {
        let value = value_of(key).filter(|value| !value.is_empty())?;
        id.push('_');
        id.push_str(value);
    }
    Some(escape(&id))
}

/// The spelling of detectors: every key in order, `0` for a missing one, not cut.
pub fn detector_spelling<'a>(machine_id: &str, kind: &EntityType, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut id = format!("{machine_id}_{}", kind.name);
    for key in kind.keys {
        id.push('_');
        id.push_str(value_of(key).filter(|value| !value.is_empty()).unwrap_or("0"));
    }
    id
}

/// Strips a trailing `-<ip literal>` from a machine id: `uuid-192.0.2.2` and `uuid` are one host.
pub fn canonical_machine(machine_id: &str) -> &str {
    split_machine(machine_id).0
}

/// Canonical uuid and, where the id carries one, the management address.
pub fn split_machine(machine_id: &str) -> (&str, Option<IpAddr>) {
    // An IPv6 literal has no '-', so the last '-' always separates the address.
    match machine_id.rsplit_once('-') {
        Some((uuid, address)) if !uuid.is_empty() => match address.parse() {
            Ok(ip) => (uuid, Some(ip)),
            Err(_) => (machine_id, None),
        },
        _ => (machine_id, None),
    }
}

/// Internal identity: hash of cluster, canonical machine, type and ordered key values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey(pub u128);

impl EntityKey {
    /// FNV-1a over 128 bits with a separator that occurs in no label (0xff is no UTF-8); stable across restarts and builds.
    pub fn of<'a>(cluster: &str, machine_id: &str, kind: &str, values: impl Iterator<Item = &'a str>) -> Self {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = OFFSET;
        let mut add = |text: &str| {
            for byte in text.bytes().chain([0xff]) {
                hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
            }
        };
        add(cluster);
        add(canonical_machine(machine_id));
        add(kind);
        values.for_each(add);
        Self(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::entity_type;

    fn id(kind: &str, pairs: &[(&str, &str)]) -> Option<String> {
        external("m", entity_type(kind).unwrap(), |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    #[test]
    fn ids_follow_the_documented_examples() {
        assert_eq!(id("disk", &[("disk_name", "sda")]).unwrap(), "m_disk_sda");
        assert_eq!(id("block", &[("major", "8"), ("first_minor", "80")]).unwrap(), "m_block_8_80");
        assert_eq!(id("proc", &[("tgid", "2866035")]).unwrap(), "m_proc_2866035");
        let sli = [("tgid", "2866035"), ("ins_id", "14566"), ("app", "POSTGRE"), ("method", "0")];
        assert_eq!(id("sli", &sli).unwrap(), "m_sli_2866035_14566_POSTGRE_0");
        assert_eq!(id("cpu", &[("cpu", "0")]).unwrap(), "m_cpu_0");
        assert_eq!(id("host", &[]).unwrap(), "m_host");
        assert_eq!(id("mem", &[("infos", "/proc/meminfo")]).unwrap(), "m_mem_:proc:meminfo");
    }

    #[test]
    fn a_missing_key_gives_no_id_except_the_inserted_address() {
        assert_eq!(id("disk", &[]), None);
        let link = [
            ("tgid", "7"),
            ("comm", "a b"),
            ("role", "client"),
            ("client_ip", "10.0.0.1"),
            ("server_ip", "10.0.0.2"),
            ("client_port", "0"),
            ("server_port", "80"),
            ("protocol", "2"),
        ];
        assert_eq!(id("tcp_link", &link).unwrap(), "m_tcp_link_7_a:b_client_10.0.0.1_10.0.0.2_0_80_2");
    }

    #[test]
    fn both_spellings_of_a_machine_are_one_host() {
        assert_eq!(canonical_machine("1fd37deb-0000-0000-0000-000000000001-192.0.2.2"), "1fd37deb-0000-0000-0000-000000000001");
        assert_eq!(canonical_machine("1fd37deb-0000-0000-0000-000000000001"), "1fd37deb-0000-0000-0000-000000000001");
        assert_eq!(canonical_machine("u-2001:db8::1"), "u");
        let key = |machine| EntityKey::of("", machine, "proc", ["7"].into_iter());
        assert_eq!(key("u-192.0.2.2"), key("u"));
        assert_ne!(key("u"), key("v"));
    }

    #[test]
    fn keys_do_not_run_into_each_other() {
        let key = |values: &[&str]| EntityKey::of("", "m", "t", values.iter().copied());
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    #[test]
    fn escaping_cuts_and_replaces() {
        assert_eq!(escape("a/b\"c d\u{e9}"), "a:b:c:d:");
        assert_eq!(escape(&"x".repeat(400)).len(), 254);
    }
}
