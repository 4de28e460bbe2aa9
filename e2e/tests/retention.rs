//! What is over goes: out of every answer to the second, from the disk soon after, and the oldest earlier where space is to
//! be kept free. The server's calendar is set ahead; its tasks run as they always do.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use e2e::{Agent, Calendar, Server, SmallDisk, noise, stored, until};
use jiff::{SignedDuration, Timestamp};

/// For what the server does every minute.
const A_MINUTE: Duration = Duration::from_secs(100);

const RETENTION: SignedDuration = SignedDuration::from_hours(1);

/// How late a fragment may be gone.
const LATE: SignedDuration = SignedDuration::from_secs(1);

#[test]
fn what_has_expired_is_in_no_answer_a_second_later_and_its_files_go_without_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let calendar = Calendar::new(folder.path(), "+0");
    let server = Server::start_with(folder.path(), &[], &calendar.environment());
    server.admin(&["stream", "create", "yard", "--retention", "1h"]);
    upload(&server, &folder.path().join("agent"), &e2e::clip("h264-aac.mp4"), "yard");
    let segments = server.everything("yard").segments;
    let expiries: Vec<Timestamp> = segments.iter().map(|segment| expiry(segment.number())).collect();
    let (first, last) = (expiries[0], expiries[expiries.len() - 1]);
    let played = stored::bytes(&server, "yard");
    // What plays from here on comes out of the cache of finished segments.
    let files = segment_files(&server);
    for file in &files {
        let bytes = fs::metadata(file).expect("it is there").len();
        fs::write(file, vec![0; usize::try_from(bytes).expect("it is small")]).expect("it can be written");
    }

    let ahead = first.duration_since(Timestamp::now()).as_secs() - 4;
    calendar.set(&format!("+{ahead}"));
    let now = || Timestamp::now() + SignedDuration::from_secs(ahead);
    let url = server.whole("yard");
    let mut seen = vec![(false, false); segments.len()];
    while now() < last + LATE + LATE {
        let asked = now();
        let listed: Vec<u64> =
            server.try_playlist(&url).map(|it| it.segments).unwrap_or_default().iter().map(|it| it.number()).collect();
        let answered = now();
        for (i, segment) in segments.iter().enumerate() {
            let is_listed = listed.contains(&segment.number());
            assert!(
                is_listed || answered >= expiries[i],
                "fragment {i} is missing at {answered}, before {}",
                expiries[i]
            );
            assert!(
                !is_listed || asked < expiries[i] + LATE,
                "fragment {i} is listed at {asked}, after {}",
                expiries[i]
            );
        }
        for (i, segment) in segments.iter().enumerate() {
            let asked = now();
            let answer = server.get_as_stranger(&segment.uri);
            let answered = now();
            if answer.status == 200 {
                assert!(asked < expiries[i] + LATE, "fragment {i} plays at {asked}, after {}", expiries[i]);
                assert!(played[i].ends_with(&answer.body), "fragment {i} is another one");
                seen[i].0 = true;
            } else {
                assert!(answered >= expiries[i], "fragment {i} is gone at {answered}, before {}", expiries[i]);
                assert_eq!(answer.status, 404, "{}", answer.text());
                assert!(answer.text().contains("segment_gone"), "{}", answer.text());
                seen[i].1 = true;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(seen.iter().all(|seen| *seen == (true, true)), "each played and then did not: {seen:?}");
    assert!(server.get_as_stranger(&url).text().contains("nothing_to_play"));

    // Some minutes later, with the next round of the task that runs each minute.
    let deleted = |name| server.try_metric(name).unwrap_or_default();
    calendar.set(&format!("+{}", ahead + 5 * 60));
    until("the files are gone", A_MINUTE, || files.iter().all(|file| !file.exists()).then_some(()));
    until("and it is counted", Duration::from_secs(5), || {
        let fragments = deleted("millrace_fragments_expired_total");
        (fragments == segments.len() as f64 && deleted("millrace_bytes_deleted_total") > 100_000.0).then_some(())
    });
    assert!(server.admin(&["check"]).contains("agree"));
}

#[test]
fn the_oldest_goes_where_space_is_to_be_kept_free_and_what_is_younger_than_an_hour_stays() {
    const KEPT_FREE: u64 = 300 << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = SmallDisk::try_new(&folder.path().join("data"), 512 << 20) else { return };
    let calendar = Calendar::new(folder.path(), "+0");
    let server = Server::start_serving(folder.path(), &["--keep-free", "300MiB"], &calendar.environment());
    let clip = noise(folder.path());
    for (stream, ahead) in [("oldest", "+0"), ("middle", "+30m"), ("newest", "+3h")] {
        calendar.set(ahead);
        upload(&server, &folder.path().join(stream), &clip, stream);
    }
    let [oldest, middle, newest] =
        ["oldest", "middle", "newest"].map(|stream| server.everything(stream).segments.len());
    assert!(disk.free() > KEPT_FREE, "there is space for all of it");
    let log = || fs::read_to_string(folder.path().join("server.log")).expect("the server has a log");

    disk.fill(KEPT_FREE - (10 << 20));
    until("there is space again", Duration::from_secs(30), || (disk.free() >= KEPT_FREE).then_some(()));
    let left = ["oldest", "middle", "newest"].map(|stream| server.try_everything(stream).map(|it| it.segments.len()));
    assert_eq!(left, [None, Some(middle), Some(newest)], "the oldest goes, and no more than that");
    assert_eq!(server.try_metric("millrace_fragments_given_up_total"), Some(oldest as f64));
    assert!(log().contains("deleted the oldest before its time"), "{}", log());

    // Somebody takes nearly all of it: too little for new video, and enough to delete.
    disk.fill(32 << 20);
    until("the server says that there is nothing to delete", Duration::from_secs(30), || {
        log().contains("there is nothing to delete over an hour old").then_some(())
    });
    assert!(server.try_everything("middle").is_none());
    assert_eq!(stored::bytes(&server, "newest").len(), newest);
    assert!(server.admin(&["check"]).contains("agree"));
}

fn upload(server: &Server, folder: &Path, clip: &Path, stream: &str) {
    let uploaded = Agent::enrolled(folder, server).once(clip, stream);
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
}

/// Numbers are microseconds of arrival.
fn expiry(number: u64) -> Timestamp {
    let arrived = Timestamp::from_microsecond(i64::try_from(number).expect("a time")).expect("a time of this century");
    arrived + RETENTION
}

fn segment_files(server: &Server) -> Vec<PathBuf> {
    let files = fs::read_dir(server.data().join("vault/segments")).expect("the vault has segments");
    files.map(|file| file.expect("it can be listed").path()).collect()
}
