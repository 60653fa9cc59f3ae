//! One connection: hello, identify or resume, then events until it ends.
//!
//! ```text
//! hello -> identify -> active -> detached -> resumed (active) ...
//!      \-> resume  /        \-> ended (client said 1000/1001)  \-> expired
//! ```
//!
//! The task sleeps until its socket has something to read, its link wakes it, or a full socket can
//! take more. Input is read into the stack; an idle connection owns no buffer.
//!
//! Invariants: READY is the first dispatch of a session; while guilds are sent one by one, each is
//! on the wire before the next one is built; a socket that takes nothing for
//! [`UNWRITABLE_MAX`] is closed with a code that allows to resume.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::link::Link;
use super::rate::CommandRate;
use super::registry::{HEARTBEAT_INTERVAL, Sessions};
use super::session::{ResumeError, SessionFacts};
use super::writer::Writer;
use super::{CloseCode, Command, Identify, RequestMembers, Resume, Session, SessionId};
use crate::events::{Event, EventKind, Intents};
use crate::ws::frame::{Decoder, FrameError, Incoming};

/// How long a socket may take nothing while something waits for it.
const UNWRITABLE_MAX: Duration = Duration::from_secs(15);
/// How long the close frame may take to leave.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Bytes read from the socket at once.
const READ_BYTES: usize = 4096;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server closes it with this code.
    Close(CloseCode),
    /// Somebody else asked for this code.
    Wanted(u16),
    /// The client sent a close frame.
    Client(Option<u16>),
    /// The socket broke.
    Lost,
    /// The node goes down.
    Reconnect,
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self::Close(code)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Close(match error {
            FrameError::Protocol(_) => CloseCode::Protocol,
            FrameError::TooLong => CloseCode::Decode,
        })
    }
}

impl From<super::PlatformError> for End {
    fn from(_: super::PlatformError) -> Self {
        Self::Close(CloseCode::Unknown)
    }
}

impl End {
    /// Whether the session waits for its client.
    fn keeps_session(self) -> bool {
        match self {
            Self::Close(code) => !code.ends_session(),
            Self::Client(code) => !matches!(code, Some(1000 | 1001)),
            Self::Wanted(_) | Self::Lost | Self::Reconnect => true,
        }
    }

    /// The close frame to send.
    fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Close(code) => Some((code.code(), code.reason())),
            Self::Wanted(code) if code == CloseCode::SessionTimedOut.code() => {
                Some((code, CloseCode::SessionTimedOut.reason()))
            }
            Self::Wanted(code) => Some((code, CloseCode::Unknown.reason())),
            Self::Client(code) => Some((code.unwrap_or(1000), "")),
            Self::Reconnect => Some((CloseCode::Unknown.code(), "going down, resume elsewhere")),
            Self::Lost => None,
        }
    }
}

/// A connection and what it needs while it lives.
struct Connection {
    sessions: Arc<Sessions>,
    io: TcpStream,
    resume_url: Box<str>,
    link: Arc<Link>,
    decoder: Decoder,
    writer: Writer,
    session: Option<Arc<Session>>,
    rate: CommandRate,
}

/// Serves a socket after its handshake until it ends. `early` is what the client sent too soon,
/// `refusal` a reason to close right away, `resume_url` where the client is told to come back to.
pub(super) async fn serve(
    sessions: Arc<Sessions>,
    (io, early): (TcpStream, Bytes),
    resume_url: Box<str>,
    refusal: Option<CloseCode>,
) {
    if let Err(error) = io.set_nodelay(true) {
        tracing::debug!(%error, "socket is gone before its first byte");
        return;
    }
    let mut connection = Connection {
        link: sessions.connect(),
        sessions,
        io,
        resume_url,
        decoder: Decoder::default(),
        writer: Writer::default(),
        session: None,
        rate: CommandRate::default(),
    };
    connection.decoder.push(&early);
    // Even when empty it keeps the read buffer of hyper alive.
    drop(early);
    let end = match refusal {
        Some(code) => End::Close(code),
        None => match connection.run().await {
            Err(end) => end,
            Ok(never) => match never {},
        },
    };
    connection.finish(end).await;
}

