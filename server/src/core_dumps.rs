//! No core dumps: they would hold unwrapped keys, and be written to disk by others than us.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps this process, and what it starts, from leaving a core dump when it crashes. Nor can other processes of the
/// same user read its memory from now on.
pub(crate) fn forbid() {
    // A limit holds for files; a program that the kernel hands dumps to (core(5)) is not bound by it.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    for (what, done) in [
        ("RLIMIT_CORE", setrlimit(Resource::Core, none)),
        ("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
    ] {
        if let Err(error) = done {
            eprintln!("millrace: {what} can't be set: {error}; a crash may write keys to disk");
        }
    }
}
