//! What the spool promises, over real files.

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use disk::OsDisk;
use disk::testing::Nothing;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, WallTime};
use upload::{FragmentKey, Trailer};

use super::drops::{self, Drops, Reason};
use super::limits::{
    DROPS_PER_BEGINNING_MAX, DROPS_PER_STEP_MAX, FILES_LOOKED_AT_TOGETHER, REJECTED_FRAGMENTS_MAX, TAIL_BYTES_MAX,
};
use super::{Header, Now, ReadError, Settings, Spared, Spool, Start, SyncTime, Tended, WhenFull, Writer, recordings};

const CLOSING: Bytes = Bytes::from_static(b"</fragment>");
const PIECES: [&[u8]; 3] = [b"first unit", b"a second one", b"3"];
const ROOM: u64 = 1 << 30;

#[test]
fn a_fragment_reads_back_as_it_was_written_in_any_steps() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    write_whole(&spool, 0);
    for step in 1..40 {
        assert_eq!(read_all(&spool, &key(0), step), whole());
    }
}

#[test]
fn each_stream_has_its_amount_and_its_oldest_also_behind_much_of_others() {
    let state = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(state.path(), ROOM).unwrap();
    let of = |stream: &str, sequence| FragmentKey { stream: stream.parse().unwrap(), ..key(sequence) };
    let write = |spool: &Spool, key: FragmentKey| {
        let mut writer = spool.create(key, start(), CLOSING).unwrap();
        PIECES.iter().for_each(|piece| writer.append(Duration::ZERO, &[Bytes::from_static(piece)]).unwrap());
        writer.finish(Duration::from_secs(1)).unwrap();
    };
    (0..3).for_each(|sequence| write(&spool, of("held", sequence)));
    (0..3).for_each(|sequence| write(&spool, of("sent", sequence)));
    (3..6).for_each(|sequence| write(&spool, of("held", sequence)));
    // The same is known after a start.
    for round in 0..2 {
        let sent = |stream: &fragment::StreamName| stream.as_str() == "sent";
        let (held, all) = (spool.amount_of(|stream| !sent(stream)), spool.amount_of(|_| true));
        let counters = spool.counters();
        assert_eq!((all.fragments, all.bytes), (counters.fragments, counters.bytes));
        assert_eq!((held.fragments, spool.amount_of(sent).fragments), (6, 3 - round));
        let first = u32::try_from(round).unwrap();
        assert_eq!(spool.oldest_of(sent).unwrap().key, of("sent", first));
        assert_eq!(
            spool.oldest_of(|_| true).unwrap().key,
            of("held", 0),
            "whoever asks for all is told the oldest of all"
        );
        spool.remove(&spool.release(&of("sent", first)).unwrap());
        assert_eq!(spool.oldest_of(sent).unwrap().key, of("sent", first + 1));
        drop(spool);
        spool = Spool::open(state.path(), ROOM).unwrap();
    }
    spool.remove(&spool.release(&of("sent", 2)).unwrap());
    assert_eq!(spool.oldest_of(|stream| stream.as_str() == "sent"), None);
    assert_eq!(spool.amount_of(|stream| stream.as_str() == "sent").bytes, 0);
}

#[test]
fn a_growing_fragment_can_be_read_as_far_as_it_has_grown() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut writer = spool.create(key(0), start(), CLOSING).unwrap();
    let mut reader = spool.read(&key(0)).unwrap();
    for piece in PIECES {
        writer.append(Duration::from_millis(40), &[Bytes::from_static(piece)]).unwrap();
        let got: BytesMut = reader.read(piece.len()).unwrap().into_iter().flatten().collect();
        assert_eq!(&got[..], piece);
    }
}

#[test]
fn who_reads_along_has_the_next_chunk_from_memory() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut writer = spool.create(key(0), start(), CLOSING).unwrap();
    let mut reader = spool.read(&key(0)).unwrap();
    writer.append(Duration::from_millis(40), &[Bytes::from_static(PIECES[0])]).unwrap();
    reader.read(PIECES[0].len()).unwrap();
    writer.append(Duration::from_millis(80), &[Bytes::new(), Bytes::from_static(PIECES[1])]).unwrap();
    let mut bytes = fs::read(path_in(state.path(), 0)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path_in(state.path(), 0), bytes).unwrap();
    let got: BytesMut = reader.read(PIECES[1].len()).unwrap().into_iter().flatten().collect();
    assert_eq!(&got[..], PIECES[1]);
    let from_the_file = spool.read(&key(0)).unwrap().read(PIECES[0].len() + PIECES[1].len());
    assert!(matches!(from_the_file, Err(ReadError::Damaged(_))), "its bytes were changed");
}

