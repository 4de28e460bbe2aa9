//! Cameras as blocks of the configuration: main and sub stream as a pair, no password in them.

use std::fmt::Write as _;

use onvif::Wanted;

use super::{Report, Request, title};

/// All that can be recorded.
pub(super) fn blocks(reports: &[Report], request: &Request) -> String {
    let mut streams = Vec::new();
    let blocks: Vec<String> = reports.iter().filter_map(|report| block(report, request, &mut streams)).collect();
    blocks.join("\n")
}

/// One that can be recorded. `streams` are the names that were given before.
pub(super) fn block(report: &Report, request: &Request, streams: &mut Vec<String>) -> Option<String> {
    let profiles = &report.outcome.as_ref().ok()?.profiles;
    Wanted::Main.of(profiles)?.url.as_ref()?;
    let stream = stream_name(&title(report), streams);
    let mut text = format!("# {} at {}\n[[camera]]\n", title(report), report.host);
    let mut key = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {}", toml::Value::String(value.to_owned()));
    };
    key("stream", &stream);
    key("onvif", &report.place);
    if let Some(credentials) = &request.credentials {
        key("user", &credentials.user);
        match &request.password_file {
            Some(file) => key("password_file", &file.to_string_lossy()),
            None => text += "password_file = \"camera.password\" # a file that holds it\n",
        }
    }
    if Wanted::Sub.of(profiles).is_some_and(|profile| profile.url.is_some()) {
        let _ = write!(text, "\n[camera.sub]\nstream = \"{stream}-sub\"\n");
    }
    streams.push(stream);
    Some(text)
}

/// A name for the stream: what of the camera's own title can stand in one, and a number if it is taken.
fn stream_name(title: &str, taken: &[String]) -> String {
    let usual = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' };
    let words: String = title.chars().take(60).map(usual).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let base = if words.is_empty() { "camera".to_owned() } else { words.join("-") };
    let numbered = |number: u32| if number == 1 { base.clone() } else { format!("{base}-{number}") };
    let is_free = |name: &String| !taken.contains(name);
    (1..).map(numbered).find(is_free).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use onvif::{Camera, Credentials, Profile};

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_written_for_cameras_is_a_configuration_of_them_with_their_pairs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pass"), "hush\n").unwrap();
        let request = request(Some("pass"));
        let blocks = blocks(&[report("ACME \"Dome\" [1]"), report("ACME \"Dome\" [1]")], &request);
        assert!(!blocks.contains("hush"), "{blocks}");
        let text = format!("[server]\naddress = \"localhost:8443\"\n{blocks}");
        let config = Config::parse(&text, folder.path()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let streams: Vec<&str> = config.cameras.iter().map(|camera| camera.stream.as_str()).collect();
        assert_eq!(streams, ["acme-dome-1", "acme-dome-1-sub", "acme-dome-1-2", "acme-dome-1-2-sub"]);
        assert_eq!(config.cameras[1].sub_of.as_ref(), Some(&config.cameras[0].stream));
    }

    #[test]
    fn a_camera_that_refused_is_not_written() {
        let refused = Report { outcome: Err("it refused".to_owned()), ..report("x") };
        assert_eq!(blocks(&[refused], &request(None)), "");
    }

    #[test]
    fn a_title_without_a_letter_still_gives_a_stream() {
        assert_eq!(stream_name("摄像机", &[]), "camera");
        assert_eq!(stream_name("摄像机", &["camera".to_owned()]), "camera-2");
    }

    fn request(password_file: Option<&str>) -> Request {
        let credentials = Some(Credentials { user: "me".to_owned(), password: "hush".to_owned() });
        let password_file = password_file.map(|file| Path::new(file).to_owned());
        Request { credentials, password_file, address: None, time: Duration::ZERO }
    }

    fn report(model: &str) -> Report {
        let profile = |token: &str, width| Profile {
            token: token.to_owned(),
            codec: Some("H264".to_owned()),
            resolution: Some((width, width)),
            url: Some("rtsp://192.168.1.20/a".to_owned()),
            ..Profile::default()
        };
        let camera = Camera {
            model: Some(model.to_owned()),
            profiles: vec![profile("a", 640), profile("b", 320)],
            ..Camera::default()
        };
        let (place, host) = ("urn:uuid:1".to_owned(), "192.168.1.20".to_owned());
        Report { place, host, label: None, outcome: Ok(camera) }
    }
}
