//! Loading a probe's object: the best rung of each hook that this kernel takes.
//!
//! libbpf loads an object as a whole, so one refused program fails all. The loader therefore opens the object again with
//! that program's rung struck out, until what is left loads and attaches; the number of tries is bounded by the number of rungs.
//! Where hooks stay off, the probe's next object is tried, and the one with the fewest hooks off is kept.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::{Link, MapCore, MapType, Object, ObjectBuilder, OpenObject, ProgramMut};

use super::capabilities::KernelNames;
use super::{Capabilities, HookReport, HookSpec, HookState, ObjectSpec, Rung, Step};

/// A probe's object as loaded. Dropping it detaches every program and frees every map.
pub struct Loaded {
    /// Declared before the object: links go first.
    links: HashMap<String, Link>,
    object: Option<Object>,
    pub hooks: Vec<HookReport>,
}

impl Loaded {
    /// The object; `None` when nothing could be loaded (the hook reports say why).
    pub fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    pub fn link(&self, program: &str) -> Option<&Link> {
        self.links.get(program)
    }

    /// Whether a hook works on whatever rung.
    pub fn works(&self, hook: &str) -> bool {
        self.hooks.iter().any(|report| report.hook == hook && report.state != HookState::Off)
    }

    /// The rung a hook works on.
    pub fn rung(&self, hook: &str) -> Option<Rung> {
        self.hooks.iter().find(|report| report.hook == hook)?.rung
    }

    /// A map by name as an owned handle.
    pub fn map(&self, name: &str) -> Result<libbpf_rs::MapHandle> {
        let object = self.object.as_ref().ok_or_else(|| anyhow!("the object is not loaded"))?;
        let map = object.maps().find(|map| map.name() == name).with_context(|| format!("map {name} does not exist"))?;
        Ok(libbpf_rs::MapHandle::try_from(&map)?)
    }

    /// An iterator program; where it walks the sockets with a record, over those of the map named.
    pub fn iterator(&self, program: &str, map: Option<&str>) -> Result<Walker> {
        use std::os::fd::AsFd;
        let object = self.object.as_ref().context("the object is not loaded")?;
        let found = object
            .progs_mut()
            .find(|candidate| candidate.name() == program && candidate.autoload())
            .with_context(|| format!("program {program} is not loaded"))?;
        let walks_records = found.section().to_string_lossy().ends_with("iter/bpf_sk_storage_map");
        let (link, log) = match map.filter(|_| walks_records) {
            Some(name) => {
                let map = self.map(name)?;
                super::log::captured(|| found.attach_iter(map.as_fd()))
            }
            None => super::log::captured(|| found.attach()),
        };
        let link = link.with_context(|| format!("attaching iterator {program} failed: {}", log.join("; ")))?;
        Ok(Walker { link })
    }

    /// Name and descriptor of each loaded program.
    pub fn program_fds(&self) -> Vec<(String, i32)> {
        use std::os::fd::{AsFd, AsRawFd};
        let programs = self.object.iter().flat_map(Object::progs).filter(|program| program.autoload());
        programs.map(|program| (program.name().to_string_lossy().into_owned(), program.as_fd().as_raw_fd())).collect()
    }

    /// Bytes the kernel holds for the maps, as it accounts them itself.
    pub fn map_bytes(&self) -> u64 {
        use std::os::fd::{AsFd, AsRawFd};
        self.object.iter().flat_map(Object::maps).map(|map| super::cost::map_bytes(map.as_fd().as_raw_fd())).sum()
    }
}

/// An attached iterator: each run walks its objects once.
pub struct Walker {
    link: Link,
}

impl Walker {
    /// Runs the program over everything there is; what it prints is handed to `take` in pieces.
    pub fn run(&self, mut take: impl FnMut(&[u8])) -> Result<()> {
        self.read(&mut [0; 8192], |piece| {
            take(piece);
            true
        })
    }

    /// Runs the program until it prints something.
    pub fn run_until_printed(&self) -> Result<()> {
        // The kernel goes on until it has as much as is asked for.
        self.read(&mut [0; 1], |_| false)
    }

    /// Goes on while `take` wants more.
    fn read(&self, buffer: &mut [u8], mut take: impl FnMut(&[u8]) -> bool) -> Result<()> {
        use std::io::Read;
        let mut iterator = libbpf_rs::Iter::new(&self.link).context("starting a BPF iterator failed")?;
        loop {
            match iterator.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(length) if take(&buffer[..length]) => {}
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
                Err(error) => return Err(error).context("reading a BPF iterator failed"),
            }
        }
    }
}

