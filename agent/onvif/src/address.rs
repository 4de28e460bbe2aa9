//! Where a camera is: the address that it answered from, whatever it says of itself.

use std::fmt;
use std::net::IpAddr;

/// Where devices have their first service unless they say otherwise.
const DEVICE_PATH: &str = "/onvif/device_service";

/// The host that a camera answers at. Nothing is asked of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// A name or a number, without a port.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        let usual = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        let well = text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.chars().all(usual));
        (well && text.len() <= 253).then(|| Self(text.to_owned()))
    }

    /// The same service or stream, at this host: scheme, port, path and query of `url` stay, credentials do not.
    /// `None` if it is not of one of these schemes.
    pub fn take_over(&self, url: &str, schemes: &[&str]) -> Option<String> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let scheme = schemes.iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let port = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let well = path.chars().all(|char| char.is_ascii_graphic() && !"\"<>\\^`{|}".contains(char));
        well.then(|| format!("{scheme}://{self}{port}{path}"))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

/// How a user names a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its host: it is asked where its service is, and else looked for where most have it.
    Host(Host),
    /// By host and port of its service.
    Service(Host, u16),
    /// By the name that it keeps, such as `urn:uuid:…`: it is called for in the local networks, and so found
    /// wherever it is.
    Name(String),
}

impl Place {
    /// What a user wrote: a host, `host:port` or a name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("urn:")) || text.starts_with("uuid:") {
            return Some(Self::Name(text.to_owned()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                Some(Self::Service(Host::new(host)?, port.parse().ok().filter(|port| *port > 0)?))
            }
            _ => Host::new(text).map(Self::Host),
        }
    }
}

/// The device service of `host`, where most have it.
pub fn usual_service(host: &Host, port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("http://{host}{port}{DEVICE_PATH}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_fetched_from_the_camera_that_was_asked_and_from_no_other() {
        let host = Host::new("192.168.1.20").unwrap();
        for (told, taken) in [
            ("rtsp://10.0.0.1:554/a?b=1", "rtsp://192.168.1.20:554/a?b=1"),
            ("rtsp://user:pass@evil.example/a", "rtsp://192.168.1.20/a"),
            ("RTSP://[fe80::1]:8554/a", "rtsp://192.168.1.20:8554/a"),
            ("rtsp://x?y", "rtsp://192.168.1.20?y"),
        ] {
            assert_eq!(host.take_over(told, &["rtsp"]).as_deref(), Some(taken));
        }
        for refused in ["http://x/a", "rtsp:/x", "rtsp://x/a b", "rtsp://x/\"", ""] {
            assert_eq!(host.take_over(refused, &["rtsp"]), None, "{refused}");
        }
    }

    #[test]
    fn a_camera_is_named_by_host_by_host_and_port_or_by_its_own_name() {
        let host = |text| Host::new(text).unwrap();
        assert_eq!(Place::parse("192.168.1.20"), Some(Place::Host(host("192.168.1.20"))));
        assert_eq!(Place::parse("cam.local:8080"), Some(Place::Service(host("cam.local"), 8080)));
        assert_eq!(Place::parse("fe80::1"), Some(Place::Host(host("fe80::1"))));
        assert_eq!(Place::parse("[fe80::1]:80"), Some(Place::Service(host("fe80::1"), 80)));
        assert_eq!(Place::parse("urn:uuid:1-2"), Some(Place::Name("urn:uuid:1-2".to_owned())));
        for wrong in ["", "a b", "a€€", "http://x", "x:0", "x:99999", "x/y"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