#[test]
fn who_falls_behind_or_is_not_alone_reads_the_file_and_then_along_again() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut writer = spool.create(key(0), start(), CLOSING).unwrap();
    let mut readers = [spool.read(&key(0)).unwrap(), spool.read(&key(0)).unwrap()];
    let mut written = BytesMut::new();
    let mut read = [BytesMut::new(), BytesMut::new()];
    // Once in a while one of them takes what there is, or a part; meanwhile more comes than is kept in memory.
    for turn in 0..40_u8 {
        let chunk = Bytes::from(vec![turn; TAIL_BYTES_MAX / 3 + usize::from(turn)]);
        written.extend_from_slice(&chunk);
        writer.append(Duration::from_millis(40), &[chunk.slice(..7), chunk.slice(7..)]).unwrap();
        let which = usize::from(turn % 2);
        let missing = written.len() - read[which].len();
        let bytes = [0, missing, missing / 2, missing][usize::from(turn / 3 % 4)];
        read[which].extend(readers[which].read(bytes).unwrap().into_iter().flatten());
    }
    let trailer = writer.finish(Duration::from_secs(2)).unwrap();
    written.extend_from_slice(&CLOSING);
    for (reader, read) in readers.iter_mut().zip(&mut read) {
        read.extend(reader.read(written.len() - read.len()).unwrap().into_iter().flatten());
        assert!(*read == written, "what was read is not what was written");
    }
    assert_eq!((trailer.bytes, trailer.crc32c), (written.len() as u64, crc32c::crc32c(&written)));
}

#[test]
fn a_file_torn_at_any_byte_comes_back_as_its_whole_chunks_and_a_proper_end() {
    let origin = tempfile::tempdir().unwrap();
    write_whole(&Spool::open(origin.path(), ROOM).unwrap(), 0);
    let file = origin.path().join("spool/front").join(format!("{}.frag", key(0).id));
    let bytes = fs::read(&file).unwrap();
    for torn_at in 0..=bytes.len() {
        let state = torn_state(&bytes[..torn_at]);
        let spool = Spool::open(state.path(), ROOM).unwrap();
        let Some((_, entry)) = spool.next(None) else {
            assert!(torn_at < bytes.len() / 2, "nothing was left of {torn_at} of {} bytes", bytes.len());
            continue;
        };
        let trailer = entry.trailer.expect("what was recovered is whole");
        let got = read_all(&spool, &entry.key, 7);
        assert!(ends_properly(&got), "torn at {torn_at}: {got:?}");
        assert_eq!((trailer.bytes, trailer.crc32c), (got.len() as u64, crc32c::crc32c(&got)));
        drop(spool);
        let again = Spool::open(state.path(), ROOM).unwrap();
        assert_eq!(again.next(None).unwrap().1.trailer, Some(trailer), "a second recovery changes nothing");
    }
}

#[test]
fn a_torn_file_is_not_read_on_behind_its_end() {
    let origin = tempfile::tempdir().unwrap();
    write_whole(&Spool::open(origin.path(), ROOM).unwrap(), 0);
    let bytes = fs::read(path_in(origin.path(), 0)).unwrap();
    // A second unit as long as the end, which has taken its place; the cut behind it did not reach the disk.
    let record = |piece: &[u8]| super::file::encode_chunk(Duration::from_millis(40), &[Bytes::copy_from_slice(piece)]);
    let header = bytes.windows(9).position(|window| window.starts_with(&record(PIECES[0])[..9])).unwrap();
    let torn = [&bytes[..header], &record(PIECES[0]), &record(&CLOSING), &record(PIECES[2])].concat();
    let state = torn_state(&torn);
    let spool = Spool::open(state.path(), ROOM).unwrap();
    assert_eq!(read_all(&spool, &key(0), 100), [PIECES[0], &CLOSING].concat());
}

