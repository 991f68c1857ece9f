//! What a connection is doing, and by when it must be done.
//!
//! hyper has only one deadline, for the head of a request. With that alone a peer that never reads its answer would stay for ever,
//! and an idle connection would get no more time than a half-sent head.
//! Not here: how long each step may take ([`Limits`]).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use cordonhold_rt::places::Place;
use cordonhold_rt::sync::locked;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::Limits;

/// Which deadline has passed.
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

/// The deadlines of one connection.
#[derive(Debug)]
pub(super) struct Clock {
    limits: Limits,
    opened: Instant,
    /// The connection's place, which is told whether we wait for the peer.
    place: Arc<Place>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// When it began to do that.
    since: Instant,
    /// Since when the peer has left something unread.
    unread: Option<Instant>,
    /// When the connection was told to end.
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It waits for the head of the first request.
    FirstRequest,
    /// It waits for the next request, of which nothing has come.
    NextRequest,
    /// It waits for the rest of a later request's head.
    Headers,
    /// It answers a request. hyper hands over no other request before that is answered.
    Answering,
}

/// A request that is being answered until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Clock>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.state().begin(Doing::NextRequest);
        self.0.place.waits();
    }
}

impl State {
    fn begin(&mut self, doing: Doing) {
        self.doing = doing;
        self.since = Instant::now();
    }
}

impl Clock {
    pub(super) fn start(limits: &Limits, place: &Arc<Place>) -> Arc<Clock> {
        let now = Instant::now();
        Arc::new(Clock {
            limits: limits.clone(),
            opened: now,
            place: Arc::clone(place),
            state: Mutex::new(State {
                doing: Doing::FirstRequest,
                since: now,
                unread: None,
                told: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.state().begin(Doing::Answering);
        self.place.works();
        OpenRequest(Arc::clone(self))
    }

    /// Whether no request has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.state().doing == Doing::FirstRequest
    }

    /// Whether the connection is so old that the next answer closes it.
    pub(super) fn is_retiring(&self) -> bool {
        self.opened.elapsed() >= self.limits.retirement()
    }

    /// From now on the connection has [`Limits::drain`] to end.
    pub(super) fn tell_to_end(&self) {
        let _ = self.state().told.get_or_insert_with(Instant::now);
    }

    /// Waits until a deadline passes. Must be polled after the connection, in the same task, because it looks at what the connection
    /// has just done.
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

    /// The earliest deadline, and what it is for, if nothing happens before.
    fn next(&self) -> (Instant, Overdue) {
        let limits = &self.limits;
        let state = self.state();
        let request = match state.doing {
            Doing::FirstRequest => Some((state.since + limits.first_request, Overdue::FirstRequest)),
            Doing::Headers => Some((state.since + limits.headers, Overdue::Headers)),
            Doing::Answering => Some((state.since + limits.request + limits.write, Overdue::Answer)),
            Doing::NextRequest if state.told.is_some() => None,
            Doing::NextRequest => Some((state.since + limits.idle, Overdue::Idle)),
        };
        let end = match state.told {
            Some(told) => (told + limits.drain, Overdue::Drain),
            None => (self.opened + limits.age, Overdue::Age),
        };
        let unread = state.unread.map(|since| (since + limits.write, Overdue::Write));
        [request, unread]
            .into_iter()
            .flatten()
            .fold(end, |first, other| if other.0 < first.0 { other } else { first })
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        if state.doing == Doing::NextRequest {
            state.begin(Doing::Headers);
        }
    }

    fn wrote<T>(&self, outcome: &Poll<io::Result<T>>) {
        let mut state = self.state();
        // A pending write means that the peer is not reading.
        if outcome.is_pending() && state.unread.is_none() {
            state.unread = Some(Instant::now());
            self.place.waits();
        }
    }

    fn flushed(&self, outcome: &Poll<io::Result<()>>) {
        self.wrote(outcome);
        let mut state = self.state();
        // Only a complete flush counts: a peer that reads a little now and then gets no more time.
        if outcome.is_ready() && state.unread.take().is_some() && state.doing == Doing::Answering {
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
