//! A network camera.
//!
//! ```text
//! gst-launch-1.0 rtspsrc name=media protocols=tcp latency=200 buffer-mode=synced location=rtsp://… user-id=… user-pw=… \
//!     media. ! rtph264depay ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink \
//!     media. ! rtpmp4gdepay ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw ! appsink
//! ```
//!
//! `buffer-mode=synced` takes time as the camera's RTP timestamps count it. The default would bend it towards
//! the arrival of packets: of 320 pictures with B-frames, 272 then came more than 2 ms off their time (none
//! with this), and a jump of the camera's clock would be hidden instead of ending the session.

mod look;
mod tls;

use std::fmt;
use std::time::Duration;

use crate::launch::{Launch, MEDIA};
use crate::{Error, limits};

pub use tls::Trust;
pub(crate) use tls::Verdict;

/// How the camera's packets travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Inside the RTSP connection: nothing is lost, and firewalls let it pass.
    #[default]
    Tcp,
    /// As datagrams: what is lost stays lost, but nothing waits for it.
    Udp,
}

/// How long packets are held to be put in order, unless the source says otherwise.
pub const LATENCY: Duration = Duration::from_millis(200);

/// A network camera. Its `Debug` form shows no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// `rtsp://host[:port]/path`; a user and password in it are used if the fields below have none.
    pub url: String,
    /// How packets travel.
    pub transport: Transport,
    /// The user's name, if the camera wants one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How long packets are held to be put in order.
    pub latency: Duration,
    /// Whose certificate is believed, where the address begins with `rtsps`.
    pub trust: Trust,
}

impl Source {
    /// The camera at `url`, over TCP.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            transport: Transport::Tcp,
            user: None,
            password: None,
            latency: LATENCY,
            trust: Trust::System,
        }
    }

    /// With another transport.
    #[must_use]
    pub fn transport(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// With a user name and password.
    #[must_use]
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), ..self }
    }

    /// With another latency.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Believing other certificates than those of the system's authorities.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// What GStreamer's `error` means for this camera.
    pub(crate) fn explain(&self, error: Error, verdict: &Verdict) -> Error {
        if let Error::Unreachable { what, .. } | Error::Lost { what, .. } = &error
            && let Some(detail) = verdict.take()
        {
            return Error::Untrusted { what: what.clone(), detail };
        }
        match Url::parse(&self.url) {
            Some(url) => {
                let (host, port) = url.host_and_port();
                look::explain(error, host, port)
            }
            None => error,
        }
    }

    pub(crate) fn label(&self) -> String {
        Url::parse(&self.url).map_or_else(|| "the camera".to_owned(), |url| format!("the camera at {}", url.shown()))
    }

    pub(crate) fn launch(&self) -> Result<Launch, Error> {
        let url = Url::parse(&self.url).ok_or_else(|| Error::Invalid {
            what: "the camera's address".to_owned(),
            detail: "it should look like rtsp://host:554/path".to_owned(),
        })?;
        let protocols = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let latency = self.latency.as_millis();
        // rtspsrc's own patience is set under the watch for silence, so that its words for the cause come first.
        let patience = limits::SILENCE_MAX.as_micros() * 8 / 10;
        let line = format!(
            "rtspsrc name={MEDIA} protocols={protocols} latency={latency} buffer-mode=synced \
             tcp-timeout={patience} timeout={patience}"
        );
        let mut properties = vec![(MEDIA, "location", url.location())];
        let inside = url.credentials.clone().unzip();
        let user = self.user.clone().or(inside.0);
        let password = self.password.clone().or(inside.1);
        properties.extend(user.map(|user| (MEDIA, "user-id", user)));
        properties.extend(password.map(|password| (MEDIA, "user-pw", password)));
        Ok(Launch { line, properties, live: true })
    }
}

impl From<Source> for crate::Source {
    fn from(source: Source) -> Self {
        Self::Rtsp(source)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("rtsp::Source")
            .field("url", &self.label())
            .field("transport", &self.transport)
            .field("latency", &self.latency)
            .finish_non_exhaustive()
    }
}

/// An address taken apart as far as credentials need it.
struct Url {
    scheme: String,
    credentials: Option<(String, String)>,
    host: String,
    path: String,
    /// With its question mark. Cheap cameras want passwords here, so it is never shown.
    query: String,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "rtsp" | "rtspt" | "rtsps") {
            return None;
        }
        let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Passwords with an @ are common, hosts with one are not.
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                (Some((percent_decoded(user), percent_decoded(password))), host)
            }
            None => (None, authority),
        };
        (!host.is_empty()).then(|| Self {
            scheme,
            credentials,
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    /// Where to connect to.
    fn host_and_port(&self) -> (&str, u16) {
        let usual = if self.scheme == "rtsps" { 322 } else { 554 };
        // The colons of an address in brackets are its own.
        match self.host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().unwrap_or(usual)),
            None => (&self.host, usual),
        }
    }

    /// Without credentials.
    fn shown(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// For rtspsrc, which gets user and password apart.
    fn location(&self) -> String {
        format!("{}{}", self.shown(), self.query)
    }
}

/// `%41` as `A`; what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_taken_out_and_decoded() {
        let launch = Source::new("rtsp://ad%6Din:p@ss:w%2Frd@cam:8554/live?x=1").launch().unwrap();
        let property = |name| launch.properties.iter().find(|(_, property, _)| *property == name).map(|p| p.2.as_str());
        assert_eq!(property("location"), Some("rtsp://cam:8554/live?x=1"));
        assert_eq!(property("user-id"), Some("admin"));
        assert_eq!(property("user-pw"), Some("p@ss:w/rd"));
    }

    #[test]
    fn an_address_tells_where_to_connect_to() {
        for (url, host, port) in [
            ("rtsp://cam/1", "cam", 554),
            ("rtsps://cam/1", "cam", 322),
            ("rtsp://a:b@cam:8554/1", "cam", 8554),
            ("rtsp://[fe80::1]/1", "[fe80::1]", 554),
            ("rtsp://[fe80::1]:80/1", "[fe80::1]", 80),
        ] {
            assert_eq!(Url::parse(url).unwrap().host_and_port(), (host, port), "{url}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let source = Source::new("rtsp://admin:secret@cam/live?password=secret").credentials("admin", "secret");
        assert_eq!(source.label(), "the camera at rtsp://cam/live");
        assert!(!format!("{source:?}").contains("secret"));
        assert!(!format!("{:?}", crate::Source::from(source)).contains("secret"));
    }

    #[test]
    fn an_address_of_another_kind_is_refused_without_repeating_it() {
        let error = Source::new("http://admin:secret@cam/").launch().err().unwrap();
        assert_eq!(error.to_string(), "the camera's address cannot be used: it should look like rtsp://host:554/path");
    }
}