#[test]
fn a_folder_of_many_files_is_found_in_the_order_of_capture_with_what_is_torn_ended() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("spool/front");
    fs::create_dir_all(&folder).unwrap();
    let count = 2 * u32::try_from(FILES_LOOKED_AT_TOGETHER).unwrap() + 7;
    let payload = Bytes::from_static(PIECES[0]);
    for sequence in 0..count {
        // Captured in the reverse order of their names.
        let ordinal = u64::from(count - sequence);
        let header = Header { key: key(sequence), ordinal, start: start(), closing: CLOSING };
        let trailer = Trailer { duration: Duration::from_millis(40), bytes: payload.len() as u64, crc32c: 0 };
        let trailer = super::file::encode_trailer(&trailer);
        let is_torn = sequence % 500 == 1;
        let chunk = super::file::encode_chunk(Duration::from_millis(40), std::slice::from_ref(&payload));
        let bytes = [super::file::encode_header(&header), chunk, if is_torn { Bytes::new() } else { trailer }].concat();
        let end = if sequence % 10 == 3 { "kept" } else { "frag" };
        fs::write(folder.join(format!("{}.{end}", key(sequence).id)), bytes).unwrap();
    }
    let settings = Settings { keep: Some(Duration::from_secs(3600)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), settings).unwrap();
    let mut after = None;
    for sequence in (0..count).rev().filter(|sequence| sequence % 10 != 3) {
        let (ordinal, entry) = spool.next(after).unwrap();
        assert_eq!((ordinal, entry.key), (u64::from(count - sequence), key(sequence)));
        let closing = if sequence % 500 == 1 { CLOSING.len() } else { 0 };
        assert_eq!(entry.trailer.unwrap().bytes, (payload.len() + closing) as u64);
        after = Some(ordinal);
    }
    assert_eq!((spool.next(after), spool.next_ordinal()), (None, u64::from(count) + 1));
    assert_eq!(spool.counters().kept, u64::from(count).div_ceil(10));
}

#[test]
fn two_fragments_of_one_place_are_both_kept_in_the_order_of_their_clock() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let earlier = Start { wall: WallTime::from_millis(0), ..start() };
    for (state, sequence, start) in [(&first, 0, start()), (&second, 1, earlier)] {
        let spool = Spool::open(state.path(), ROOM).unwrap();
        let mut writer = spool.create(key(sequence), start, CLOSING).unwrap();
        writer.append(Duration::from_millis(40), &[Bytes::from_static(PIECES[0])]).unwrap();
        writer.finish(Duration::from_millis(40)).unwrap();
    }
    fs::rename(path_in(second.path(), 1), path_in(first.path(), 1)).unwrap();
    let spool = Spool::open(first.path(), ROOM).unwrap();
    write_whole(&spool, 2);
    let order: Vec<_> = [None, Some(0), Some(1)].map(|after| spool.next(after).unwrap().1.key).into();
    assert_eq!(order, [key(1), key(0), key(2)]);
    assert!(spool.is_own(spool.read(&key(2)).unwrap().header()));
    (0..3).for_each(|sequence| spool.remove(&spool.release(&key(sequence)).unwrap()));
    assert_eq!(spool.counters().bytes, 0);
}

#[test]
fn a_fragment_that_grew_no_trailer_before_its_writer_went_is_ended_early() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let mut writer = spool.create(key(0), start(), CLOSING).unwrap();
    writer.append(Duration::from_millis(40), &[Bytes::from_static(PIECES[0])]).unwrap();
    drop(writer);
    assert_eq!(read_all(&spool, &key(0), 100), [PIECES[0], &CLOSING].concat());
    assert_eq!(spool.next(None).unwrap().1.trailer.unwrap().duration, Duration::from_millis(40));
}

#[test]
fn a_changed_byte_is_found_when_it_is_read_and_repaired_to_what_is_before_it() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    write_whole(&spool, 0);
    let file = state.path().join("spool/front").join(format!("{}.frag", key(0).id));
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let damaged = spool.read(&key(0)).unwrap().read(whole().len());
    assert!(matches!(damaged, Err(ReadError::Damaged(_))));
    spool.repair(&key(0));
    assert_eq!(read_all(&spool, &key(0), 100), [PIECES[0], &CLOSING].concat());
}

