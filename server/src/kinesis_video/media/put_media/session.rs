//! A session from its first byte to its last ack.
//!
//! Two things go on at once: reading, which cuts the body into fragments and tells that they come, and storing, which tells that
//! they are on disk. Between them lie a few fragments. When reading ends, for whatever reason, what is whole is stored and told
//! first, and an error is the last word.

use std::time::Instant;

use archive::{Archive, Stream};
use axum::body::{Body, Bytes};
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant as Moment, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use upload::put_media::{self, Ack, Event, Fragment, Splitter, Timecodes};
use upload::{ErrorCode, FragmentHeader, FragmentKey};

use super::acks::Acks;
use super::pace::Pace;
use super::sessions::Place;
use super::{First, Receiving};
use crate::budget::{NoRoom, Reservation, Share};
use crate::intake::{self, Refusal, Whole};
use crate::kinesis_video::authentication::Standing;
use crate::kinesis_video::deliveries::{Deliveries, Persisted};
use crate::kinesis_video::{Service, fragment_number};
use crate::presence::Presence;
use crate::{limits, storage, telemetry};

/// A session that has been accepted.
pub(super) struct Session {
    archive: Archive,
    receiving: Receiving,
    deliveries: Deliveries,
    stream: Stream,
    standing: Standing,
    place: Place,
    timecodes: Timecodes,
    /// The first half of what its fragments are known by.
    id: SessionId,
}

/// Why a session ends.
enum End {
    /// The producer has ended it.
    Done,
    /// The connection broke.
    Gone(String),
    /// We end it, and the producer may come again.
    Ended(&'static str),
    /// Something was wrong, which the producer is told.
    Refused(Failure),
}

/// What was wrong, and with which fragment.
struct Failure {
    refusal: Refusal,
    timecode: Option<u64>,
    number: Option<FragmentNumber>,
}

/// A fragment that has begun.
#[derive(Clone, Copy)]
struct Begun {
    timecode: u64,
    number: FragmentNumber,
    arrived: WallTime,
}

/// A fragment that is whole and to be stored.
struct Received {
    fragment: Fragment,
    begun: Begun,
    sequence: Sequence,
    last_byte: Instant,
    reservation: Reservation,
}

impl Session {
    /// A session of which nothing has come.
    pub(super) fn new(
        service: Service,
        stream: Stream,
        standing: Standing,
        place: Place,
        timecodes: Timecodes,
    ) -> Self {
        let Service { archive, receiving, deliveries, .. } = service;
        Self { archive, receiving, deliveries, stream, standing, place, timecodes, id: SessionId(fastrand::u64(..)) }
    }

    /// Runs it to its end.
    pub(super) async fn run(self, first: First, mut body: Body, acks: Acks) {
        let _counted = telemetry::OpenProducer::new();
        let (storing, queue) = mpsc::channel(limits::PRODUCER_FRAGMENTS_QUEUED_MAX);
        let failed = CancellationToken::new();
        let reading = Reading::new(&self, &acks).run(first, &mut body, storing, &failed);
        let (read, stored) = tokio::join!(reading, self.store(queue, &acks, &failed));
        // A fragment that could not be stored came before whatever ended reading.
        let stream = &self.stream.name;
        match stored.err().map_or(read, End::Refused) {
            End::Done => tracing::info!(%stream, "a producer has ended its session"),
            End::Gone(why) => tracing::info!(%stream, why, "a producer's connection broke off"),
            End::Ended(why) => tracing::info!(%stream, why, "a producer's session was ended"),
            End::Refused(failure) => self.refuse(&acks, failure).await,
        }
        drop((self, acks));
        linger(body).await;
    }

    /// Stores what comes, several at once, and tells of each in its order. Ends at the first that can't be stored.
    async fn store(
        &self,
        mut queue: mpsc::Receiver<Received>,
        acks: &Acks,
        failed: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut under_way = FuturesOrdered::new();
        let mut comes_more = true;
        loop {
            tokio::select! {
                received = queue.recv(), if comes_more && under_way.len() < limits::PRODUCER_FRAGMENTS_STORING_MAX => {
                    match received {
                        Some(received) => under_way.push_back(self.store_one(received)),
                        None => comes_more = false,
                    }
                }
                Some(stored) = under_way.next() => {
                    let (timecode, number) = stored.inspect_err(|_| failed.cancel())?;
                    if self.keeps_fragments() {
                        let number = &fragment_number::format(number);
                        acks.tell(Ack::Persisted { timecode, number }).await;
                    }
                }
                else => return Ok(()),
            }
        }
    }