/// Loads and attaches. Iterators are loaded only, see [`Loaded::iterator`]. `setup` sets configuration and map sizes of the
/// opened object; it runs once per try.
pub fn load(spec: &ObjectSpec, setup: impl Fn(&mut OpenObject) -> Result<()>) -> Loaded {
    load_one(spec, &setup)
}

/// Loads and attaches the object that fits this kernel best, the first one if it can.
pub fn load_best(objects: &[ObjectSpec], setup: impl Fn(&mut OpenObject) -> Result<()>) -> Loaded {
    let off = |loaded: &Loaded| loaded.hooks.iter().filter(|report| report.state == HookState::Off).count();
    let Some((mut best_spec, further)) = objects.split_first() else {
        return Loaded { links: HashMap::new(), object: None, hooks: Vec::new() };
    };
    let mut best = load_one(best_spec, &setup);
    for spec in further {
        if off(&best) == 0 {
            break;
        }
        let mut next = load_one(spec, &setup);
        if off(&next) < off(&best) {
            explain(&mut next.hooks, &best.hooks, best_spec);
            (best, best_spec) = (next, spec);
        }
    }
    best
}

/// A hook of a further object that lacks something says why the best rung of the object before would not do.
fn explain(hooks: &mut [HookReport], before: &[HookReport], spec_before: &ObjectSpec) {
    for report in hooks.iter_mut().filter(|report| report.state == HookState::Degraded && report.reason.ends_with(": ")) {
        let Some(other) = before.iter().find(|other| other.hook == report.hook) else { continue };
        let hook = spec_before.hooks.iter().find(|hook| hook.hook == report.hook);
        let mut lacks = hook.iter().flat_map(|hook| hook.ladder).filter(|step| !step.lacks.is_empty());
        let why = lacks.find_map(|step| other.reason.strip_prefix(step.lacks)?.strip_prefix(": "));
        // It worked there, and is worse here for the sake of a hook that did not.
        let sake = || before.iter().find(|other| other.state == HookState::Off);
        let why = match why.unwrap_or(&other.reason) {
            "" => sake().map_or_else(String::new, |off| format!("{} would be off otherwise ({})", off.hook, off.reason)),
            why => why.to_owned(),
        };
        report.reason.push_str(&why);
    }
}

fn load_one(spec: &ObjectSpec, setup: &impl Fn(&mut OpenObject) -> Result<()>) -> Loaded {
    let capabilities = Capabilities::probe();
    let mut struck = Struck::default();
    if let Some(reason) = capabilities.obstacle() {
        strike_programs(spec, &mut struck, &reason);
        return Loaded { links: HashMap::new(), object: None, hooks: reports(spec, &struck) };
    }
    let names = KernelNames::load();
    strike_impossible(spec, &capabilities, names.as_ref(), &mut struck);
    let prepare = |open: &mut OpenObject| {
        leave_out_maps(open, names.as_ref())?;
        setup(open)
    };
    loop {
        match attempt(spec, &struck, &prepare) {
            Ok((object, links)) => return Loaded { links, object: Some(object), hooks: reports(spec, &struck) },
            Err(Failure::Program { program, reason }) if struck.strike(&program, &reason) => {}
            Err(Failure::Program { reason, .. } | Failure::Object(reason)) => {
                strike_programs(spec, &mut struck, &reason);
                return Loaded { links: HashMap::new(), object: None, hooks: reports(spec, &struck) };
            }
        }
    }
}

/// The hooks as they would stand, found by loading and letting go at once.
pub fn check(objects: &[ObjectSpec]) -> Vec<HookReport> {
    load_best(objects, |_| Ok(())).hooks
}

/// Tracing programs may keep records at tasks since 5.13; a map named `*_by_pid` stands in before. Only one of both is made.
/// The same test as `HAS_TASK_STORAGE` of `kernel_tasks.h`.
fn leave_out_maps(open: &mut OpenObject, names: Option<&KernelNames>) -> Result<()> {
    let storage = names.is_some_and(|names| names.enumerator("bpf_func_id", "BPF_FUNC_for_each_map_elem").is_some());
    for mut map in open.maps_mut() {
        let stands_in = map.name().to_string_lossy().ends_with("_by_pid");
        let unused = if storage { stands_in } else { map.map_type() == MapType::TaskStorage };
        if unused {
            map.set_autocreate(false)?;
        }
    }
    Ok(())
}