#[test]
fn a_full_spool_drops_its_oldest_fragment_and_counts_it() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 500).unwrap();
    (0..20).for_each(|sequence| write_whole(&spool, sequence));
    let counters = spool.counters();
    assert!(counters.bytes < 1000 && counters.dropped > 10, "{counters:?}");
    assert_eq!(counters.fragments + counters.dropped, 20);
    assert_eq!(spool.next(None).unwrap().1.key, key(20 - u32::try_from(counters.fragments).unwrap()));
    assert_eq!(fs::read_dir(state.path().join("spool/front")).unwrap().count() as u64, counters.fragments);
}

#[test]
fn what_is_spared_is_not_too_old_and_gives_way_to_a_full_spool_last() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), Settings { age_max: Some(Duration::from_secs(60)), ..600.into() }).unwrap();
    let kept = |spool: &Spool| (0..30).filter(|&sequence| spool.holds(&key(sequence))).collect::<Vec<_>>();
    write_whole(&spool, 0);
    let spare =
        |first: u32, last: u32| Spared { session: key(0).id.session, first: Sequence(first), last: Sequence(last) };
    spool.spare(&[spare(0, 1)]);
    (1..10).for_each(|sequence| write_whole(&spool, sequence));
    assert_eq!(kept(&spool)[..2], [0, 1], "{:?}", kept(&spool));
    spool.tend(at(100));
    assert_eq!(kept(&spool), [0, 1]);
    // Where all is spared the oldest goes.
    spool.spare(&[spare(0, u32::MAX)]);
    (10..20).for_each(|sequence| write_whole(&spool, sequence));
    assert!(!kept(&spool).contains(&0) && spool.holds(&key(19)));
    // And what is not spared any more is like all others.
    spool.spare(&[]);
    spool.tend(at(100));
    assert_eq!(kept(&spool), []);
}

#[test]
fn who_can_wait_is_told_that_there_is_no_room_before_anything_is_dropped() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 2000).unwrap();
    let written = (0..100).take_while(|_| spool.has_room()).map(|sequence| write_whole(&spool, sequence)).count();
    assert!(written > 3 && written < 100, "{written}");
    assert_eq!(spool.counters().dropped, 0);
    spool.remove(&spool.release(&key(0)).unwrap());
    assert!(spool.has_room());
}

#[test]
fn what_fills_the_index_leaves_no_room_either() {
    let spool = Spool::open_on(Arc::new(Nothing), Path::new("state"), u64::MAX / 2).unwrap();
    // A session for each fragment takes the most of it.
    for session in (0..).take_while(|_| spool.has_room()) {
        let id = FragmentId { session: SessionId(session), sequence: Sequence(0) };
        end(spool.create(FragmentKey { id, ..key(0) }, start(), CLOSING).unwrap());
    }
    assert!(spool.counters().fragments > 100_000 && spool.counters().dropped == 0);
    assert!(!spool.can_have_room_beside(|stream| *stream == key(0).stream));
    assert!(spool.can_have_room_beside(|stream| *stream != key(0).stream), "it can leave");
}

#[test]
fn a_spool_that_was_made_much_smaller_drops_the_surplus_step_by_step_while_recording_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let large = Settings { sync: SyncTime::Interval(Duration::from_secs(60)), ..ROOM.into() };
    let spool = Spool::open(state.path(), large).unwrap();
    (0..300).for_each(|sequence| write_whole(&spool, sequence));
    drop(spool);
    let spool = Spool::open(state.path(), Settings { bytes_max: 2000, ..large }).unwrap();
    write_whole(&spool, 300);
    assert_eq!(spool.counters().dropped, u64::from(DROPS_PER_BEGINNING_MAX), "it does not wait for all the others");
    let mut before = spool.counters().dropped;
    for _ in 0..3 {
        assert_eq!(spool.tend(at(10)), Tended::InPart);
        let now = spool.counters().dropped;
        assert_eq!(now - before, u64::from(DROPS_PER_STEP_MAX));
        before = now;
    }
    while spool.tend(at(10)) == Tended::InPart {}
    assert!(spool.counters().bytes <= 2000 && spool.holds(&key(300)), "{:?}", spool.counters());
    assert_eq!(spool.tend(at(10)), Tended::Whole);
}

