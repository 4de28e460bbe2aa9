//! Writes a small vault, as a backup and with its keyring, into a folder: what `tests/formats.rs` reads for ever.
//!
//! `cargo run -p archive --example fixture -- server/archive/tests/formats/N`, once for each version N of the formats.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use archive::{Archive, Fragment, Retention};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let to = PathBuf::from(std::env::args().nth(1).context("name the folder")?);
    std::fs::create_dir(&to).with_context(|| format!("{} must be new", to.display()))?;
    let place = tempfile::tempdir()?;
    write(place.path(), &to).await
}

async fn write(vault: &Path, to: &Path) -> anyhow::Result<()> {
    let keyring = Arc::new(vault::Keyring::of_vault(vault)?);
    let archive = Archive::open(vault, keyring)?;
    for (name, hours) in [("front", 24), ("back.yard", 168)] {
        let retention = Retention::new(Duration::from_secs(hours * 3600))?;
        let stream = archive.create_stream(&name.parse()?, retention, at(0))?;
        for sequence in 0..5 {
            archive.store(stream.id, fragment(stream.id, sequence)).await?;
        }
    }
    // A fragment that came late has no place in live.
    let late = Fragment { start: at(3), ..fragment(9, 0) };
    archive.store(1, late).await?;
    archive.vault().back_up(vault, to).await?;
    std::fs::copy(vault.join("master.keyring"), to.join("master.keyring"))?;
    Ok(())
}

/// 2026-01-01T00:00:00Z, and so many seconds.
fn at(secs: i64) -> WallTime {
    WallTime::from_millis((1_767_225_600 + secs) * 1000)
}

fn fragment(session: u64, sequence: u32) -> Fragment {
    let start = at(i64::from(sequence) * 2);
    Fragment {
        id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
        start,
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(2),
        tracks_fingerprint: 7,
        independent: sequence != 3,
        codecs: vec!["avc1.42C00D".to_owned(), "mp4a.40.2".to_owned()],
        arrived: start + Duration::from_secs(2),
        payload: Bytes::from(format!("payload of {session}-{sequence} ").repeat(20)),
    }
}