/// Sets the probe's one configuration structure, declared in C as `const volatile struct x_config config SEC(".rodata.config")`.
pub fn set_config(open: &mut OpenObject, bytes: &[u8]) -> Result<()> {
    let mut map = open
        .maps_mut()
        .find(|map| map.name().to_string_lossy().ends_with(".rodata.config"))
        .context("the object has no .rodata.config section")?;
    map.set_initial_value(bytes).context("setting the configuration of the object failed: its size differs from the C structure")
}

/// Sets the size of a map.
pub fn set_max_entries(open: &mut OpenObject, name: &str, entries: u32) -> Result<()> {
    let mut map = open.maps_mut().find(|map| map.name() == name).with_context(|| format!("map {name} does not exist"))?;
    Ok(map.set_max_entries(entries)?)
}

/// Programs and rungs that cannot be used, with the reason. A program may serve several rungs.
#[derive(Default)]
struct Struck {
    programs: HashMap<String, String>,
    rungs: Vec<(Rung, String)>,
}

impl Struck {
    /// Answers whether that is news.
    fn strike(&mut self, program: &str, reason: &str) -> bool {
        self.programs.insert(program.to_owned(), reason.to_owned()).is_none()
    }

    /// Why a step cannot be used.
    fn obstacle(&self, step: &Step) -> Option<&str> {
        let rung = self.rungs.iter().find(|(rung, _)| *rung == step.rung && !step.programs.is_empty());
        let reason = rung.map(|(_, reason)| reason);
        reason.or_else(|| step.programs.iter().find_map(|program| self.programs.get(*program))).map(String::as_str)
    }

    fn chosen<'spec>(&self, hook: &'spec HookSpec) -> Option<&'spec Step> {
        hook.ladder.iter().find(|step| self.obstacle(step).is_none())
    }
}

fn strike_programs(spec: &ObjectSpec, struck: &mut Struck, reason: &str) {
    for program in spec.hooks.iter().flat_map(|hook| hook.ladder).flat_map(|step| step.programs) {
        struck.programs.entry((*program).to_owned()).or_insert_with(|| reason.to_owned());
    }
}

/// Strikes what this kernel cannot have, so that a load is tried with what may work only.
fn strike_impossible(spec: &ObjectSpec, capabilities: &Capabilities, names: Option<&KernelNames>, struck: &mut Struck) {
    let sections: HashMap<String, String> = match super::log::captured(|| ObjectBuilder::default().open_memory(spec.object)).0 {
        Ok(open) => open
            .progs()
            .map(|program| (program.name().to_string_lossy().into_owned(), program.section().to_string_lossy().into_owned()))
            .collect(),
        Err(_) => return,
    };
    for step in spec.hooks.iter().flat_map(|hook| hook.ladder) {
        if let Some(reason) = capabilities.rung_obstacle(step.rung) {
            struck.rungs.push((step.rung, reason));
        }
        for program in step.programs {
            let obstacle = sections.get(*program).and_then(|section| names?.section_obstacle(section));
            if let Some(reason) = obstacle {
                struck.strike(program, &reason);
            }
        }
    }
}

enum Failure {
    Program { program: String, reason: String },
    Object(String),
}

fn attempt(
    spec: &ObjectSpec,
    struck: &Struck,
    setup: &impl Fn(&mut OpenObject) -> Result<()>,
) -> Result<(Object, HashMap<String, Link>), Failure> {
    let wanted: HashSet<&str> =
        spec.hooks.iter().filter_map(|hook| struck.chosen(hook)).flat_map(|step| step.programs).copied().collect();
    let (object, log) = super::log::captured(|| open_and_load(spec, &wanted, setup));
    let object = object.map_err(|error| load_failure(&log, &error))?;
    let mut links = HashMap::new();
    let is_wanted = |program: &ProgramMut<'_>| program.name().to_str().is_some_and(|name| wanted.contains(name));
    let is_iterator = |program: &ProgramMut<'_>| program.section().to_string_lossy().contains("iter/");
    for program in object.progs_mut().filter(|program| is_wanted(program) && !is_iterator(program)) {
        let name = program.name().to_string_lossy().into_owned();
        let (link, log) = super::log::captured(|| program.attach());
        let link = link.map_err(|error| Failure::Program {
            program: name.clone(),
            reason: format!("attaching failed: {}", log.last().cloned().unwrap_or_else(|| error.to_string())),
        })?;
        links.insert(name, link);
    }
    Ok((object, links))
}