#[test]
fn a_repair_counts_what_it_can_not_save() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    (0..3).for_each(|sequence| write_whole(&spool, sequence));
    let file = |sequence| state.path().join("spool/front").join(format!("{}.frag", key(sequence).id));
    let whole = fs::read(file(0)).unwrap();
    fs::write(file(0), &whole[..whole.len() / 2]).unwrap();
    fs::write(file(1), b"").unwrap();
    (0..3).for_each(|sequence| spool.repair(&key(sequence)));
    assert_eq!([0, 1, 2].map(|sequence| spool.holds(&key(sequence))), [true, false, true]);
    assert_eq!(spool.counters().lost, 2);
}

#[test]
fn what_is_released_is_forgotten_and_what_is_rejected_is_kept_aside() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    (0..2).for_each(|sequence| write_whole(&spool, sequence));
    spool.remove(&spool.release(&key(0)).unwrap());
    spool.reject(&key(1)).unwrap();
    assert_eq!(spool.next(None), None);
    assert_eq!(spool.counters().bytes, 0);
    assert_eq!(fs::read_dir(state.path().join("spool/front")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(state.path().join("rejected")).unwrap().count(), 1);
}

#[test]
fn of_the_rejected_ones_the_last_are_kept() {
    let state = tempfile::tempdir().unwrap();
    let rejected = state.path().join("rejected");
    fs::create_dir(&rejected).unwrap();
    fs::write(rejected.join("front-of-an-earlier-version.frag"), b"").unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    let count = u32::try_from(REJECTED_FRAGMENTS_MAX).unwrap() + 10;
    for sequence in 0..count {
        write_whole(&spool, sequence);
        spool.reject(&key(sequence)).unwrap();
    }
    let mut names: Vec<String> =
        fs::read_dir(&rejected).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_by_key(|name| name.split('-').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(names.len(), REJECTED_FRAGMENTS_MAX);
    assert_eq!(names.last().unwrap(), &format!("{count}-front-{}.frag", key(count - 1).id));
}

#[test]
fn whatever_leaves_the_spool_is_a_change_that_is_told() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    (0..2).for_each(|sequence| write_whole(&spool, sequence));
    assert!(is_told(&spool), "what was captured");
    assert!(!is_told(&spool), "nothing since");
    spool.remove(&spool.release(&key(0)).unwrap());
    assert!(is_told(&spool), "what was persisted");
    spool.reject(&key(1)).unwrap();
    assert!(is_told(&spool), "what was refused");
}

#[test]
fn the_order_of_capture_survives_a_restart_and_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), ROOM).unwrap();
    (0..3).for_each(|sequence| write_whole(&spool, sequence));
    drop(spool);
    let spool = Spool::open(state.path(), ROOM).unwrap();
    write_whole(&spool, 3);
    let mut after = None;
    for sequence in 0..4 {
        let (ordinal, entry) = spool.next(after).unwrap();
        assert_eq!(entry.key, key(sequence));
        assert_eq!(spool.is_own(spool.read(&entry.key).unwrap().header()), sequence == 3);
        after = Some(ordinal);
    }
}

#[test]
fn what_waits_for_too_long_is_dropped_and_listed() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { age_max: Some(Duration::from_secs(60)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), settings).unwrap();
    (0..2).for_each(|sequence| write_at(&spool, sequence, 10 + u64::from(sequence) * 5));
    let growing = spool.create(key(2), Start { monotonic: Some(since_boot(1)), ..start() }, CLOSING).unwrap();
    spool.tend(at(69));
    assert_eq!(spool.counters().drops.age, 0);
    spool.tend(at(71));
    assert_eq!([0, 1, 2].map(|sequence| spool.holds(&key(sequence))), [false, true, true], "what is captured stays");
    drop(growing);
    let listed = drops::read(&OsDisk, state.path()).unwrap();
    let [run] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!((run.reason, run.first, run.duration), (Reason::Age, Sequence(0), Duration::from_millis(120)));
    assert!(!path_in(state.path(), 0).exists() && path_in(state.path(), 1).exists());
}

#[test]
fn a_device_whose_calendar_is_set_drops_nothing_for_its_age() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { age_max: Some(Duration::from_secs(3600)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), settings).unwrap();
    // `start` is of 1970.
    (0..3).for_each(|sequence| write_at(&spool, sequence, 10));
    let set = Some(WallTime::from_millis(1_700_000_000_000));
    spool.tend(Now { wall: set, ..at(100) });
    drop(spool);
    let spool = Spool::open(state.path(), settings).unwrap();
    spool.tend(Now { monotonic: MonotonicTime { boot: BootId(6), since_boot: Duration::from_secs(60) }, wall: set });
    assert_eq!((spool.counters().fragments, spool.counters().drops.age), (3, 0));
}

