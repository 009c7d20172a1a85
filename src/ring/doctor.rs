//! What this kernel and container offer, for a reader: each thing with its state, and what to do about it.

use std::fmt;

use super::diagnosis::Bytes;
use super::setup::locked_memory;
use super::surroundings::Surroundings;
use super::{Config, Features, Ring, SetupError};

/// How well one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Good,
    /// It works, with something missing.
    Less,
    /// It keeps loops from running.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Finding {
    /// How well it is.
    state: State,
    /// What was looked at.
    name: &'static str,
    /// What was found.
    found: String,
    /// What to do about it; empty if nothing.
    advice: String,
}

/// What the kernel and the container offer to an event loop. Its text is a table for a terminal.
///
/// ```no_run
/// let diagnosis = ringloop::diagnose();
/// println!("{diagnosis}");
/// if !diagnosis.is_usable() {
///     std::process::exit(1);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// Whether a ring could be made.
    ring: Result<Features, SetupError>,
    /// What was looked at, in order.
    findings: Vec<Finding>,
}

/// Makes a ring as an event loop does, and looks around.
pub fn diagnose() -> Diagnosis {
    let config = Config::default();
    let ring = Ring::new(&config).map(|ring| {
        let features = ring.features().clone();
        ring.park();
        features
    });
    Diagnosis { findings: findings(&ring, &Surroundings::gather(), &config), ring }
}

impl Diagnosis {
    /// Whether an event loop can run here.
    pub fn is_usable(&self) -> bool {
        self.ring.is_ok()
    }

    /// What the ring got, or why there is none.
    pub fn ring(&self) -> Result<&Features, &SetupError> {
        self.ring.as_ref()
    }
}

