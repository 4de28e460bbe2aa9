//! The device's answers.

use std::net::SocketAddr;

use gst::glib;

use super::Settings;
use super::guard::Guard;

/// A stream that the device offers.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name for programs.
    pub token: String,
    /// `H264`, `H265` or `JPEG`.
    pub codec: String,
    /// Pixels in a row, and rows.
    pub resolution: (u32, u32),
    /// Pictures a second.
    pub fps: u32,
    /// Where it is.
    pub url: String,
}

/// The text of the first element of this name, whatever its prefix.
pub(super) fn text(xml: &str, name: &str) -> Option<String> {
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let tag = &rest[..rest.find('>')?];
        let tag_name = tag.split([' ', '/']).next().unwrap_or("");
        if !tag.starts_with('/') && tag_name.rsplit(':').next() == Some(name) {
            let inside = &rest[tag.len() + 1..];
            return Some(inside[..inside.find('<')?].trim().to_owned());
        }
    }
    None
}

/// The answer to a call, if it is one for cameras.
pub(super) fn probe_match(call: &str, settings: &Settings, address: SocketAddr) -> Option<String> {
    if !call.contains("NetworkVideoTransmitter") {
        return None;
    }
    let id = text(call, "MessageID")?;
    let (maker, model) = &settings.make;
    Some(format!(
        r#"<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><SOAP-ENV:Header><wsa:RelatesTo>{id}</wsa:RelatesTo><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</wsa:Action></SOAP-ENV:Header><SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch><wsa:EndpointReference><wsa:Address>{name}</wsa:Address></wsa:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/Profile/Streaming onvif://www.onvif.org/name/{label} onvif://www.onvif.org/hardware/x</d:Scopes><d:XAddrs>http://{address}/onvif/device_service</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"#,
        name = settings.name,
        label = format!("{maker} {model}").replace(' ', "%20"),
    ))
}

/// The status and the body that answer a request.
pub(super) fn answer(request: &str, settings: &Settings, guard: &Guard, address: SocketAddr) -> (&'static str, String) {
    let asks =
        |question: &str| request.contains(&format!(":{question} ")) || request.contains(&format!(":{question}>"));
    if asks("GetSystemDateAndTime") {
        return ("200 OK", envelope(&time(guard)));
    }
    if let Err(why) = guard.admits(request) {
        tracing::info!(why, "a request is refused");
        return ("400 Bad Request", fault("NotAuthorized", "Sender not authorized"));
    }
    let newer = request.contains("ver20/media");
    let body = if asks("GetDeviceInformation") {
        let (maker, model) = &settings.make;
        format!(
            "<tds:GetDeviceInformationResponse><tds:Manufacturer>{maker}</tds:Manufacturer><tds:Model>{model}</tds:Model>\
             <tds:FirmwareVersion>1</tds:FirmwareVersion></tds:GetDeviceInformationResponse>"
        )
    } else if asks("GetServices") && settings.media2 {
        services(address)
    } else if asks("GetCapabilities") {
        format!(
            "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Device><tt:XAddr>http://{address}/onvif/device_service\
             </tt:XAddr></tt:Device><tt:Media><tt:XAddr>http://{address}/onvif/media</tt:XAddr></tt:Media>\
             </tds:Capabilities></tds:GetCapabilitiesResponse>"
        )
    } else if asks("GetProfiles") {
        profiles(settings, newer)
    } else if asks("GetStreamUri") {
        let wanted = text(request, "ProfileToken");
        let Some(profile) = settings.profiles.iter().find(|profile| Some(&profile.token) == wanted.as_ref()) else {
            return ("400 Bad Request", fault("NoProfile", "There is no such profile"));
        };
        if newer {
            format!("<tr2:GetStreamUriResponse><tr2:Uri>{}</tr2:Uri></tr2:GetStreamUriResponse>", profile.url)
        } else {
            format!(
                "<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{}</tt:Uri></trt:MediaUri></trt:GetStreamUriResponse>",
                profile.url
            )
        }
    } else {
        return ("400 Bad Request", fault("ActionNotSupported", "Optional action not implemented"));
    };
    ("200 OK", envelope(&body))
}

fn services(address: SocketAddr) -> String {
    let services = [("ver10/device", "device_service"), ("ver10/media", "media"), ("ver20/media", "media2")];
    let listed: String = services
        .iter()
        .map(|(namespace, path)| {
            format!(
                "<tds:Service><tds:Namespace>http://www.onvif.org/{namespace}/wsdl</tds:Namespace>\
                 <tds:XAddr>http://{address}/onvif/{path}</tds:XAddr></tds:Service>"
            )
        })
        .collect();
    format!("<tds:GetServicesResponse>{listed}</tds:GetServicesResponse>")
}

fn profiles(settings: &Settings, newer: bool) -> String {
    // The older service has no word for H.265.
    let known = settings.profiles.iter().filter(|profile| newer || profile.codec != "H265");
    let listed: String = known
        .map(|profile| {
            let Profile { token, codec, resolution: (width, height), fps, .. } = profile;
            let encoder = format!(
                "<tt:Name>{token}</tt:Name><tt:Encoding>{codec}</tt:Encoding><tt:Resolution><tt:Width>{width}</tt:Width>\
                 <tt:Height>{height}</tt:Height></tt:Resolution><tt:RateControl><tt:FrameRateLimit>{fps}\
                 </tt:FrameRateLimit></tt:RateControl>"
            );
            if newer {
                format!(
                    "<tr2:Profiles token=\"{token}\" fixed=\"true\"><tr2:Name>{token}</tr2:Name><tr2:Configurations>\
                     <tr2:VideoEncoder token=\"v\">{encoder}</tr2:VideoEncoder></tr2:Configurations></tr2:Profiles>"
                )
            } else {
                format!(
                    "<trt:Profiles token=\"{token}\" fixed=\"true\"><tt:Name>{token}</tt:Name>\
                     <tt:VideoEncoderConfiguration token=\"v\">{encoder}</tt:VideoEncoderConfiguration></trt:Profiles>"
                )
            }
        })
        .collect();
    if newer {
        format!("<tr2:GetProfilesResponse>{listed}</tr2:GetProfilesResponse>")
    } else {
        format!("<trt:GetProfilesResponse>{listed}</trt:GetProfilesResponse>")
    }
}

fn time(guard: &Guard) -> String {
    let now = glib::DateTime::from_unix_utc(guard.time()).ok();
    let part = |part: fn(&glib::DateTime) -> i32| now.as_ref().map_or(0, part);
    format!(
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>\
         <tt:UTCDateTime><tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
         <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime>\
         </tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>",
        part(glib::DateTime::hour),
        part(glib::DateTime::minute),
        part(glib::DateTime::second),
        part(glib::DateTime::year),
        part(glib::DateTime::month),
        part(glib::DateTime::day_of_month),
    )
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:tds=\"http://www.onvif.org/ver10/device/wsdl\" xmlns:trt=\"http://www.onvif.org/ver10/media/wsdl\" \
         xmlns:tr2=\"http://www.onvif.org/ver20/media/wsdl\" xmlns:tt=\"http://www.onvif.org/ver10/schema\" \
         xmlns:ter=\"http://www.onvif.org/ver10/error\"><env:Body>{body}</env:Body></env:Envelope>"
    )
}

fn fault(code: &str, reason: &str) -> String {
    envelope(&format!(
        "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:{code}</env:Value>\
         </env:Subcode></env:Code><env:Reason><env:Text xml:lang=\"en\">{reason}</env:Text></env:Reason></env:Fault>"
    ))
}
