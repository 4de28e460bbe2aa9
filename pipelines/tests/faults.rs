//! What a network camera can do wrong, and what the pipeline says of it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use fragment::{TrackKind, TrackNumber};
use pipelines::rtsp::{Source, Transport, Trust};
use pipelines::{Error, Event, Loss, Pipeline, Receiver};
use samples::rtsp::{Camera, Command, Settings};
use tokio::time::timeout;

/// Longer than any of these should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_camera_whose_sound_goes_on_without_a_picture_fails_and_says_so() {
    let camera = camera();
    let (_handle, mut events) = Pipeline::start(Source::new(camera.url()));
    until_units(&mut events, 10).await;
    camera.control(Command::Blind(Duration::from_secs(60)));
    let error = failure(&mut events).await;
    assert!(matches!(error, Error::PictureStands { .. }), "{error:?}");
}

#[tokio::test]
async fn a_camera_that_vanishes_without_a_word_fails_and_says_so() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let camera = camera();
        let (_handle, mut events) = Pipeline::start(Source::new(camera.url()).transport(transport));
        until_units(&mut events, 10).await;
        camera.control(Command::Vanish(Duration::from_secs(60)));
        let error = failure(&mut events).await;
        assert!(matches!(error, Error::Silent { .. }), "{transport:?}: {error:?}");
    }
}

#[tokio::test]
async fn every_packet_that_is_lost_is_counted() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let camera = camera();
        let (handle, mut events) = Pipeline::start(Source::new(camera.url()).transport(transport));
        until_units(&mut events, 50).await;
        camera.control(Command::Lose { every: 7 });
        let mut lost = Loss::default();
        while lost.packets < 20 {
            lost = sum(lost, next_loss(&mut events).await);
        }
        camera.control(Command::Lose { every: 0 });
        // What was lost last is told when the next packet comes.
        while lost.packets < camera.packets_lost() {
            lost = sum(lost, next_loss(&mut events).await);
        }
        until_units(&mut events, 50).await;
        handle.stop();
        assert_eq!(lost.packets, camera.packets_lost(), "{transport:?}");
        assert!(lost.units > 10 && lost.units <= lost.packets, "{transport:?}: {lost:?}");
    }
}

#[tokio::test]
async fn a_session_is_kept_beyond_the_time_after_which_the_camera_would_end_it() {
    let camera = Camera::start(&Settings { session_seconds: Some(6), ..settings() }).unwrap();
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()).transport(Transport::Udp));
    // Five times the time; pictures without a gap.
    until_pictures(&mut events, 30 * 25).await;
    handle.stop();
    assert!(camera.kept_alive() >= 2, "{} requests", camera.kept_alive());
}