fn open_and_load(spec: &ObjectSpec, wanted: &HashSet<&str>, setup: &impl Fn(&mut OpenObject) -> Result<()>) -> Result<Object> {
    let mut open = ObjectBuilder::default().open_memory(spec.object)?;
    let declared: HashSet<String> = open.progs().map(|program| program.name().to_string_lossy().into_owned()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !declared.contains(**name)) {
        bail!("the object has no program {unknown}");
    }
    for mut program in open.progs_mut() {
        let load = program.name().to_str().is_some_and(|name| wanted.contains(name));
        program.set_autoload(load);
    }
    setup(&mut open)?;
    Ok(open.load()?)
}

/// Finds the refused program in libbpf's log: `prog 'x': failed to load: -1`.
fn load_failure(log: &[String], error: &anyhow::Error) -> Failure {
    let refused = log.iter().rev().find_map(|line| {
        let (name, rest) = line.strip_prefix("prog '")?.split_once("': ")?;
        (rest.starts_with("failed to") || rest.contains("load failed")).then(|| name.to_owned())
    });
    let said = |words: &str| log.iter().rev().find(|line| line.contains(words)).cloned();
    let words = said("load failed").or_else(|| said("failed to"));
    match refused {
        Some(program) => {
            let verifier = log.iter().rev().find(|line| is_verdict(line));
            let what = words.unwrap_or_else(|| error.to_string());
            let reason = verifier.map_or_else(|| what.clone(), |verdict| format!("{what} ({verdict})"));
            Failure::Program { program, reason }
        }
        None => Failure::Object(words.unwrap_or_else(|| format!("{error:#}"))),
    }
}

/// The verifier's last word: the line before its statistics.
fn is_verdict(line: &str) -> bool {
    let noise = ["prog '", "processed ", "-- ", "failed to load object", "map '", "verification time", "stack depth", "insns "];
    let state_or_code = line.starts_with(|c: char| c.is_ascii_digit() || c == ';' || c == ' ') || is_register_state(line);
    let frame = line == "caller:" || line == "callee:" || line.starts_with("frame");
    !state_or_code && !frame && !noise.iter().any(|prefix| line.starts_with(prefix)) && line.contains(' ')
}

/// `R6=buf(off=0)`, `R1_w=1`, but not `R2 type=buf expected=fp`.
fn is_register_state(line: &str) -> bool {
    let register = line.strip_prefix('R').and_then(|rest| rest.split_once('=')).map(|(register, _)| register);
    register.is_some_and(|register| !register.contains(' ') && register.starts_with(|c: char| c.is_ascii_digit()))
}

fn reports(spec: &ObjectSpec, struck: &Struck) -> Vec<HookReport> {
    spec.hooks.iter().map(|hook| report(spec.probe, hook, struck)).collect()
}

fn report(probe: &'static str, hook: &HookSpec, struck: &Struck) -> HookReport {
    let chosen = struck.chosen(hook);
    let first_obstacle = hook.ladder.first().and_then(|step| struck.obstacle(step)).unwrap_or_default();
    let (state, reason) = match chosen {
        None => (HookState::Off, obstacles(hook, struck)),
        Some(step) if step.lacks.is_empty() => (HookState::Full, String::new()),
        Some(step) => (HookState::Degraded, format!("{}: {first_obstacle}", step.lacks)),
    };
    HookReport {
        probe,
        hook: hook.hook.to_owned(),
        state,
        rung: chosen.map(|step| step.rung),
        ladder: hook.ladder.iter().map(|step| step.rung).collect(),
        reason,
    }
}

