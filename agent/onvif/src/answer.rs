//! What a camera's answers say.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use roxmltree::{Document, Node};

use crate::profile::Profile;
use crate::request::Media;
use crate::{limits, xml};

/// Why an answer does not say what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// User or password are wrong, or missing.
    #[error("it refused the user name or the password")]
    Unauthorised,
    /// It does not know the question, or will not answer it.
    #[error("it answered with a fault: {0}")]
    Fault(String),
    /// It can't be read.
    #[error("its answer can't be read: {0}")]
    BadXml(#[from] xml::BadXml),
    /// It says something else.
    #[error("its answer lacks {0}")]
    Lacks(&'static str),
}

/// Reads an answer, unless it is a fault.
pub(crate) fn read(text: &str) -> Result<Document<'_>, Refusal> {
    let document = xml::parse(text)?;
    let Some(fault) = xml::first(document.root(), "Fault") else { return Ok(document) };
    let codes: Vec<String> = xml::all(fault, "Value").filter_map(|node| node.text().and_then(xml::fit)).collect();
    let reason = xml::text(fault, "Text").or_else(|| xml::text(fault, "faultstring"));
    let refused = |text: &String| ["NotAuthorized", "FailedAuthentication"].iter().any(|code| text.contains(code));
    if codes.iter().chain(&reason).any(refused) {
        return Err(Refusal::Unauthorised);
    }
    Err(Refusal::Fault(reason.or(codes.into_iter().next_back()).unwrap_or_else(|| "without a reason".to_owned())))
}

/// The camera's clock.
pub(crate) fn time(document: &Document<'_>) -> Option<Timestamp> {
    let utc = xml::first(document.root(), "UTCDateTime")?;
    let civil = DateTime::new(
        xml::number(utc, "Year")?,
        xml::number(utc, "Month")?,
        xml::number(utc, "Day")?,
        xml::number(utc, "Hour")?,
        xml::number(utc, "Minute")?,
        // A leap second is a second of its minute.
        xml::number::<i8>(utc, "Second")?.min(59),
        0,
    );
    civil.ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Maker and model.
pub(crate) fn information(document: &Document<'_>) -> (Option<String>, Option<String>) {
    (xml::text(document.root(), "Manufacturer"), xml::text(document.root(), "Model"))
}

/// Where the media service of this version is, in the answer to either question.
pub(crate) fn media_service(document: &Document<'_>, media: Media) -> Option<String> {
    let listed = xml::all(document.root(), "Service")
        .find(|service| xml::text(*service, "Namespace").as_deref() == Some(media.namespace()))
        .and_then(|service| xml::text(service, "XAddr"));
    let capable = || {
        let capabilities = xml::first(document.root(), "Capabilities")?;
        xml::text(xml::first(capabilities, "Media")?, "XAddr")
    };
    if media == Media::One { listed.or_else(capable) } else { listed }
}

/// What it streams, without the addresses.
pub(crate) fn profiles(document: &Document<'_>) -> Vec<Profile> {
    xml::all(document.root(), "Profiles").filter_map(profile).take(limits::PROFILES_MAX).collect()
}

fn profile(node: Node<'_, '_>) -> Option<Profile> {
    let either = |one, two| xml::first(node, one).or_else(|| xml::first(node, two));
    let video = either("VideoEncoderConfiguration", "VideoEncoder")?;
    let audio = either("AudioEncoderConfiguration", "AudioEncoder");
    let resolution = xml::first(video, "Resolution");
    Some(Profile {
        token: xml::fit(node.attribute("token")?)?,
        name: xml::text(node, "Name"),
        codec: xml::text(video, "Encoding").map(|codec| codec.to_ascii_uppercase()),
        resolution: resolution.and_then(|size| Some((xml::number(size, "Width")?, xml::number(size, "Height")?))),
        fps: xml::number::<f64>(video, "FrameRateLimit").and_then(whole),
        audio: audio.and_then(|audio| xml::text(audio, "Encoding")),
        url: None,
    })
}

/// Version two of the media service has rates with fractions.
fn whole(rate: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies within 1 and 1000")]
    (1.0..=1000.0).contains(&rate).then(|| rate.round() as u32)
}

/// Where a profile is streamed, as the camera says.
pub(crate) fn stream_uri(document: &Document<'_>) -> Option<String> {
    xml::text(document.root(), "Uri")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_told_from_other_faults() {
        let fault = |code: &str| {
            format!(
                "<e><Fault><Code><Value>s:Sender</Value><Subcode><Value>{code}</Value></Subcode></Code></Fault></e>"
            )
        };
        assert_eq!(read(&fault("ter:NotAuthorized")).unwrap_err(), Refusal::Unauthorised);
        assert_eq!(read(&fault("w:FailedAuthentication")).unwrap_err(), Refusal::Unauthorised);
        assert_eq!(read(&fault("ter:NoProfile")).unwrap_err(), Refusal::Fault("ter:NoProfile".to_owned()));
    }

    #[test]
    fn a_cameras_clock_is_read_and_nonsense_is_not() {
        let text = |month| {
            format!(
                "<a><UTCDateTime><Time><Hour>1</Hour><Minute>2</Minute><Second>60</Second></Time>\
                 <Date><Year>2020</Year><Month>{month}</Month><Day>4</Day></Date></UTCDateTime></a>"
            )
        };
        let well = text(3);
        assert_eq!(time(&read(&well).unwrap()).unwrap().to_string(), "2020-03-04T01:02:59Z");
        let nonsense = text(13);
        assert_eq!(time(&read(&nonsense).unwrap()), None);
    }

    #[test]
    fn profiles_of_both_versions_are_read_alike() {
        let one = "<r><Profiles token='p'><Name>n</Name><VideoEncoderConfiguration><Name>v</Name><Encoding>H264</Encoding>\
            <Resolution><Width>640</Width><Height>360</Height></Resolution><RateControl><FrameRateLimit>25</FrameRateLimit>\
            </RateControl></VideoEncoderConfiguration><AudioEncoderConfiguration><Encoding>G711</Encoding>\
            </AudioEncoderConfiguration></Profiles></r>";
        let two = one.replace("Configuration>", ">").replace(">25<", ">25.0<");
        let wanted = Profile {
            token: "p".to_owned(),
            name: Some("n".to_owned()),
            codec: Some("H264".to_owned()),
            resolution: Some((640, 360)),
            fps: Some(25),
            audio: Some("G711".to_owned()),
            url: None,
        };
        for text in [one, &two] {
            assert_eq!(profiles(&read(text).unwrap()), std::slice::from_ref(&wanted), "{text}");
        }
    }

    #[test]
    fn no_more_profiles_are_taken_than_a_camera_has() {
        let many = "<Profiles token='p'><VideoEncoder/></Profiles>".repeat(1000);
        assert_eq!(profiles(&read(&format!("<r>{many}</r>")).unwrap()).len(), limits::PROFILES_MAX);
    }
}