#[tokio::test]
async fn a_camera_over_tls_is_watched_when_its_certificate_is_believed() {
    let (camera, folder) = secure();
    let fingerprint = fingerprint_in(&refusal(&camera, Trust::System).await);
    let authority = folder.path().join("ca.pem");
    for trust in [Trust::Ca(authority), Trust::Fingerprint(fingerprint), Trust::Anyone] {
        let (handle, mut events) = Pipeline::start(Source::new(camera.url()).trust(trust));
        until_units(&mut events, 50).await;
        handle.stop();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_said_in_words() {
    let (camera, _folder) = secure();
    let nobody = refusal(&camera, Trust::System).await;
    assert!(nobody.contains("nobody whom this machine trusts has signed it"), "{nobody}");
    let other = refusal(&camera, Trust::Fingerprint([7; 32])).await;
    assert!(other.contains("is not the one that the configuration names"), "{other}");
    let (_, strangers) = secure();
    let stranger = refusal(&camera, Trust::Ca(strangers.path().join("ca.pem"))).await;
    assert!(
        stranger.contains("it does not pass the check"),
        "an authority of the same name did not sign it: {stranger}"
    );
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_said_in_words() {
    let (_handle, mut events) = Pipeline::start(Source::new("rtsp://no-such-camera.invalid/1"));
    let error = failure(&mut events).await;
    assert!(error.to_string().contains("no address is known for the name no-such-camera.invalid"), "{error}");
}

#[tokio::test]
async fn a_coding_that_changes_is_told_before_its_units() {
    let others = vec![samples::clip("h264-aac-large.mp4")];
    let camera = Camera::start(&Settings { others, ..settings() }).unwrap();
    let (handle, mut events) = Pipeline::start(Source::new(camera.url()));
    until_units(&mut events, 50).await;
    camera.control(Command::Show(1));
    let width = loop {
        if let Event::Tracks(tracks) = next(&mut events).await {
            let Some(fragment::Codec::H264(config)) = tracks.video().map(|track| &track.codec) else { continue };
            break config.width();
        }
    };
    let first = loop {
        match next(&mut events).await {
            Event::Unit(unit) if unit.track == TrackNumber::VIDEO => break unit,
            _ => {}
        }
    };
    handle.stop();
    assert_eq!(width, 640);
    assert!(first.key, "nothing that can't be decoded is between");
}

fn settings() -> Settings {
    Settings::new(samples::clip("h264-aac.mp4"))
}

fn camera() -> Camera {
    Camera::start(&settings()).expect("the camera starts")
}

/// A camera over TLS, and a folder with `ca.pem`, which has signed its certificate.
fn secure() -> (Camera, tempfile::TempDir) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "the cameras' authority");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let tls = Some(own.pem() + &key.serialize_pem());
    (Camera::start(&Settings { tls, ..settings() }).expect("the camera starts"), folder)
}

/// What is said of a camera that is not trusted.
async fn refusal(camera: &Camera, trust: Trust) -> String {
    let (_handle, mut events) = Pipeline::start(Source::new(camera.url()).trust(trust));
    let error = failure(&mut events).await;
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
    error.to_string()
}

fn fingerprint_in(words: &str) -> [u8; 32] {
    let digits = words.split_whitespace().find(|word| word.len() == 64).expect("the words name the fingerprint");
    let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn sum(one: Loss, other: Loss) -> Loss {
    Loss { packets: one.packets + other.packets, units: one.units + other.units }
}

async fn next(events: &mut Receiver<Event>) -> Event {
    match timeout(PATIENCE, events.recv()).await.expect("something comes").expect("it goes on") {
        Event::Failed(error) => panic!("{error}"),
        Event::EndOfStream => panic!("it ended"),
        event => event,
    }
}

async fn next_loss(events: &mut Receiver<Event>) -> Loss {
    loop {
        if let Event::Lost(kind, loss) = next(events).await {
            assert_eq!(kind, TrackKind::Video);
            return loss;
        }
    }
}

async fn until_units(events: &mut Receiver<Event>, count: usize) {
    let mut units = 0;
    while units < count {
        units += usize::from(matches!(next(events).await, Event::Unit(_)));
    }
}

/// Waits for so many pictures, none of which may be missing. Answers the units of any kind that came.
async fn until_pictures(events: &mut Receiver<Event>, count: usize) -> usize {
    let (mut units, mut pictures, mut last) = (0, 0, None);
    while pictures < count {
        let Event::Unit(unit) = next(events).await else { continue };
        units += 1;
        if unit.track == TrackNumber::VIDEO {
            let step = last.map_or(Duration::ZERO, |last| unit.pts.since(last));
            assert!(step < Duration::from_secs(1), "a gap of {step:?}");
            (pictures, last) = (pictures + 1, Some(unit.pts));
        }
    }
    units
}

async fn failure(events: &mut Receiver<Event>) -> Error {
    loop {
        match timeout(PATIENCE, events.recv()).await.expect("it ends") {
            Some(Event::Failed(error)) => return error,
            Some(Event::EndOfStream) | None => panic!("it ended without a failure"),
            Some(_) => {}
        }
    }
}
