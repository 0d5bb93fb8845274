//! The parameters of the measured core, one configuration for every system, file and live host.

/// How evidence is weighed. The defaults were measured on public fault collections and hold within the ranges named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoreParams {
    /// Quantile of a series' own windows that counts as its normal range (0.99 to 1.0).
    pub null_quantile: f64,
    /// Nats per e-fold of leaving that range (1.25 to 6).
    pub steep: f64,
    /// Most nats one observation may contribute (4 to 100).
    pub cap: f64,
    /// Nats of explaining the whole symptom by flow (1 to 32).
    pub flow_weight: f64,
    /// Least correlation with the symptom for a callee to take part in the flow (0 to 0.6).
    pub rho_min: f64,
    /// How much more than its caller a callee may deviate before its claim shrinks (1 to 10).
    pub over: f64,
    /// Least share of incident samples a series needs (0.4 to 1).
    pub cover: f64,
    /// Least baseline samples a series needs (20 to 100).
    pub baseline_min: usize,
    /// Smallest CPU or memory deviation that counts, percentage points (1 to 20).
    pub cpu_floor_points: f64,
    /// Smallest latency deviation that counts, share of the symptom's median (0.005 to 0.1).
    pub latency_floor: f64,
    /// The same for the flow's contributions.
    pub flow_floor: f64,
    /// Smallest share of failing requests that counts.
    pub failure_floor: f64,
    /// How much quantiles of callees amplify in their caller (2 to 10).
    pub latency_amplification: f64,
    /// Log growth of a network gap that is free (0.3 to 1).
    pub gap_free: f64,
    /// Relative spread of calls per request beyond Poisson (0.05 to 0.2).
    pub overdispersion: f64,
    /// Standard deviations of missing calls or messages that are free (1 to 3).
    pub z_free: f64,
    /// Nats per e-fold of new error messages (0.5 to 2).
    pub error_weight: f64,
    /// Share of a caller's missing calls that its callee is blamed for (0.5 to 0.95).
    pub callee_share: f64,
    /// Nats for the nodes users call when the symptom left its range (0.1 to 1).
    pub entry: f64,
    /// Least nats of the best candidate for an answer (0 to 1.2).
    pub answer: f64,
}

impl Default for CoreParams {
    fn default() -> Self {
        Self {
            null_quantile: 0.995,
            steep: 2.0,
            cap: 8.0,
            flow_weight: 8.0,
            rho_min: 0.3,
            over: 3.0,
            cover: 0.6,
            baseline_min: 30,
            cpu_floor_points: 5.0,
            latency_floor: 0.05,
            flow_floor: 0.025,
            failure_floor: 0.01,
            latency_amplification: 3.0,
            gap_free: 0.7,
            overdispersion: 0.1,
            z_free: 1.5,
            error_weight: 1.0,
            callee_share: 0.8,
            entry: 0.5,
            answer: 0.4,
        }
    }
}
