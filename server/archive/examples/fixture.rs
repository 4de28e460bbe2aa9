//! Writes a small vault into a folder, as a backup and with what a backup leaves out: its keyring, with a passphrase and
//! without, its marker, the number of its commits, a secret. It is what `tests/formats.rs` reads for ever. A key of a KMS
//! (`kms.key`) is not made here: that of version 1 has the bytes of the test in `vault/src/kms.rs`.
//!
//! `cargo run -p archive --example fixture -- server/archive/tests/formats/N`, once for each version N of the formats.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use archive::{Archive, Fragment, Retention};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use vault::catalog::FjallCatalog;
use vault::{Batch, Catalog as _, Home, Key, KeyService as _, Keyring, Passphrase, Space};

const CA: &[u8] = b"the CA of version 1";
const PASSPHRASE: &[u8] = b"a passphrase of version 1";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let to = PathBuf::from(std::env::args().nth(1).context("name the folder")?);
    std::fs::create_dir(&to).with_context(|| format!("{} must be new", to.display()))?;
    let place = tempfile::tempdir()?;
    write(place.path(), &to).await
}

async fn write(vault: &Path, to: &Path) -> anyhow::Result<()> {
    let keyring = Arc::new(Keyring::of_vault(vault)?);
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
    for file in ["master.keyring", "format"] {
        std::fs::copy(vault.join(file), to.join(file))?;
    }
    std::fs::write(to.join("ca.sealed"), archive.vault().seal_secret("backup of the CA", CA)?)?;
    drop(archive);
    write_answered(to)?;
    protect(vault)?;
    std::fs::copy(vault.join("master.keyring"), to.join("passphrase.keyring"))?;
    Ok(())
}

/// That three commits were answered.
fn write_answered(to: &Path) -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let catalog = FjallCatalog::of_vault(place.path())?;
    for nth in 0..3 {
        let mut batch = Batch::new();
        batch.insert(Key::new(Space::Server, &[nth]), vec![nth]);
        catalog.commit(batch)?;
    }
    drop(catalog);
    std::fs::copy(place.path().join("answered"), to.join("answered"))?;
    Ok(())
}

/// Has the same master key lie under a passphrase.
fn protect(vault: &Path) -> anyhow::Result<()> {
    let passphrase = Passphrase::new(PASSPHRASE.to_vec().into()).context("a passphrase")?;
    let ring = Keyring::open(Home::in_vault(vault), Some(&passphrase))?;
    let master = ring.masters(&BTreeSet::new())?.remove(0);
    // Any change writes the file anew.
    ring.set_state(&master.id, master.state)?;
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
