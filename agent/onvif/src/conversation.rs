//! What is asked of one camera, and what is asked next.
//!
//! ```text
//! time → information → services ─┬→ profiles (media 2) → stream of each profile
//!                      │         └→ profiles (media 1) → stream of each profile
//!                      └ a fault → capabilities ─┘
//! ```
//!
//! No I/O: [`Conversation::next`] says what to send where, [`Conversation::take`] is told what came back.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::address::Host;
use crate::answer::{self, Refusal};
use crate::profile::Profile;
use crate::request::{Media, Question};

/// A user of a camera. Its `Debug` form shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a camera said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Camera {
    /// Who made it.
    pub maker: Option<String>,
    /// Which model it is.
    pub model: Option<String>,
    /// How far its clock is ahead.
    pub clock_ahead: SignedDuration,
    /// What it streams.
    pub profiles: Vec<Profile>,
}

/// A message to a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub url: String,
    /// What.
    pub text: String,
}

/// A conversation with one camera.
#[derive(Debug)]
pub struct Conversation {
    host: Host,
    device: String,
    /// The media services that it has, best first; the first is in use.
    media: VecDeque<(Media, String)>,
    credentials: Option<Credentials>,
    questions: VecDeque<Question>,
    camera: Camera,
}

impl Conversation {
    /// Begins one with the device service at `device`, which is on `host`.
    pub fn new(host: Host, device: String, credentials: Option<Credentials>) -> Self {
        Self {
            host,
            device,
            media: VecDeque::new(),
            credentials,
            questions: [Question::Time, Question::Information, Question::Services].into(),
            camera: Camera::default(),
        }
    }

    /// What to send next; nothing once all is known. `now` is this device's time, `nonce` a random number.
    pub fn next(&self, now: Timestamp, nonce: u128) -> Option<Message> {
        let question = self.questions.front()?;
        let url = match question {
            Question::Profiles(_) | Question::StreamUri(..) => &self.media.front()?.1,
            _ => &self.device,
        };
        // A clock can be asked by anyone, and only then is known what time to put into a proof.
        let credentials = self.credentials.as_ref().filter(|_| *question != Question::Time);
        let its_time = now.checked_add(self.camera.clock_ahead).unwrap_or(now);
        let text = question.message(credentials.map(|credentials| (credentials, its_time, nonce)));
        Some(Message { url: url.clone(), text })
    }

    /// The answer to what [`next`](Self::next) gave, which came at `now`.
    pub fn take(&mut self, answer: &str, now: Timestamp) -> Result<(), Refusal> {
        let Some(question) = self.questions.pop_front() else { return Ok(()) };
        let document = match answer::read(answer) {
            Ok(document) => document,
            Err(refusal) => return self.refused(&question, refusal),
        };
        match question {
            Question::Time => {
                self.camera.clock_ahead =
                    answer::time(&document).map_or(SignedDuration::ZERO, |time| time.duration_since(now));
            }
            Question::Information => (self.camera.maker, self.camera.model) = answer::information(&document),
            Question::Services | Question::Capabilities => {
                for media in [Media::Two, Media::One] {
                    let told = answer::media_service(&document, media);
                    let service = told.and_then(|url| self.host.take_over(&url, &["http"]));
                    self.media.extend(service.map(|service| (media, service)));
                }
                let first = self.media.front().ok_or(Refusal::Lacks("a media service over http"))?.0;
                self.questions.push_back(Question::Profiles(first));
            }
            Question::Profiles(media) => {
                self.camera.profiles = answer::profiles(&document);
                if self.camera.profiles.is_empty() && self.try_next_media() {
                    return Ok(());
                }
                let streams = self.camera.profiles.iter().map(|profile| profile.token.clone());
                self.questions.extend(streams.map(|token| Question::StreamUri(media, token)));
            }
            Question::StreamUri(_, token) => {
                let told = answer::stream_uri(&document);
                let url = told.and_then(|url| self.host.take_over(&url, &["rtsp", "rtsps"]));
                if let Some(profile) = self.camera.profiles.iter_mut().find(|profile| profile.token == token) {
                    profile.url = url;
                }
            }
        }
        Ok(())
    }

    /// What is known of the camera.
    pub fn camera(self) -> Camera {
        self.camera
    }

    /// A camera that refuses one question may answer another.
    fn refused(&mut self, question: &Question, refusal: Refusal) -> Result<(), Refusal> {
        match (question, &refusal) {
            // Without its time, ours may do; without its maker, it still streams.
            (Question::Time, _) => Ok(()),
            (_, Refusal::Unauthorised) => Err(refusal),
            (Question::Information | Question::StreamUri(..), _) => Ok(()),
            (Question::Services, _) => {
                self.questions.push_front(Question::Capabilities);
                Ok(())
            }
            (Question::Profiles(_), _) if self.try_next_media() => Ok(()),
            _ => Err(refusal),
        }
    }