/// Judges what was found. A pure function, for the tests.
fn findings(ring: &Result<Features, SetupError>, around: &Surroundings, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |state, name, found: String, advice: &str| {
        findings.push(Finding { state, name, found, advice: advice.into() })
    };
    let profile = "docker run --security-opt seccomp=scripts/seccomp.json";

    let new_enough = around.is_at_least(6, 1);
    add(
        if new_enough { State::Good } else { State::Bad },
        "kernel",
        around.release.clone(),
        if new_enough { "" } else { "Linux 6.1 is the oldest supported; a container uses its host's kernel" },
    );
    match around.disabled {
        None => add(
            State::Good,
            "sysctl",
            "kernel.io_uring_disabled is not there: nothing is disabled (before 6.6)".into(),
            "",
        ),
        Some(0) => add(State::Good, "sysctl", "kernel.io_uring_disabled = 0".into(), ""),
        Some(value) => add(
            if ring.is_ok() { State::Less } else { State::Bad },
            "sysctl",
            format!("kernel.io_uring_disabled = {value}"),
            "on the host: sysctl -w kernel.io_uring_disabled=0",
        ),
    }
    match (around.is_filtered(), ring) {
        (false, _) => add(State::Good, "seccomp", "no filter".into(), ""),
        (true, Ok(_)) => add(State::Good, "seccomp", "a filter that allows io_uring".into(), ""),
        (true, Err(_)) => {
            add(State::Bad, "seccomp", "a filter, which may be what blocks io_uring".into(), profile)
        }
    }
    match ring {
        Ok(features) => add(State::Good, "ring", features.to_string(), ""),
        Err(error) => add(State::Bad, "ring", error.to_string(), ""),
    }
    let each = locked_memory((config.entries, config.completions), true);
    // Before 6.14 only the buffer rings are charged, a page each.
    if around.may_lock || around.memlock == u64::MAX || !around.is_at_least(6, 14) {
        add(State::Good, "memlock", "not limited".into(), "");
    } else {
        let rings = around.memlock / each;
        let state = match ring {
            _ if rings >= 8 => State::Good,
            Ok(_) => State::Less,
            Err(_) => State::Bad,
        };
        let found = format!(
            "{}: {rings} full rings of {} for all processes of this user",
            Bytes(around.memlock),
            Bytes(each)
        );
        let advice = "ulimit -l, LimitMEMLOCK=, docker run --ulimit memlock=-1:-1; rings shrink until then";
        add(state, "memlock", found, if rings < 8 { advice } else { "" });
    }
    let few = around.descriptors < 4096;
    add(
        if few { State::Less } else { State::Good },
        "descriptors",
        if around.descriptors == u64::MAX { "not limited".into() } else { around.descriptors.to_string() },
        if few {
            "a server wants more: ulimit -n, LimitNOFILE=, docker run --ulimit nofile=65536"
        } else {
            ""
        },
    );
    if let Some((bounded, unbounded)) = config.workers {
        let room = around.processes >= u64::from(bounded + unbounded);
        add(
            if room { State::Good } else { State::Less },
            "workers",
            format!("up to {bounded} kernel workers for files and {unbounded} for what waits, per loop"),
            if room {
                ""
            } else {
                "the limit of processes is lower: ulimit -u, LimitNPROC=, docker run --pids-limit"
            },
        );
    }
    if let Ok(features) = ring {
        if !features.has_no_sqarray() {
            add(State::Less, "set-up", "no NO_SQARRAY (since 6.6): a little slower".into(), "");
        }
        if !features.is_registered() {
            add(
                State::Less,
                "set-up",
                "the ring could not be registered: enters are a little slower".into(),
                "",
            );
        }
        if !features.has_no_iowait() {
            add(
                State::Less,
                "waiting",
                "an idle loop is shown as waiting for I/O (until 6.15)".into(),
                "it costs nothing: overlook it",
            );
        }
        let missing: Vec<_> = features.missing_operations().collect();
        if missing.is_empty() {
            add(State::Good, "operations", "all that are known".into(), "");
        } else {
            add(
                State::Less,
                "operations",
                format!("missing: {}", missing.join(", ")),
                "done by plain calls or by threads",
            );
        }
    }
    findings
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { state, name, found, advice } in &self.findings {
            let mark = match state {
                State::Good => "ok  ",
                State::Less => "less",
                State::Bad => "BAD ",
            };
            writeln!(f, "{mark}  {name:<12} {found}")?;
            if !advice.is_empty() {
                writeln!(f, "      {:<12} -> {advice}", "")?;
            }
        }
        f.write_str(if self.is_usable() {
            "An event loop can run here."
        } else {
            "No event loop can run here."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::FeatureMask;
    use crate::ring::diagnosis::Stage;
    use nix::errno::Errno;

    /// The diagnosis of a machine with this ring and these surroundings, as text.
    fn text(ring: Result<Features, SetupError>, around: Surroundings) -> String {
        let findings = findings(&ring, &around, &Config::default());
        Diagnosis { ring, findings }.to_string()
    }

    fn around() -> Surroundings {
        Surroundings {
            release: "6.18.0".into(),
            disabled: Some(0),
            seccomp: Some(0),
            memlock: 8 << 20,
            descriptors: 65536,
            processes: 10_000,
            ..Surroundings::default()
        }
    }

    #[test]
    fn this_machine_is_fit() {
        let diagnosis = diagnose();
        assert!(diagnosis.is_usable() && diagnosis.ring().is_ok());
        let text = diagnosis.to_string();
        assert!(text.contains("DEFER_TASKRUN") && text.ends_with("An event loop can run here."), "{text}");
    }

    #[test]
    fn an_older_kernel_is_told_what_it_lacks() {
        let config = Config { mask: FeatureMask::kernel_6_1(), ..Config::default() };
        let ring = Ring::new(&config).map(|ring| ring.features().clone());
        let text = text(ring, around());
        for name in ["NO_SQARRAY (since 6.6)", "waiting for I/O", "missing: read_multishot, waitid"] {
            assert!(text.contains(name), "{name:?} is not in: {text}");
        }
    }

    #[test]
    fn a_blocked_container_is_told_why_and_what_to_do() {
        let refused = SetupError::new(Stage::Setup, Errno::EPERM, 0);
        let limits = Surroundings {
            seccomp: Some(2),
            memlock: 32 << 10,
            descriptors: 1024,
            processes: 32,
            ..around()
        };
        let text = text(Err(refused), limits);
        let advice = [
            "seccomp=scripts/seccomp.json",
            "0 full rings of 36 KiB",
            "ulimit -l",
            "ulimit -n",
            "--pids-limit",
        ];
        for name in advice {
            assert!(text.contains(name), "{name:?} is not in: {text}");
        }
        assert!(text.ends_with("No event loop can run here."), "{text}");
    }
}
