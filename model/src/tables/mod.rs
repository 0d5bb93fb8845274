//! The tables of every probe, one file per probe, and the list of them all.

use crate::table::{Table, TableDef};

pub mod baseinfo;
pub mod io;
pub mod proc;
pub mod sli;
pub mod socket;
pub mod tcp;

/// Every table built in, in the order the documentation lists them.
pub fn all() -> Vec<&'static TableDef> {
    vec![
        baseinfo::SystemCpu::def(),
        baseinfo::SystemCpuUtil::def(),
        baseinfo::SystemMeminfo::def(),
        baseinfo::SystemDentry::def(),
        baseinfo::MemVmstat::def(),
        baseinfo::SystemIostat::def(),
        baseinfo::SystemDf::def(),
        baseinfo::Nic::def(),
        baseinfo::SystemTcp::def(),
        baseinfo::SystemUdp::def(),
        baseinfo::NetTcpext::def(),
        baseinfo::NetSockstat::def(),
        baseinfo::SystemOs::def(),
        baseinfo::HostPressure::def(),
        baseinfo::HostTasks::def(),
        baseinfo::HostProcesses::def(),
        baseinfo::SystemProc::def(),
        proc::ProcSched::def(),
        proc::ProcPreempt::def(),
        proc::ProcCpu::def(),
        proc::ProcSyscallIo::def(),
        proc::ProcPage::def(),
        proc::ProcCgroup::def(),
        proc::ThreadSched::def(),
        proc::SliCpuNodeGauge::def(),
        proc::SliCpuNodeHistogram::def(),
        io::IoLatency::def(),
        io::IoHistogram::def(),
        io::IoSync::def(),
        io::IoErr::def(),
        io::IoCount::def(),
        io::ProcBlock::def(),
        tcp::TcpMetric::def(),
        sli::RedisSli::def(),
        sli::RedisMaxSli::def(),
        sli::Sli::def(),
        socket::EndpointTcp::def(),
    ]
}
