//! What a run of the spool does.

/// What a run does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything that is left open.
    pub seed: u64,
    /// Cuts in the run.
    pub cuts: u32,
    /// Rounds of work between two cuts, which happen within them.
    pub rounds: u32,
    /// Half of the cuts end the process only, and the power stays.
    pub restarts: bool,
    /// Some syncs fail.
    pub failing_syncs: bool,
    /// The disk is full at times: it has no room for more bytes, or for more files.
    pub full_disk: bool,
    /// One sync of the spool's is skipped: a run that finds nothing wrong then proves nothing.
    pub without: Option<Sync>,
}

/// A sync that the spool makes.
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    /// How the path ends of what it syncs.
    pub of: &'static str,
    /// What makes it.
    pub during: Operation,
}

/// What the spool does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is opened, and recovers what it finds.
    Open,
    /// A fragment is begun.
    Create,
    /// A fragment is finished.
    Finish,
    /// A fragment is ended early, or because it is damaged.
    Repair,
    /// Time passes: what is too old goes, what is due is synced.
    Tend,
}
