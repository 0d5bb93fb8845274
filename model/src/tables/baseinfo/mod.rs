//! Tables of probe `baseinfo`: the system view of a host, from `/proc` and a few calls. Field names are upstream's, odd ones
//! included; fields and tables that upstream lacks stand last.

mod cpu;
mod host;
mod memory;
mod network;
mod storage;

pub use cpu::{HostPressure, HostTasks, SystemCpu, SystemCpuUtil};
pub use host::{HostProcesses, SystemOs, SystemProc};
pub use memory::{MemVmstat, SystemDentry, SystemMeminfo};
pub use network::{NetSockstat, NetTcpext, Nic, SystemTcp, SystemUdp};
pub use storage::{SystemDf, SystemIostat};
