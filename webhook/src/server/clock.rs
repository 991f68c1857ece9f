//! What a connection is doing, and until when it may.
//!
//! hyper has one deadline, for the head of an HTTP/1.1 request. A peer that says nothing over HTTP/2, or never reads its answer,
//! would stay for ever; and an idle connection would get no longer than half a head.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use cordonhold_rt::places::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Which time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    FirstRequest,
    Headers,
    Answer,
    Write,
    Idle,
    Age,
    Drain,
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Clock {
    protocol: Protocol,
    limits: Limits,
    opened: Instant,
    /// Told whether the peer is waited for.
    place: Arc<Place>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    /// Since when it waits.
    since: Instant,
    /// When each open request began, in the order of their beginning.
    open: BTreeMap<u64, Instant>,
    /// How many requests there have been.
    begun: u64,
    /// Since when the peer has left something unread.
    unread: Option<Instant>,
    /// When it was told to end.
    told: Option<Instant>,
}

/// For what, while no request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    FirstRequest,
    NextRequest,
    Headers,
}

/// A request that is open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest {
    clock: Arc<Clock>,
    number: u64,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.clock.state();
        let _ = state.open.remove(&self.number);
        if state.open.is_empty() {
            state.waiting = Waiting::NextRequest;
            state.since = Instant::now();
            self.clock.place.waits();
        }
    }
}

impl Clock {
    pub(super) fn start(protocol: Protocol, limits: &Limits, place: &Arc<Place>) -> Arc<Clock> {
        let now = Instant::now();
        Arc::new(Clock {
            protocol,
            limits: limits.clone(),
            opened: now,
            place: Arc::clone(place),
            state: Mutex::new(State {
                waiting: Waiting::FirstRequest,
                since: now,
                open: BTreeMap::new(),
                begun: 0,
                unread: None,
                told: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_request(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.state();
        let number = state.begun;
        state.begun += 1;
        let _ = state.open.insert(number, Instant::now());
        self.place.works();
        OpenRequest {
            clock: Arc::clone(self),
            number,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether no request has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.state().begun == 0
    }

    /// Whether the next answer is the last by age.
    pub(super) fn is_retiring(&self) -> bool {
        self.opened.elapsed() >= self.limits.retirement()
    }

    /// From now on the connection has [`Limits::drain`] to end.
    pub(super) fn tell_to_end(&self) {
        let _ = self.state().told.get_or_insert_with(Instant::now);
    }

    /// Waits until some time is up. To be polled after the connection, in the same task: it looks at what that has just done.
    pub(super) async fn overdue(&self) -> Overdue {
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            let (at, what) = self.next();
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            Poll::Ready(what)
        })
        .await
    }

    /// The next time that is up, if nothing happens before.
    fn next(&self) -> (Instant, Overdue) {
        let limits = &self.limits;
        let state = self.state();
        let request = match (state.open.first_key_value(), state.waiting) {
            (Some((_, begun)), _) => Some((*begun + limits.request + limits.write, Overdue::Answer)),
            (None, Waiting::FirstRequest) => {
                Some((state.since + limits.first_request, Overdue::FirstRequest))
            }
            (None, Waiting::Headers) => Some((state.since + limits.headers, Overdue::Headers)),
            (None, Waiting::NextRequest) if state.told.is_some() => None,
            (None, Waiting::NextRequest) => Some((state.since + limits.idle, Overdue::Idle)),
        };
        let end = match (state.told, self.protocol) {
            (Some(told), _) => (told + limits.drain, Overdue::Drain),
            // GOAWAY loses no request, so there is no need to wait for a pause between two.
            (None, Protocol::Http2) => (self.opened + limits.retirement(), Overdue::Age),
            (None, Protocol::Http1) => (self.opened + limits.age, Overdue::Age),
        };
        let unread = state.unread.map(|since| (since + limits.write, Overdue::Write));
        [request, unread]
            .into_iter()
            .flatten()
            .fold(end, |first, other| if other.0 < first.0 { other } else { first })
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        // What comes over HTTP/2 between two requests may as well be the answer to a ping.
        if self.protocol == Protocol::Http1 && state.open.is_empty() && state.waiting == Waiting::NextRequest
        {
            state.waiting = Waiting::Headers;
            state.since = Instant::now();
        }
    }

    fn wrote<T>(&self, outcome: &Poll<io::Result<T>>) {
        let mut state = self.state();
        if outcome.is_pending() && state.unread.is_none() {
            state.unread = Some(Instant::now());
            self.place.waits();
        }
    }

    fn flushed(&self, outcome: &Poll<io::Result<()>>) {
        self.wrote(outcome);
        let mut state = self.state();
        if outcome.is_ready() && state.unread.take().is_some() && !state.open.is_empty() {
            self.place.works();
        }
    }
}

/// A stream that tells the clock what goes through it.
pub(super) struct Clocked<S> {
    stream: S,
    clock: Arc<Clock>,
}

impl<S> Clocked<S> {
    pub(super) fn new(stream: S, clock: Arc<Clock>) -> Clocked<S> {
        Clocked { stream, clock }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Clocked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.clock.bytes_came();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clocked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.clock.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.clock.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.clock.flushed(&outcome);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.clock.wrote(&outcome);
        outcome
    }
}