    /// Stores a fragment: on disk when it answers.
    async fn store_one(&self, received: Received) -> Result<(u64, FragmentNumber), Failure> {
        let Received { fragment, begun, sequence, last_byte, reservation } = received;
        let bytes = fragment.document.len();
        let key = FragmentKey { stream: self.stream.name.clone(), id: FragmentId { session: self.id, sequence } };
        let whole = Whole {
            header: FragmentHeader {
                key,
                start: fragment.start,
                quality: ClockQuality::Given,
                monotonic: None,
                live: true,
            },
            payload: fragment.document,
            duration: fragment.duration,
            tracks: fragment.tracks,
            independent: fragment.independent,
        };
        let stored = storage::store_in(&self.archive, self.stream.id, whole, begun.arrived).await;
        drop(reservation);
        let stored = stored.map_err(|refusal| Failure::of(begun, refusal))?;
        telemetry::persisted(&self.stream.name, bytes, last_byte.elapsed());
        self.deliveries.note(&Persisted {
            stream: self.stream.clone(),
            number: stored.number,
            start: fragment.start,
            arrived: begun.arrived,
            duration: fragment.duration,
            tags: fragment.tags,
        });
        Ok((begun.timecode, stored.number))
    }

    /// Whether the stream is more than live only; that can change while a session goes on.
    fn keeps_fragments(&self) -> bool {
        let stream = self.archive.stream(self.stream.id).ok().flatten();
        stream.is_some_and(|stream| !stream.retention.time().is_zero())
    }

    async fn refuse(&self, acks: &Acks, failure: Failure) {
        let Failure { refusal, timecode, number } = failure;
        let (stream, code) = (&self.stream.name, refusal.code);
        telemetry::refused(code);
        tracing::warn!(%stream, ?timecode, %code, why = %refusal, "a producer's session ends with an error");
        let number = number.map(fragment_number::format);
        acks.tell(Ack::Error { code, timecode, number: number.as_deref() }).await;
    }
}

impl Failure {
    fn of(begun: Begun, refusal: Refusal) -> Self {
        Self { refusal, timecode: Some(begun.timecode), number: Some(begun.number) }
    }
}

/// The half of a session that takes what comes.
struct Reading<'a> {
    session: &'a Session,
    acks: &'a Acks,
    splitter: Splitter,
    pace: Pace,
    share: Share,
    reservation: Reservation,
    presence: Presence,
    begun: Option<Begun>,
    last_number: Option<FragmentNumber>,
    next: Sequence,
}

impl<'a> Reading<'a> {
    fn new(session: &'a Session, acks: &'a Acks) -> Self {
        let Receiving { profile, budget, presences, .. } = &session.receiving;
        let share = budget.share(limits::PRODUCER_BYTES_MAX, limits::RESERVATION_WAIT);
        Self {
            session,
            acks,
            splitter: Splitter::new(profile.media, session.timecodes),
            pace: Pace::new(profile, Moment::now()),
            reservation: share.reservation(),
            share,
            presence: presences.connect(),
            begun: None,
            last_number: None,
            next: Sequence(0),
        }
    }

    /// Reads until there is a reason to end.
    async fn run(
        mut self,
        first: First,
        body: &mut Body,
        storing: mpsc::Sender<Received>,
        failed: &CancellationToken,
    ) -> End {
        let session = self.session;
        tokio::select! {
            biased;
            () = session.receiving.stop.cancelled() => End::Ended("the server shuts down"),
            () = failed.cancelled() => End::Ended("a fragment could not be stored"),
            () = session.place.lost() => End::Ended("newer sessions of the stream have taken its place"),
            () = sleep(session.receiving.profile.session_max) => {
                let refusal = Refusal::new(ErrorCode::ConnectionTooLong, "the session is as old as one may be");
                End::Refused(self.failure(refusal))
            }
            end = self.read(first, body, storing) => end.unwrap_or_else(|end| end),
        }
    }