#[test]
fn a_spool_that_stops_recording_refuses_the_newest_and_takes_more_when_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { when_full: WhenFull::StopRecording, ..Settings::from(500) };
    let spool = Spool::open(state.path(), settings).unwrap();
    let refused = (0..20).find(|&sequence| match spool.create(key(sequence), start(), CLOSING) {
        Ok(writer) => {
            end(writer);
            false
        }
        Err(error) => {
            assert_eq!(error.reason(), Reason::RefusedFull, "{error}");
            true
        }
    });
    let refused = refused.expect("it is full at some time");
    assert!((0..refused).all(|sequence| spool.holds(&key(sequence))), "nothing was dropped");
    assert!(spool.counters().stopped && !path_in(state.path(), refused).exists());
    (0..refused).for_each(|sequence| spool.remove(&spool.release(&key(sequence)).unwrap()));
    write_whole(&spool, refused + 1);
    assert!(!spool.counters().stopped);
}

#[test]
fn what_the_server_has_is_kept_over_restarts_and_never_offered_again() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { keep: Some(Duration::from_secs(60)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), settings).unwrap();
    (0..3).for_each(|sequence| write_at(&spool, sequence, 10 + 20 * u64::from(sequence)));
    (0..2).for_each(|sequence| spool.remove(&spool.release(&key(sequence)).unwrap()));
    let counters = spool.counters();
    assert_eq!((counters.fragments, counters.kept, counters.persisted), (1, 2, 2));
    drop(spool);
    let spool = Spool::open(state.path(), settings).unwrap();
    let counters = spool.counters();
    assert_eq!((counters.fragments, counters.kept), (1, 2));
    let (ordinal, entry) = spool.next(None).unwrap();
    assert_eq!((entry.key, spool.next(Some(ordinal))), (key(2), None));
    let found = recordings::of(state.path(), &key(0).stream).unwrap();
    assert_eq!(found.iter().map(|it| it.is_persisted).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(found[0].read().unwrap(), whole());
    spool.tend(at(71));
    assert_eq!((spool.counters().kept, spool.counters().fragments), (1, 1), "the first was kept for a minute");
    assert_eq!(recordings::of(state.path(), &key(0).stream).unwrap().len(), 2);
    let listed = drops::read(&OsDisk, state.path()).unwrap();
    assert!(listed.is_empty(), "what the server has is no loss: {listed:#?}");
}

#[test]
fn what_the_server_has_makes_room_before_anything_is_dropped() {
    for when_full in [WhenFull::DropOldest, WhenFull::StopRecording] {
        let state = tempfile::tempdir().unwrap();
        let settings = Settings { keep: Some(Duration::from_secs(3600)), when_full, ..Settings::from(2000) };
        let spool = Spool::open(state.path(), settings).unwrap();
        write_whole(&spool, 0);
        for sequence in 1..50 {
            write_whole(&spool, sequence);
            spool.remove(&spool.release(&key(sequence)).unwrap());
        }
        let counters = spool.counters();
        assert!(spool.holds(&key(0)) && counters.drops == Drops::default() && counters.kept > 2, "{counters:?}");
        assert!(counters.bytes + counters.kept_bytes < 2600, "{counters:?}");
        let files = fs::read_dir(state.path().join("spool/front")).unwrap().count() as u64;
        assert_eq!(files, counters.fragments + counters.kept);
    }
}

#[test]
fn without_keep_recordings_of_before_go() {
    let state = tempfile::tempdir().unwrap();
    let keeping = Settings { keep: Some(Duration::from_secs(3600)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), keeping).unwrap();
    write_at(&spool, 0, 10);
    spool.remove(&spool.release(&key(0)).unwrap());
    drop(spool);
    let spool = Spool::open(state.path(), ROOM).unwrap();
    spool.tend(at(11));
    assert_eq!((spool.counters().kept, fs::read_dir(state.path().join("spool/front")).unwrap().count()), (0, 0));
}