/// Why no rung of a hook works, each reason once.
fn obstacles(hook: &HookSpec, struck: &Struck) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for reason in hook.ladder.iter().filter_map(|step| struck.obstacle(step)) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: HookSpec = HookSpec {
        hook: "bytes",
        ladder: &[
            Step { rung: Rung::TpBtf, programs: &["on_tracepoint"], lacks: "" },
            Step { rung: Rung::Fexit, programs: &["on_enter", "on_exit"], lacks: "dearer" },
        ],
    };
    const SPEC: ObjectSpec = ObjectSpec { probe: "tcp", object: &[], hooks: &[HOOK] };

    #[test]
    fn first_rung_is_full() {
        let report = &reports(&SPEC, &Struck::default())[0];
        assert_eq!((report.state, report.rung), (HookState::Full, Some(Rung::TpBtf)));
        assert_eq!(report.reason, "");
    }

    #[test]
    fn lower_rung_says_what_it_lacks_and_why() {
        let mut struck = Struck::default();
        struck.strike("on_tracepoint", "this kernel has no tracepoint x");
        let report = &reports(&SPEC, &struck)[0];
        assert_eq!((report.state, report.rung), (HookState::Degraded, Some(Rung::Fexit)));
        assert_eq!(report.reason, "dearer: this kernel has no tracepoint x");
    }

    #[test]
    fn a_rung_that_cannot_be_had_leaves_its_programs_to_others() {
        let shared = HookSpec {
            hook: "reads",
            ladder: &[
                Step { rung: Rung::Fexit, programs: &["on_exit", "arrival"], lacks: "" },
                Step { rung: Rung::Kprobe, programs: &["on_return", "arrival"], lacks: "" },
            ],
        };
        let struck = Struck { rungs: vec![(Rung::Fexit, "refused".to_owned())], ..Struck::default() };
        assert_eq!(report("tcp", &shared, &struck).rung, Some(Rung::Kprobe));
    }

    #[test]
    fn a_rung_needs_all_its_programs() {
        let mut struck = Struck::default();
        struck.strike("on_tracepoint", "no");
        struck.strike("on_exit", "refused");
        let report = &reports(&SPEC, &struck)[0];
        assert_eq!((report.state, report.reason.as_str()), (HookState::Off, "no; refused"));
    }

    #[test]
    fn refused_program_and_verdict_are_found_in_the_log() {
        let log: Vec<String> = [
            "prog 'on_exit': BPF program load failed: -EACCES",
            "prog 'on_exit': -- BEGIN PROG LOAD LOG --",
            "0: R1=ctx() R10=fp0",
            "; return *p; @ x.bpf.c:3",
            "3: (61) r0 = *(u32 *)(r1 +0)",
            "R1 invalid mem access 'scalar'",
            "processed 4 insns (limit 1000000) max_states_per_insn 0",
            "-- END PROG LOAD LOG --",
            "prog 'on_exit': failed to load: -13",
            "failed to load object 'x'",
        ]
        .map(str::to_owned)
        .to_vec();
        let Failure::Program { program, reason } = load_failure(&log, &anyhow!("permission denied")) else {
            panic!("a program was refused");
        };
        assert_eq!(program, "on_exit");
        assert!(reason.contains("R1 invalid mem access 'scalar'"), "{reason}");
    }

    #[test]
    fn a_verdict_is_told_from_states_of_registers() {
        assert!(is_verdict("R2 type=buf expected=fp, pkt, pkt_meta, map_key, map_value"));
        assert!(is_verdict("unknown func bpf_sk_storage_get#107"));
        for noise in [
            "R6=buf(off=0,imm=0) R10=fp0",
            "R1_w=ptr_tcp_sock(off=0,imm=0)",
            " frame1: R1_w=1 R10=fp0",
            "caller:",
            "12: (85) call 1",
        ] {
            assert!(!is_verdict(noise), "{noise}");
        }
    }

    #[test]
    fn a_later_object_says_why_the_first_would_not_do() {
        let mut first = Struck::default();
        first.strike("on_tracepoint", "unknown func");
        first.strike("on_exit", "too");
        let lower = HookSpec {
            hook: "bytes",
            ladder: &[Step { rung: Rung::TpBtf, programs: &["by_address"], lacks: "own namespace only" }],
        };
        let mut hooks = vec![report("tcp", &lower, &Struck::default())];
        explain(&mut hooks, &reports(&SPEC, &first), &SPEC);
        assert_eq!((hooks[0].state, hooks[0].reason.as_str()), (HookState::Degraded, "own namespace only: unknown func; too"));
    }

    #[test]
    fn a_hook_that_is_worse_for_the_sake_of_another_names_that() {
        const OTHER: HookSpec =
            HookSpec { hook: "reads", ladder: &[Step { rung: Rung::Fexit, programs: &["on_read"], lacks: "" }] };
        let first = ObjectSpec { hooks: &[HOOK, OTHER], ..SPEC };
        let mut struck = Struck::default();
        struck.strike("on_read", "refused");
        let lower = HookSpec {
            hook: "bytes",
            ladder: &[Step { rung: Rung::TpBtf, programs: &["by_address"], lacks: "own namespace only" }],
        };
        let mut hooks = vec![report("tcp", &lower, &Struck::default())];
        explain(&mut hooks, &reports(&first, &struck), &first);
        assert_eq!(hooks[0].reason, "own namespace only: reads would be off otherwise (refused)");
    }
}