impl Connection {
    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        let interval = HEARTBEAT_INTERVAL.as_millis();
        self.writer.text(&format!(
            r#"{{"t":null,"s":null,"op":10,"d":{{"heartbeat_interval":{interval},"_trace":[]}}}}"#
        ));
        let mut blocked_until = None;
        loop {
            self.check_link()?;
            while let Some(incoming) = self.decoder.next()? {
                self.accept(incoming).await?;
            }
            blocked_until = match (self.flush()?, blocked_until) {
                (false, _) => None,
                (true, None) => Some(Instant::now() + UNWRITABLE_MAX),
                (true, until) => until,
            };
            self.wait(blocked_until).await?;
        }
    }

    /// Sleeps until something happened, and reads if there is something to read.
    async fn wait(&mut self, blocked_until: Option<Instant>) -> Result<(), End> {
        let Some(until) = blocked_until else {
            tokio::select! {
                () = self.link.woken() => return Ok(()),
                ready = self.io.readable() => ready?,
            }
            return self.read();
        };
        let until = Box::pin(tokio::time::sleep_until(until));
        tokio::select! {
            () = self.link.woken() => return Ok(()),
            ready = self.io.writable() => return Ok(ready?),
            () = until => return Err(CloseCode::Unknown.into()),
            ready = self.io.readable() => ready?,
        }
        self.read()
    }

    fn read(&mut self) -> Result<(), End> {
        let mut buffer = [0; READ_BYTES];
        match self.io.try_read(&mut buffer) {
            Ok(0) => Err(End::Lost),
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn check_link(&mut self) -> Result<(), End> {
        if let Some(code) = self.link.wanted_close() {
            return Err(End::Wanted(code));
        }
        if self.link.wants_reconnect() || self.sessions.is_stopping() {
            self.writer.text(r#"{"t":null,"s":null,"op":7,"d":null}"#);
            return Err(End::Reconnect);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<bool> {
        let session = self.session.as_ref().map(|session| (session, &self.link));
        self.writer.flush(&self.io, session)
    }

    /// Writes everything that waits.
    async fn drain(&mut self) -> Result<(), End> {
        while self.flush()? {
            self.check_link()?;
            match timeout(UNWRITABLE_MAX, self.io.writable()).await {
                Ok(ready) => ready?,
                Err(_) => return Err(CloseCode::Unknown.into()),
            }
        }
        self.check_link()
    }

    async fn accept(&mut self, incoming: Incoming) -> Result<(), End> {
        let bytes = match incoming {
            Incoming::Pong => return Ok(()),
            Incoming::Close(code) => return Err(End::Client(code)),
            _ if !self.rate.admit(self.sessions.now_s()) => {
                return Err(CloseCode::RateLimited.into());
            }
            Incoming::Ping(payload) => {
                self.sessions.heard(&self.link);
                self.writer.pong(&payload);
                return Ok(());
            }
            Incoming::Binary(_) => return Err(CloseCode::Decode.into()),
            Incoming::Text(bytes) => bytes,
        };
        match Command::decode(&bytes)? {
            Command::Heartbeat(sequence) => self.heartbeat(sequence),
            Command::Identify(identify) => self.identify(&identify).await?,
            Command::Resume(resume) => self.resume(&resume).await?,
            Command::VoiceState => {}
            Command::Presence(presence) => {
                let session = self.active()?;
                session.set_presence(presence);
                self.sessions.platform.presence_changed(session);
            }
            Command::RequestMembers(request) => {
                let session = Arc::clone(self.active()?);
                self.send_members(&session, &request).await?;
            }
        }
        Ok(())
    }

    /// Answers a request for members chunk by chunk; each is on the wire before the next is made.
    async fn send_members(
        &mut self,
        session: &Arc<Session>,
        request: &RequestMembers,
    ) -> Result<(), End> {
        let platform = Arc::clone(&self.sessions.platform);
        let plan = platform.plan_members(session, request).await?;
        for chunk in 0..plan.chunk_count() {
            platform
                .push_members(session, request, (&plan, chunk))
                .await?;
            self.drain().await?;
        }
        Ok(())
    }

    fn active(&self) -> Result<&Arc<Session>, CloseCode> {
        self.session.as_ref().ok_or(CloseCode::NotAuthenticated)
    }

    fn heartbeat(&mut self, sequence: Option<u64>) {
        self.sessions.heard(&self.link);
        if let (Some(session), Some(sequence)) = (&self.session, sequence) {
            session.acknowledge(sequence);
        }
        self.writer.text(r#"{"t":null,"s":null,"op":11,"d":null}"#);
    }

    async fn identify(&mut self, identify: &Identify) -> Result<(), End> {
        if self.session.is_some() {
            return Err(CloseCode::AlreadyAuthenticated.into());
        }
        let platform = Arc::clone(&self.sessions.platform);
        let account = platform.authenticate(&identify.token).await?;
        let account = account.ok_or(CloseCode::AuthenticationFailed)?;
        let default = (!account.bot).then_some(Intents::ALL);
        let facts = SessionFacts {
            account: account.id,
            bot: account.bot,
            intents: identify
                .intents
                .or(default)
                .ok_or(CloseCode::InvalidIntents)?,
            shard: identify.shard.unwrap_or([0, 1]),
            large_threshold: identify.large_threshold,
        };
        let session = Session::new(
            facts,
            Arc::clone(&self.link),
            Arc::clone(&self.sessions.metrics),
        );
        self.sessions.metrics.identified.inc();
        if let Some(presence) = identify.presence.clone() {
            session.set_presence(presence);
        }
        self.sessions.insert(&session);
        self.session = Some(Arc::clone(&session));
        let opened = self.open(&session).await;
        if opened.is_err() {
            // What the client has not got yet would be missing after a resume.
            session.invalidate();
        }
        opened
    }

    /// Sends READY and one guild after the other.
    async fn open(&mut self, session: &Arc<Session>) -> Result<(), End> {
        let platform = Arc::clone(&self.sessions.platform);
        let guilds = platform.ready(session, &self.resume_url).await?;
        self.drain().await?;
        for guild in guilds {
            platform.enter_guild(session, guild).await?;
            self.drain().await?;
        }
        platform.presence_changed(session);
        Ok(())
    }

    async fn resume(&mut self, resume: &Resume) -> Result<(), End> {
        if self.session.is_some() {
            return Err(CloseCode::AlreadyAuthenticated.into());
        }
        let platform = Arc::clone(&self.sessions.platform);
        let account = platform.authenticate(&resume.token).await?;
        let account = account.ok_or(CloseCode::AuthenticationFailed)?;
        let known = SessionId::parse(&resume.session_id).and_then(|id| self.sessions.get(id));
        let session = known.filter(|session| session.facts.account == account.id);
        let resumed = session.map(|session| {
            let outcome = session.resume(&self.link, resume.seq);
            (session, outcome)
        });
        match resumed {
            Some((session, Ok(was_detached))) => {
                self.sessions.metrics.resumed.inc();
                if was_detached {
                    self.sessions.resumed();
                }
                self.session = Some(Arc::clone(&session));
                session.push(&Event::new(EventKind::Resumed, false, br#"{"_trace":[]}"#).share());
                platform.presence_changed(&session);
            }
            Some((_, Err(ResumeError::Future))) => return Err(CloseCode::InvalidSequence.into()),
            Some((_, Err(ResumeError::Gone))) | None => {
                self.sessions.metrics.not_resumed.inc();
                self.writer.text(r#"{"t":null,"s":null,"op":9,"d":false}"#);
            }
        }
        Ok(())
    }

    /// Says goodbye and leaves the session to wait, or ends it.
    async fn finish(mut self, end: End) {
        if let Some((code, reason)) = end.close_frame() {
            self.writer.close(code, reason);
            let goodbye = async {
                while self.writer.flush(&self.io, None)? {
                    self.io.writable().await?;
                }
                tokio::io::AsyncWriteExt::shutdown(&mut self.io).await
            };
            match timeout(CLOSE_MAX, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "socket broke before the close frame"),
                Err(_) => tracing::debug!("socket took no close frame in time"),
            }
        }
        if let Some(session) = self.session.take() {
            let keep = end.keeps_session();
            self.sessions.disconnected(&session, &self.link, keep);
        }
    }
}