#[test]
fn a_sync_that_is_made_at_intervals_is_due_after_one_and_not_before() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { sync: SyncTime::Interval(Duration::from_secs(10)), ..Settings::from(ROOM) };
    let spool = Spool::open(state.path(), settings).unwrap();
    (0..3).for_each(|sequence| write_whole(&spool, sequence));
    assert_eq!((spool.counters().unsynced, spool.counters().spooled), (3, 3), "they may be sent at once");
    for secs in [20, 29] {
        spool.tend(at(secs));
    }
    assert_eq!(spool.counters().unsynced, 3);
    spool.tend(at(30));
    assert_eq!(spool.counters().unsynced, 0);
}

#[test]
fn whatever_is_dropped_is_listed_with_its_reason() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 700).unwrap();
    write_whole(&spool, 0);
    spool.reject(&key(0)).unwrap();
    write_whole(&spool, 1);
    let bytes = fs::read(path_in(state.path(), 1)).unwrap();
    fs::write(path_in(state.path(), 1), &bytes[..bytes.len() / 2]).unwrap();
    spool.repair(&key(1));
    (2..9).for_each(|sequence| write_whole(&spool, sequence));
    let listed = drops::read(&OsDisk, state.path()).unwrap();
    let reasons: Vec<_> = listed.iter().map(|run| run.reason).collect();
    assert_eq!(reasons, [Reason::Rejected, Reason::Damaged, Reason::Quota], "{listed:#?}");
    let counters = spool.counters();
    assert_eq!((counters.rejected, counters.lost), (1, 1));
    assert_eq!(u64::from(listed[2].last.0 - listed[2].first.0) + 1, counters.dropped);
}

fn key(sequence: u32) -> FragmentKey {
    FragmentKey {
        stream: "front".parse().unwrap(),
        id: FragmentId { session: SessionId(7), sequence: Sequence(sequence) },
    }
}

fn start() -> Start {
    let monotonic = MonotonicTime { boot: BootId(5), since_boot: Duration::from_secs(9) };
    Start { monotonic: Some(monotonic), wall: WallTime::from_millis(1), quality: ClockQuality::Synchronised }
}

/// Whether who waits for a change is woken.
fn is_told(spool: &Spool) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(spool.changed()).poll(&mut context).is_ready()
}

fn since_boot(secs: u64) -> MonotonicTime {
    MonotonicTime { boot: BootId(5), since_boot: Duration::from_secs(secs) }
}

/// So long after the boot that `start` is of.
fn at(secs: u64) -> Now {
    Now { monotonic: since_boot(secs), wall: None }
}

fn write_whole(spool: &Spool, sequence: u32) {
    end(spool.create(key(sequence), start(), CLOSING).unwrap());
}

fn write_at(spool: &Spool, sequence: u32, secs: u64) {
    let start = Start { monotonic: Some(since_boot(secs)), quality: ClockQuality::Unsynchronised, ..start() };
    end(spool.create(key(sequence), start, CLOSING).unwrap());
}

fn end(mut writer: Writer) {
    for (i, piece) in (1..).zip(PIECES) {
        writer.append(Duration::from_millis(40 * i), &[Bytes::from_static(piece)]).unwrap();
    }
    writer.finish(Duration::from_millis(120)).unwrap();
}

fn whole() -> Vec<u8> {
    [&PIECES.concat()[..], &CLOSING].concat()
}

fn ends_properly(bytes: &[u8]) -> bool {
    (1..=PIECES.len()).any(|n| bytes == [&PIECES[..n].concat()[..], &CLOSING].concat())
}

fn read_all(spool: &Spool, key: &FragmentKey, step: usize) -> Vec<u8> {
    let (mut at, mut after) = (None, None);
    while let Some((ordinal, entry)) = spool.next(after) {
        after = Some(ordinal);
        at = at.or((entry.key == *key).then_some(entry));
    }
    let mut missing = usize::try_from(at.expect("the spool has it").bytes).unwrap();
    let mut reader = spool.read(key).unwrap();
    let mut out = Vec::new();
    while missing > 0 {
        let bytes = step.min(missing);
        out.extend(reader.read(bytes).unwrap().into_iter().flatten());
        missing -= bytes;
    }
    out
}

/// The file of a fragment in a state folder.
fn path_in(state: &Path, sequence: u32) -> std::path::PathBuf {
    state.join("spool/front").join(format!("{}.frag", key(sequence).id))
}

fn torn_state(bytes: &[u8]) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let folder: &Path = &state.path().join("spool/front");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{}.frag", key(0).id)), bytes).unwrap();
    state
}
