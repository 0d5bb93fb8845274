//! Tables of probe `baseinfo`, sub-probe `host`.

use crate::Table;

/// Facts of the host
#[derive(Table, Clone, Debug, Default)]
#[table(name = "host", entity = "host", probe = "baseinfo")]
pub struct Host {
    /// Operating system and version
    #[key]
    pub os_version: String,
    /// Host name
    #[label]
    pub hostname: String,
    /// Kernel release
    #[label]
    pub kernel_version: String,
    /// Always 1 while the host reports
    #[gauge(unit = "bool", level, bad = "down", sub = "host")]
    pub value: u64,
}
