//! The call by which cameras are found, WS-Discovery, and what they answer.

use std::fmt;

use crate::address::Host;
use crate::{limits, xml};

/// Where is called.
pub const GROUP: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::new(239, 255, 255, 250), 3702);

/// One call; answers to it carry its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    id: String,
}

/// A camera that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name that it keeps wherever it is.
    pub name: String,
    /// Where it answered from.
    pub host: Host,
    /// Its device service, at that host.
    pub service: String,
    /// What it says of itself: its model or the name that its owner gave it.
    pub label: Option<String>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It can't be read.
    #[error(transparent)]
    BadXml(#[from] xml::BadXml),
    /// It answers another call.
    #[error("it answers another call")]
    Another,
    /// It is not from a camera, or says too little.
    #[error("it names no camera with a service over http")]
    NoCamera,
}

impl Call {
    /// A call with an id of its own.
    pub fn new(random: u128) -> Self {
        let (a, b, c, d, e) = (random >> 96, random >> 80, random >> 64, random >> 48, random);
        let id =
            format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a, b & 0xffff, c & 0xfff, d & 0xfff, e & 0xffff_ffff_ffff);
        Self { id }
    }

    /// What an answer from `from` says.
    pub fn answer(&self, datagram: &[u8], from: &Host) -> Result<Found, NoAnswer> {
        let text = String::from_utf8_lossy(&datagram[..datagram.len().min(limits::DATAGRAM_BYTES_MAX)]);
        let document = xml::parse(&text)?;
        let root = document.root();
        if !xml::text(root, "RelatesTo").is_some_and(|id| id.ends_with(&self.id)) {
            return Err(NoAnswer::Another);
        }
        let matched = xml::first(root, "ProbeMatch").ok_or(NoAnswer::NoCamera)?;
        let reference = xml::first(matched, "EndpointReference").ok_or(NoAnswer::NoCamera)?;
        let name = xml::text(reference, "Address").ok_or(NoAnswer::NoCamera)?;
        let services = xml::text(matched, "XAddrs").ok_or(NoAnswer::NoCamera)?;
        // Those with the address that it answered from go first: others may be of another of its networks.
        let mut services: Vec<&str> = services.split_whitespace().collect();
        services.sort_by_key(|service| !service.contains(&from.to_string()));
        let service = services.into_iter().find_map(|service| from.take_over(service, &["http"]));
        Ok(Found {
            name,
            host: from.clone(),
            service: service.ok_or(NoAnswer::NoCamera)?,
            label: xml::text(matched, "Scopes").and_then(|scopes| label(&scopes)),
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header><a:Action s:mustUnderstand="1">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action><a:MessageID>urn:uuid:{}</a:MessageID><a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo><a:To s:mustUnderstand="1">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header><s:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"#,
            self.id
        )
    }
}

/// The hardware or the name in a camera's scopes, such as `onvif://www.onvif.org/hardware/Dome%201`.
fn label(scopes: &str) -> Option<String> {
    ["/name/", "/hardware/"].into_iter().find_map(|kind| {
        let scope = scopes.split_whitespace().find(|scope| scope.contains(kind))?;
        xml::fit(&scope.split(kind).nth(1)?.replace("%20", " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATCH: &str = "<e><RelatesTo>ID</RelatesTo><ProbeMatches><ProbeMatch><EndpointReference>\
        <Address>urn:uuid:cam</Address></EndpointReference><Scopes>onvif://www.onvif.org/name/Front%20Door</Scopes>\
        <XAddrs>http://10.0.0.9/other https://192.168.1.20/tls http://192.168.1.20:8080/onvif/device_service</XAddrs>\
        </ProbeMatch></ProbeMatches></e>";

    #[test]
    fn a_camera_is_asked_where_it_answered_from() {
        let found = answer(MATCH).unwrap();
        assert_eq!(found.service, "http://192.168.1.20:8080/onvif/device_service");
        assert_eq!((found.name.as_str(), found.label.as_deref()), ("urn:uuid:cam", Some("Front Door")));
    }

    #[test]
    fn a_camera_that_names_another_address_is_asked_at_its_own() {
        let found = answer(&MATCH.replace("192.168.1.20", "203.0.113.5")).unwrap();
        assert_eq!(found.service, "http://192.168.1.20/other");
    }

    #[test]
    fn an_answer_to_another_call_is_left_out() {
        let other = Call::new(2);
        let datagram = MATCH.replace("ID", &other.id);
        assert_eq!(Call::new(1).answer(datagram.as_bytes(), &host()), Err(NoAnswer::Another));
    }

    #[test]
    fn what_is_no_camera_is_left_out() {
        assert_eq!(answer("<e><RelatesTo>ID</RelatesTo></e>"), Err(NoAnswer::NoCamera));
        assert_eq!(answer(&MATCH.replace("http://", "ftp://")), Err(NoAnswer::NoCamera));
        assert!(matches!(answer("M-SEARCH * HTTP/1.1"), Err(NoAnswer::BadXml(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_panics(bytes: Vec<u8>) {
            let _ = Call::new(1).answer(&bytes, &host());
        }

        #[test]
        fn no_cut_or_changed_answer_panics(at in 0..MATCH.len(), byte: u8) {
            let mut bytes = MATCH.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Call::new(1).answer(&bytes, &host());
            let _ = Call::new(1).answer(&bytes[..at], &host());
        }
    }

    fn answer(text: &str) -> Result<Found, NoAnswer> {
        let call = Call::new(1);
        call.answer(text.replace("ID", &format!("urn:uuid:{}", call.id)).as_bytes(), &host())
    }

    fn host() -> Host {
        Host::new("192.168.1.20").unwrap()
    }
}
