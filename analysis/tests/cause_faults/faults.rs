//! What each fault does to the host.

use crate::host::{Host, Noise};

pub fn cpu_neighbour(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.5;
    host.wait_us = noise.around(2_000.0, 0.2);
    host.processing_us = noise.around(400.0, 0.3);
    host.run_delay_ms = noise.around(2_300.0, 0.1);
    host.storage_delay_ms *= 1.5;
    host.server_cpu = noise.around(48.0, 0.05);
    host.core_busy = 100.0;
    (host.other_runs, host.other_cpu, host.other_core) = (true, noise.around(50.0, 0.05), 1.0);
}

pub fn cpu_neighbour_seen_preempting(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour(host, noise);
    host.preempts = true;
}

pub fn eight_neighbours_of_one_program(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour_seen_preempting(host, noise);
    host.server_cpu = noise.around(20.0, 0.05);
    host.other_cpu = noise.around(80.0, 0.05);
    host.other_workers = 8;
}

pub fn packet_loss(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.05;
    host.sending_us = noise.around(9_000.0, 0.4);
    host.wait_us *= 1.6;
    host.server_cpu *= 0.2;
    host.core_busy *= 0.3;
    host.retransmitted = noise.around(60.0, 0.5).round();
    host.lost = noise.around(30.0, 0.5).round();
    host.srtt_us = noise.around(140.0, 0.4);
}

pub fn packet_loss_with_counted_drops(host: &mut Host, noise: &mut Noise) {
    packet_loss(host, noise);
    host.nic_drops = noise.around(70.0, 0.4).round();
}

pub fn loss_of_requests_only(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.1;
    host.wait_us = noise.around(3_000.0, 0.4);
    host.client_retransmitted = noise.around(50.0, 0.4).round();
}

/// Requests wait above the device.
pub fn slow_disk(host: &mut Host, noise: &mut Noise) {
    host.device_share = 0.01;
    host.rate *= 0.02;
    host.processing_us = noise.around(25_000.0, 0.3);
    host.wait_us = noise.around(30_000.0, 0.3);
    host.storage_delay_ms = noise.around(4_600.0, 0.05);
    host.fsync_us = noise.around(60_000.0, 0.3);
    host.server_cpu *= 0.1;
    host.core_busy *= 0.2;
    host.disk_await_ms = noise.around(48.0, 0.2);
    host.sync_us = noise.around(60_000.0, 0.3);
    host.disk_written_kb *= 0.2;
    host.disk_writes *= 0.2;
    host.flushes *= 0.3;
}

/// The device is well, but what is written to it is held back: syncs of files take long.
pub fn limited_disk(host: &mut Host, noise: &mut Noise) {
    slow_disk(host, noise);
    host.disk_await_ms = noise.around(0.9, 0.3);
    host.sync_us = noise.around(60_000.0, 0.3);
}

pub fn fsync_flood(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.2;
    host.processing_us = noise.around(2_500.0, 0.3);
    host.wait_us = noise.around(5_000.0, 0.3);
    host.storage_delay_ms = noise.around(3_500.0, 0.1);
    host.fsync_us = noise.around(15_000.0, 0.4);
    host.run_delay_ms *= 2.0;
    host.disk_await_ms = noise.around(7.0, 0.3);
    host.disk_written_kb = noise.around(20_000.0, 0.2);
    host.sync_us = noise.around(15_000.0, 0.4);
    host.disk_writes = noise.around(2_000.0, 0.2);
    host.flushes = noise.around(900.0, 0.2);
    (host.other_runs, host.other_cpu, host.other_core) = (true, noise.around(9.0, 0.3), 3.0);
    host.other_written = noise.around(90e6, 0.2);
}

pub fn stopped_server(host: &mut Host, _: &mut Noise) {
    host.rate = 0.0;
    (host.server_cpu, host.core_busy) = (0.0, host.core_busy * 0.1);
    (host.stopped, host.oldest_s) = (5.0, 20.0);
}

pub fn full_accept_queue(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.7;
    host.accept_overflow = noise.around(40.0, 0.5).round();
    host.connect_ms = noise.around(900.0, 0.4);
}

/// Slower for a reason nothing shows.
pub fn nothing_to_see(host: &mut Host, _: &mut Noise) {
    host.processing_us += 40.0;
}

/// A quota is set: what the server waits for a CPU is what the quota withholds, and who ran meanwhile is seen to run.
pub fn quota(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour(host, noise);
    host.server_cpu = noise.around(20.0, 0.05);
    (host.core_busy, host.other_cpu) = (noise.around(35.0, 0.1), noise.around(12.0, 0.2));
    host.preempts = true;
    host.throttled_ms = Some(host.run_delay_ms * noise.around(0.97, 0.02));
}

/// Programs that start and end all the time take the server's core, as in a compilation.
pub fn compilation(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour(host, noise);
    host.other_runs = false;
    host.short_lived_ms = host.run_delay_ms * 0.9;
}

pub fn failing_requests(host: &mut Host, noise: &mut Noise) {
    host.failing = noise.around(0.3, 0.2);
}

pub fn failing_device(host: &mut Host, noise: &mut Noise) {
    failing_requests(host, noise);
    host.device_errors = noise.around(40.0, 0.4).round();
}

/// Nothing is answered, and nothing the server waits for is measured.
pub fn hang(host: &mut Host, _: &mut Noise) {
    host.rate = 0.0;
    (host.server_cpu, host.core_busy) = (0.0, host.core_busy * 0.1);
    host.oldest_s = 20.0;
}

/// Requests wait for others that take long, without the server waiting for a CPU.
pub fn slow_commands(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.3;
    host.wait_us = noise.around(8_000.0, 0.3);
    host.processing_us *= 1.1;
}

pub fn stopped_with_full_queue(host: &mut Host, noise: &mut Noise) {
    stopped_server(host, noise);
    host.accept_overflow = noise.around(40.0, 0.5).round();
}

pub fn refused(host: &mut Host, noise: &mut Noise) {
    host.refused = noise.around(20.0, 0.3).round();
}

/// As `refused`, after the link went down and came back.
pub fn refused_after_link_loss(host: &mut Host, noise: &mut Noise) {
    refused(host, noise);
    host.carrier_changes = 2.0;
}

pub fn killed_for_memory(host: &mut Host, _: &mut Noise) {
    host.oom_kills = 1.0;
}

/// A memory limit is set: the server spends its time freeing memory.
pub fn memory_limit(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.3;
    host.processing_us = noise.around(900.0, 0.2);
    host.limit_hits = Some(noise.around(400.0, 0.3).round());
}

pub fn killed_in_the_servers_group(host: &mut Host, noise: &mut Noise) {
    memory_limit(host, noise);
    host.oom_kills = 1.0;
}
