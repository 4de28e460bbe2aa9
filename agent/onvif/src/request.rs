//! The messages to a camera, SOAP 1.2, and the proof that the password is known.
//!
//! ```text
//! PasswordDigest = Base64(SHA-1(nonce + created + password))    WS-UsernameToken 1.0
//! ```
//!
//! A camera takes a digest only if `created` is near what its own clock says, and many clocks of cameras are wrong: the
//! caller gives the camera's time.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::conversation::Credentials;
use crate::xml::escaped;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What the camera's clock says. Answered to anyone.
    Time,
    /// Maker and model.
    Information,
    /// Where its other services are.
    Services,
    /// The same, of cameras that do not know the question before.
    Capabilities,
    /// What it streams, of the media service of this version.
    Profiles(Media),
    /// Where it streams the profile with this token.
    StreamUri(Media, String),
}

/// The two versions of the media service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// H.264, JPEG and MPEG-4 only.
    One,
    /// H.265 too.
    Two,
}

impl Media {
    /// Its namespace.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::One => "http://www.onvif.org/ver10/media/wsdl",
            Self::Two => "http://www.onvif.org/ver20/media/wsdl",
        }
    }
}

impl Question {
    fn body(&self) -> String {
        let device = "xmlns:q=\"http://www.onvif.org/ver10/device/wsdl\"";
        match self {
            Self::Time => format!("<q:GetSystemDateAndTime {device}/>"),
            Self::Information => format!("<q:GetDeviceInformation {device}/>"),
            Self::Services => {
                format!("<q:GetServices {device}><q:IncludeCapability>false</q:IncludeCapability></q:GetServices>")
            }
            Self::Capabilities => {
                format!("<q:GetCapabilities {device}><q:Category>All</q:Category></q:GetCapabilities>")
            }
            Self::Profiles(media @ Media::One) => format!("<q:GetProfiles xmlns:q=\"{}\"/>", media.namespace()),
            Self::Profiles(media @ Media::Two) => format!(
                "<q:GetProfiles xmlns:q=\"{}\"><q:Type>VideoEncoder</q:Type><q:Type>AudioEncoder</q:Type></q:GetProfiles>",
                media.namespace()
            ),
            Self::StreamUri(media @ Media::One, token) => format!(
                "<q:GetStreamUri xmlns:q=\"{}\" xmlns:t=\"http://www.onvif.org/ver10/schema\"><q:StreamSetup>\
                 <t:Stream>RTP-Unicast</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol></t:Transport>\
                 </q:StreamSetup><q:ProfileToken>{}</q:ProfileToken></q:GetStreamUri>",
                media.namespace(),
                escaped(token)
            ),
            Self::StreamUri(media @ Media::Two, token) => format!(
                "<q:GetStreamUri xmlns:q=\"{}\"><q:Protocol>RTSP</q:Protocol><q:ProfileToken>{}</q:ProfileToken>\
                 </q:GetStreamUri>",
                media.namespace(),
                escaped(token)
            ),
        }
    }

    /// The message. `credentials` come with the camera's time and a number that was not used before.
    pub(crate) fn message(&self, credentials: Option<(&Credentials, Timestamp, u128)>) -> String {
        let header = credentials.map(|(credentials, time, nonce)| security(credentials, time, &nonce.to_be_bytes()));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
             <s:Header>{}</s:Header><s:Body>{}</s:Body></s:Envelope>",
            header.unwrap_or_default(),
            self.body()
        )
    }
}

/// The header that proves that the password is known.
fn security(credentials: &Credentials, time: Timestamp, nonce: &[u8]) -> String {
    const WSS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss";
    let created = format!("{:.3}", time);
    format!(
        "<w:Security s:mustUnderstand=\"1\" xmlns:w=\"{WSS}-wssecurity-secext-1.0.xsd\" \
         xmlns:u=\"{WSS}-wssecurity-utility-1.0.xsd\"><w:UsernameToken><w:Username>{}</w:Username>\
         <w:Password Type=\"{WSS}-username-token-profile-1.0#PasswordDigest\">{}</w:Password>\
         <w:Nonce EncodingType=\"{WSS}-soap-message-security-1.0#Base64Binary\">{}</w:Nonce>\
         <u:Created>{created}</u:Created></w:UsernameToken></w:Security>",
        escaped(&credentials.user),
        password_digest(nonce, &created, &credentials.password),
        STANDARD.encode(nonce),
    )
}

fn password_digest(nonce: &[u8], created: &str, password: &str) -> String {
    let mut digested = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    digested.update(nonce);
    digested.update(created.as_bytes());
    digested.update(password.as_bytes());
    STANDARD.encode(digested.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_standards_example() {
        // ONVIF, Application Programmer's Guide, chapter 6.
        let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
        let digest = password_digest(&nonce, "2010-09-16T07:50:45Z", "userpassword");
        assert_eq!(digest, "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
    }

    #[test]
    fn the_password_itself_is_not_in_the_message() {
        let credentials = Credentials { user: "<me>".to_owned(), password: "hush".to_owned() };
        let message = Question::Information.message(Some((&credentials, Timestamp::UNIX_EPOCH, 7)));
        assert!(!message.contains("hush"));
        assert!(message.contains("&lt;me&gt;") && message.contains("<u:Created>1970-01-01T00:00:00.000Z</u:Created>"));
    }

    #[test]
    fn a_token_of_a_camera_stays_a_text_in_the_next_question() {
        let question = Question::StreamUri(Media::Two, "a</q:ProfileToken><x>".to_owned());
        assert!(crate::xml::parse(&question.message(None)).is_ok());
        assert!(question.message(None).contains("a&lt;/q:ProfileToken&gt;&lt;x&gt;"));
    }
}