    async fn read(&mut self, mut first: First, body: &mut Body, storing: mpsc::Sender<Received>) -> Result<End, End> {
        loop {
            if let Some(moment) = self.pace.goes_on_at() {
                sleep_until(moment).await;
            }
            let frame = match first.take() {
                Some(frame) => Some(frame),
                None => self.next_frame(body).await?,
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.take(bytes, &storing).await?;
                }
                Some(Err(error)) => return Err(End::Gone(error.to_string())),
                None => {
                    self.splitter.finish();
                    self.go_through(storage::now(), &storing).await?;
                    return Ok(End::Done);
                }
            }
        }
    }

    /// The next of the body. While nothing comes, the producer hears that it is waited for.
    async fn next_frame(&mut self, body: &mut Body) -> Result<First, End> {
        let since = Moment::now();
        loop {
            match timeout(limits::IDLE_ACK_INTERVAL, body.frame()).await {
                Ok(frame) => return Ok(frame),
                Err(_) if since.elapsed() >= self.session.receiving.profile.idle_max => {
                    return Err(End::Ended("nothing came for too long"));
                }
                Err(_) => self.acks.tell(Ack::Idle).await,
            }
        }
    }

    async fn take(&mut self, bytes: Bytes, storing: &mpsc::Sender<Received>) -> Result<(), End> {
        let count = bytes.len();
        self.splitter.push(bytes);
        let fragments = self.go_through(storage::now(), storing).await?;
        self.hold(self.splitter.buffered()).await?;
        self.pace.took(count, fragments, Moment::now());
        Ok(())
    }

    /// Goes through what has come; gives how many fragments were whole by that.
    async fn go_through(&mut self, now: WallTime, storing: &mpsc::Sender<Received>) -> Result<u64, End> {
        let mut whole = 0;
        loop {
            match self.splitter.next() {
                Ok(None) => return Ok(whole),
                Ok(Some(Event::Begun { timecode, start })) => self.begin(timecode, start, now).await?,
                Ok(Some(Event::Whole(fragment))) => {
                    self.received(fragment, storing).await?;
                    whole += 1;
                }
                Err(error) => return Err(End::Refused(self.malformed(error))),
            }
        }
    }

    async fn begin(&mut self, timecode: u64, start: WallTime, now: WallTime) -> Result<(), End> {
        // The archive numbers it when it is stored, by the same rule; so it is the same number, unless others store in the
        // stream at the same time.
        let after = |last: FragmentNumber| FragmentNumber(last.0 + 1);
        let number =
            self.last_number.map(after).max(Some(FragmentNumber::at(now))).unwrap_or_else(|| FragmentNumber::at(now));
        let begun = Begun { timecode, number, arrived: now };
        (self.begun, self.last_number) = (Some(begun), Some(number));
        if self.session.standing.holds().await.is_err() {
            return Err(End::Ended("its access key is good no more"));
        }
        intake::check_start(start, now).map_err(|refusal| End::Refused(Failure::of(begun, refusal)))?;
        self.presence.sends(&self.session.stream.name);
        self.acks.tell(Ack::Buffering { timecode, number: &fragment_number::format(number) }).await;
        Ok(())
    }

    async fn received(&mut self, fragment: Fragment, storing: &mpsc::Sender<Received>) -> Result<(), End> {
        let begun = self.begun.take().expect("a fragment begins before it is whole");
        let number = &fragment_number::format(begun.number);
        self.acks.tell(Ack::Received { timecode: begun.timecode, number }).await;
        self.hold(fragment.document.len()).await?;
        let reservation = std::mem::replace(&mut self.reservation, self.share.reservation());
        let sequence = self.next;
        self.next = sequence.next();
        let received = Received { fragment, begun, sequence, last_byte: Instant::now(), reservation };
        // Nobody takes it after one before it could not be stored; that ends this too.
        let _ = storing.send(received).await;
        Ok(())
    }

    /// Makes sure that there is room for what is held of the fragment under way.
    async fn hold(&mut self, bytes: usize) -> Result<(), End> {
        let held = self.reservation.hold(bytes).await;
        held.map_err(|error: NoRoom| End::Refused(self.failure(Refusal::new(ErrorCode::Overloaded, error.to_string()))))
    }

    /// The failure of the fragment under way, or of the session between two.
    fn failure(&self, refusal: Refusal) -> Failure {
        match self.begun {
            Some(begun) => Failure::of(begun, refusal),
            None => Failure { refusal, timecode: None, number: None },
        }
    }

    fn malformed(&self, error: put_media::Error) -> Failure {
        let refusal = Refusal::new(error.code, error.message);
        match self.begun {
            Some(begun) if error.timecode == Some(begun.timecode) => Failure::of(begun, refusal),
            _ => Failure { refusal, timecode: error.timecode, number: None },
        }
    }
}

/// Reads on for a while, for nothing. A connection that is closed with bytes unread is reset, and the producer would never see the
/// last ack.
async fn linger(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(limits::PRODUCER_LINGER, rest).await;
}