    /// Goes on with the other media service, if there is one.
    fn try_next_media(&mut self) -> bool {
        self.media.pop_front();
        let Some((media, _)) = self.media.front() else { return false };
        self.questions.push_front(Question::Profiles(*media));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: &str = "<e><Fault><Reason><Text>not here</Text></Reason></Fault></e>";
    const SERVICES: &str = "<r><Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace>\
        <XAddr>http://10.9.9.9/one</XAddr></Service><Service><Namespace>http://www.onvif.org/ver20/media/wsdl</Namespace>\
        <XAddr>http://10.9.9.9:81/two</XAddr></Service></r>";
    const PROFILES: &str =
        "<r><Profiles token='a'><VideoEncoder><Encoding>h264</Encoding></VideoEncoder></Profiles></r>";

    #[test]
    fn a_proof_carries_the_cameras_time_and_not_ours() {
        let mut talk = conversation();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(!talk.next(now, 1).unwrap().text.contains("UsernameToken"), "the time is asked without a proof");
        talk.take(
            "<UTCDateTime><Year>2011</Year><Month>1</Month><Day>1</Day><Hour>0</Hour><Minute>0</Minute>\
             <Second>0</Second></UTCDateTime>",
            now,
        )
        .unwrap();
        let later = now + SignedDuration::from_secs(5);
        assert!(talk.next(later, 1).unwrap().text.contains("<u:Created>2011-01-01T00:00:05.000Z"));
    }

    #[test]
    fn services_and_streams_of_other_hosts_are_asked_at_the_cameras_own() {
        let mut talk = conversation();
        for answer in ["<r/>", "<r/>", SERVICES] {
            take(&mut talk, answer);
        }
        assert_eq!(url(&talk), "http://192.168.1.20:81/two");
        take(&mut talk, PROFILES);
        take(&mut talk, "<r><Uri>rtsp://10.9.9.9/live</Uri></r>");
        assert!(talk.next(Timestamp::UNIX_EPOCH, 1).is_none());
        let camera = talk.camera();
        assert_eq!(camera.profiles[0].url.as_deref(), Some("rtsp://192.168.1.20/live"));
        assert_eq!(camera.profiles[0].codec.as_deref(), Some("H264"));
    }

    #[test]
    fn a_camera_without_the_newer_questions_is_asked_the_older_ones() {
        let mut talk = conversation();
        for answer in ["<r/>", FAULT, FAULT] {
            take(&mut talk, answer);
        }
        take(&mut talk, "<r><Capabilities><Media><XAddr>http://192.168.1.20/one</XAddr></Media></Capabilities></r>");
        assert_eq!(url(&talk), "http://192.168.1.20/one");
    }

    #[test]
    fn where_the_newer_media_service_fails_the_older_is_asked() {
        for failure in [FAULT, "<r/>"] {
            let mut talk = conversation();
            for answer in ["<r/>", "<r/>", SERVICES, failure] {
                take(&mut talk, answer);
            }
            assert_eq!(url(&talk), "http://192.168.1.20/one");
            take(&mut talk, PROFILES);
            assert_eq!(url(&talk), "http://192.168.1.20/one");
        }
    }

    #[test]
    fn a_refused_password_ends_it() {
        let mut talk = conversation();
        take(&mut talk, "<r/>");
        let refusal = "<e><Fault><Subcode><Value>ter:NotAuthorized</Value></Subcode></Fault></e>";
        assert_eq!(talk.take(refusal, Timestamp::UNIX_EPOCH), Err(Refusal::Unauthorised));
    }

    proptest::proptest! {
        #[test]
        fn no_answers_panic_and_every_conversation_ends(answers: Vec<String>) {
            let mut talk = conversation();
            let usual = ["<r/>", "<r/>", SERVICES, PROFILES];
            for answer in usual.into_iter().chain(answers.iter().map(String::as_str)) {
                if talk.next(Timestamp::UNIX_EPOCH, 1).is_none() || talk.take(answer, Timestamp::UNIX_EPOCH).is_err() {
                    break;
                }
            }
        }
    }

    fn conversation() -> Conversation {
        let credentials = Credentials { user: "me".to_owned(), password: "hush".to_owned() };
        Conversation::new(Host::new("192.168.1.20").unwrap(), "http://192.168.1.20/d".to_owned(), Some(credentials))
    }

    fn take(talk: &mut Conversation, answer: &str) {
        talk.take(answer, Timestamp::UNIX_EPOCH).unwrap();
    }

    fn url(talk: &Conversation) -> String {
        talk.next(Timestamp::UNIX_EPOCH, 1).unwrap().url
    }
}
