//! A backup that is made while fragments arrive, and what comes back from it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment, Retention};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use vault::backup::Backup;

const BEGIN_SECS: i64 = 1_767_225_600;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_everything_that_was_answered_before_it_and_nothing_half() {
    let place = tempfile::tempdir().unwrap();
    let (vault, backup) = (place.path().join("vault"), place.path().join("backup"));
    let archive = open(&vault, &vault);
    for name in ["front", "back"] {
        archive.create_stream(&name.parse().unwrap(), Retention::DEFAULT, at(0)).unwrap();
    }
    let streams = archive.list_streams();
    let writers: Vec<_> = streams.iter().map(|stream| tokio::spawn(store(archive.clone(), stream.id))).collect();
    let mut rounds = 0;
    for round in 0..5 {
        // What is given up below leaves some of each stream.
        while streams.iter().any(|stream| newest(&archive, stream.id) < Some(number_at(given_up(round) + 60))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answered: Vec<_> = streams.iter().map(|stream| newest(&archive, stream.id)).collect();
        std::fs::create_dir(&backup).unwrap();
        // Segments go meanwhile, of those that were given up, and the keys of a stream that is deleted.
        let gone = archive.create_stream(&"gone".parse().unwrap(), Retention::DEFAULT, at(0)).unwrap();
        archive.store(gone.id, fragment(0)).await.unwrap();
        let (made, second, room, deleted) = tokio::join!(
            archive.vault().back_up(&vault, &backup),
            archive.vault().back_up(&vault, &backup),
            archive.make_room(1, at(3600 + given_up(round))),
            archive.delete_stream(gone.id),
        );
        // Whichever came first.
        let made = match (made, second) {
            (Ok(made), Err(_)) | (Err(_), Ok(made)) => made,
            both => panic!("one at a time: {both:?}"),
        };
        room.unwrap();
        deleted.unwrap();

        let restored = place.path().join("restored");
        assert_eq!(vault::backup::restore(&backup, &restored).unwrap(), Backup { masters: BTreeSet::new(), ..made });
        let again = open(&restored, &vault);
        let mut findings = Vec::new();
        again.check(at(0), &mut |finding| findings.push(finding)).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        for (stream, answered) in streams.iter().zip(answered) {
            let newest = newest(&again, stream.id);
            assert!(newest >= answered, "{newest:?} and not {answered:?}");
            let number = newest.unwrap();
            assert_eq!(again.read(stream.id, number).unwrap().unwrap().len(), 50_000);
            rounds += 1;
        }
        drop(again);
        for folder in [&backup, &restored] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    writers.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(rounds, 10);
    assert!(!vault.join("segments/backup.staging").exists());
}

#[tokio::test]
async fn a_backup_to_another_file_system_is_the_same() {
    // Where shared memory is a file system of its own, as on every Linux; elsewhere this is the test above once more.
    let shared = Path::new("/dev/shm");
    let place = tempfile::tempdir().unwrap();
    let other = if shared.is_dir() { tempfile::tempdir_in(shared).unwrap() } else { tempfile::tempdir().unwrap() };
    let vault = place.path().join("vault");
    let archive = open(&vault, &vault);
    let stream = archive.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap();
    for sequence in 0..10 {
        archive.store(stream.id, fragment(sequence)).await.unwrap();
    }
    let made = archive.vault().back_up(&vault, other.path()).await.unwrap();
    assert_eq!((made.segments, made.keys), (1, 2));
    assert!(!vault.join("segments/backup.staging").exists());
    // What follows is in neither, and the copy stays as it was.
    archive.store(stream.id, fragment(10)).await.unwrap();
    let restored = place.path().join("restored");
    assert_eq!(vault::backup::restore(other.path(), &restored).unwrap(), Backup { masters: BTreeSet::new(), ..made });
    let again = open(&restored, &vault);
    assert_eq!(again.extent(stream.id, at(0)).unwrap().unwrap().fragments, 10);
    assert_eq!(again.check(at(0), &mut |_| {}).unwrap().findings, 0);
}

#[tokio::test]
async fn a_backup_without_its_master_key_opens_to_nobody() {
    let place = tempfile::tempdir().unwrap();
    let (vault, backup) = (place.path().join("vault"), place.path().join("backup"));
    let archive = open(&vault, &vault);
    let stream = archive.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap();
    archive.store(stream.id, fragment(0)).await.unwrap();
    std::fs::create_dir(&backup).unwrap();
    archive.vault().back_up(&vault, &backup).await.unwrap();
    let (restored, stranger) = (place.path().join("restored"), place.path().join("stranger"));
    vault::backup::restore(&backup, &restored).unwrap();
    std::fs::create_dir(&stranger).unwrap();
    let other = Arc::new(vault::Keyring::of_vault(&stranger).unwrap());
    assert!(Archive::open(&restored, other).is_err());
    assert!(!restored.join("master.keyring").exists() && !backup.join("master.keyring").exists());
}

async fn store(archive: Archive, stream: u64) {
    for sequence in 0.. {
        archive.store(stream, fragment(sequence)).await.unwrap();
    }
}

fn newest(archive: &Archive, stream: u64) -> Option<FragmentNumber> {
    archive.latest_live(stream, 1, at(0)).unwrap().first().map(|stored| stored.number)
}

fn open(folder: &Path, keyring: &Path) -> Archive {
    std::fs::create_dir_all(folder).unwrap();
    let ring = Arc::new(vault::Keyring::of_vault(keyring).unwrap());
    Archive::open(folder, ring).unwrap()
}

/// In each round some fragments are old enough to be given up: those that began before this second.
fn given_up(round: i64) -> i64 {
    100 + 300 * round
}

fn number_at(secs: i64) -> FragmentNumber {
    FragmentNumber(u64::try_from(at(secs).as_nanos() / 1000).unwrap())
}

fn fragment(sequence: u32) -> Fragment {
    let start = at(i64::from(sequence) * 10);
    Fragment {
        id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
        start,
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(1),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.42C00D".to_owned()],
        arrived: start,
        payload: Bytes::from(vec![u8::try_from(sequence % 251).unwrap(); 50_000]),
    }
}

fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}
