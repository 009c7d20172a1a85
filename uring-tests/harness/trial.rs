//! How a trial is declared: a function, the kinds of ring it runs on, what it needs, how long it may take.
//!
//! A theme file ends in a `TRIALS` table made with [`io!`](crate::io) (one case per kind of ring) and
//! [`once!`](crate::once) (one case, for what does not depend on the ring). A function that is missing in its table is
//! dead code, which the lints deny: no trial can be forgotten.

use super::{Ctx, Need};

/// The kind of ring a case runs on; it is the last part of the case's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a user gets who asks for nothing.
    Default,
    /// A handful of entries and buffers: the queues are full and the completions overflow all the time.
    Tiny,
    /// Every feature that Linux 6.1 lacks is masked.
    Floor,
    /// The fault filter shortens, delays and refuses, by seed.
    Faulty,
}

impl Kind {
    /// Every kind, in the order of the listing.
    pub const ALL: &[Kind] = &[Kind::Default, Kind::Tiny, Kind::Floor, Kind::Faulty];

    /// The last part of a case's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Default => "default",
            Kind::Tiny => "tiny",
            Kind::Floor => "floor",
            Kind::Faulty => "faulty",
        }
    }
}

/// One trial as its theme's table declares it.
pub struct Trial {
    /// The function's name: a sentence in the present.
    pub name: &'static str,
    /// What is tried; it fails by panicking.
    pub body: fn(&Ctx),
    /// The kinds of ring it runs on; empty where the ring plays no part, then it runs once.
    pub kinds: &'static [Kind],
    /// What the machine must offer; otherwise the case is reported as ignored.
    pub needs: &'static [Need],
    /// After so many seconds the watchdog ends the case.
    pub seconds: u64,
    /// Whether the child gives up root before it runs, where the harness has it.
    pub ordinary_user: bool,
}

impl Trial {
    /// A trial of the loop: one case per kind of ring.
    pub const fn io(name: &'static str, body: fn(&Ctx)) -> Self {
        Trial { name, body, kinds: Kind::ALL, needs: &[], seconds: 20, ordinary_user: false }
    }

    /// A trial that does not depend on the kind of ring: one case, on the default one if it uses a ring at all.
    pub const fn once(name: &'static str, body: fn(&Ctx)) -> Self {
        Trial { name, body, kinds: &[], needs: &[], seconds: 20, ordinary_user: false }
    }

    /// What the machine must offer.
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Trial { needs, ..self }
    }

    /// Another limit for the watchdog, in seconds.
    pub const fn seconds(self, seconds: u64) -> Self {
        Trial { seconds, ..self }
    }

    /// Runs without root's privileges, whoever starts the suite.
    pub const fn by_an_ordinary_user(self) -> Self {
        Trial { ordinary_user: true, ..self }
    }
}

/// A trial on one kind of ring: what the harness lists and runs.
#[derive(Clone, Copy)]
pub struct Case {
    /// The theme: the file the trial stands in.
    pub theme: &'static str,
    /// The trial.
    pub trial: &'static Trial,
    /// The kind; None where the trial runs once.
    pub kind: Option<Kind>,
}

impl Case {
    /// Every case of a theme.
    pub fn of_theme(theme: &'static str, trials: &'static [Trial]) -> Vec<Case> {
        let case = |trial, kind| Case { theme, trial, kind };
        let of_trial = |trial: &'static Trial| -> Vec<Case> {
            match trial.kinds {
                [] => vec![case(trial, None)],
                kinds => kinds.iter().map(|&kind| case(trial, Some(kind))).collect(),
            }
        };
        trials.iter().flat_map(of_trial).collect()
    }

    /// `theme::sentence::kind`.
    pub fn name(&self) -> String {
        match self.kind {
            Some(kind) => format!("{}::{}::{}", self.theme, self.trial.name, kind.name()),
            None => format!("{}::{}", self.theme, self.trial.name),
        }
    }
}

/// A trial of the loop, named after its function: one case per kind of ring.
#[macro_export]
macro_rules! io {
    ($body:ident) => {
        $crate::harness::Trial::io(stringify!($body), $body)
    };
}

/// A trial that does not depend on the kind of ring, named after its function.
#[macro_export]
macro_rules! once {
    ($body:ident) => {
        $crate::harness::Trial::once(stringify!($body), $body)
    };
}
