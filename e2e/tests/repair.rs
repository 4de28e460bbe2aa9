//! What the disk has changed or lost: a damaged fragment is named and left out, and a lost index is made again.

use std::fs;

use e2e::{Agent, Answer, Segment, Server};

#[test]
fn a_lost_index_is_made_again_and_everything_plays_as_before() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(folder.path());
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    for (clip, stream) in [("h264-aac.mp4", "yard"), ("h265-aac.mp4", "door")] {
        let uploaded = agent.once(&e2e::clip(clip), stream);
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    }
    let before = [bytes(&server, "yard"), bytes(&server, "door")];
    assert!(server.admin(&["check"]).contains("agree"));

    server.stop();
    fs::remove_dir_all(server.data().join("vault/catalog")).expect("the catalog is a folder");
    let said = server.admin(&["rebuild-index"]);
    assert!(said.contains("of 2 streams have their rows again"), "{said}");
    server.restart();

    assert_eq!([bytes(&server, "yard"), bytes(&server, "door")], before);
    assert!(server.admin(&["check"]).contains("agree"));
}

#[test]
fn one_flipped_bit_costs_one_fragment_which_the_log_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start_with(folder.path(), &[], &[("NO_COLOR", "1")]);
    let agent = Agent::enrolled(&folder.path().join("agent"), &server);
    let uploaded = agent.once(&e2e::clip("h264-aac.mp4"), "yard");
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    let before = server.everything("yard").segments;
    let played = bytes(&server, "yard");
    server.stop();
    flip_a_bit_in_the_middle(&server);
    server.restart();

    // A playlist tells the size of the pictures, for which a fragment is read. If that is the damaged one, it is left out at once.
    let listed = server.everything("yard").segments;
    let found = |it: &Segment| listed.iter().find(|listed| listed.number() == it.number());
    let answers: Vec<_> = before.iter().map(|it| found(it).map(|it| server.get_as_stranger(&it.uri))).collect();
    let is_whole = |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| answer.status == 200);
    let damaged: Vec<_> = (0..answers.len()).filter(|i| !is_whole(&answers[*i])).collect();
    let [damaged] = damaged[..] else { panic!("one is damaged, and not {damaged:?}") };
    if let Some(answer) = &answers[damaged] {
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("damaged"), "{}", answer.text());
    }
    for (i, answer) in answers.iter().enumerate().filter(|(i, _)| *i != damaged) {
        assert!(answer.as_ref().is_some_and(|answer| answer.body == played[i]), "segment {i} is another one");
    }
    let number = before[damaged].number();
    let log = fs::read_to_string(folder.path().join("server.log")).expect("the server has a log");
    let named: Vec<_> = log.lines().filter(|line| line.contains("a fragment is damaged")).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    for word in ["ERROR", "stream=yard", &format!("number={number}"), "segment "] {
        assert!(named[0].contains(word), "no {word} in {}", named[0]);
    }
    assert_eq!(server.try_metric("millrace_fragments_damaged_total"), Some(1.0));
    let (agrees, said) = server.try_admin(&["check"]);
    assert!(!agrees && said.contains(&format!("fragment {number}:")), "{said}");
}

/// Of the segment that has the most in it. A file may be laid out for more.
fn flip_a_bit_in_the_middle(server: &Server) {
    let segments = fs::read_dir(server.data().join("vault/segments")).expect("the vault has segments");
    let files = segments.map(|file| file.expect("it can be listed").path());
    let contents = files.map(|path| (fs::read(&path).expect("it can be read"), path));
    let written = |segment: &[u8]| segment.iter().rposition(|&byte| byte != 0).unwrap_or(0);
    let (mut segment, path) = contents.max_by_key(|(segment, _)| written(segment)).expect("something is stored");
    let middle = written(&segment) / 2;
    segment[middle] ^= 1;
    fs::write(&path, segment).expect("it can be written");
}

/// Every segment of a stream, as it is played.
fn bytes(server: &Server, stream: &str) -> Vec<Vec<u8>> {
    server.everything(stream).segments.iter().map(|segment| server.get_as_stranger(&segment.uri).body).collect()
}
