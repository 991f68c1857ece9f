//! Reads the body of a review, within bounds on its size, its time, and the memory of all bodies together.
//!
//! If a body is too large, its beginning is kept: the denial needs the uid of the review, which is there.
//! Not here: what is in the body ([`crate::review`]).

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use memmap2::MmapMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;
use crate::metrics::Rejection;
use crate::review::HEAD_BYTES;

/// Most bytes of a body that is kept in memory of the allocator, which is fast. A larger one gets a mapping of its own, which is
/// given back to the system with the body.
const SMALL: usize = 512 * 1_024;
/// Most bytes that are allocated before any of the body has come.
const FIRST_CAPACITY: usize = 64 * 1_024;

/// Reads bodies, and bounds what they take together.
pub(crate) struct Bodies {
    limits: Limits,
    /// One permit for each byte that all bodies together may still take.
    room: Arc<Semaphore>,
}

/// A body, and its share of the room for all bodies, which it gives back when it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    buffer: Buffer,
    is_whole: bool,
    _room: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// Whether the bytes are the whole body; else they are the beginning of one that is too large.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }
}

/// A buffer that grows up to a bound. The part that has not been written takes no memory.
#[derive(Debug)]
enum Buffer {
    Small(Vec<u8>),
    Large { map: MmapMut, length: usize },
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match self {
            Buffer::Small(bytes) => bytes,
            Buffer::Large { map, length } => &map[..*length],
        }
    }

    /// Appends `data`. Fails if the buffer would hold more than `most` bytes, or cannot be mapped.
    fn extend(&mut self, data: &[u8], most: usize) -> Result<(), Rejection> {
        if let Buffer::Small(bytes) = self {
            if bytes.len() + data.len() <= SMALL {
                bytes.extend_from_slice(data);
                return Ok(());
            }
            let mut map = MmapMut::map_anon(most).map_err(|_| Rejection::TooMuch)?;
            let length = bytes.len();
            map[..length].copy_from_slice(bytes);
            *self = Buffer::Large { map, length };
        }
        if let Buffer::Large { map, length } = self {
            let end = *length + data.len();
            let room = map.get_mut(*length..end).ok_or(Rejection::TooMuch)?;
            room.copy_from_slice(data);
            *length = end;
        }
        Ok(())
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        Bodies {
            limits: limits.clone(),
            room: Arc::new(Semaphore::new(limits.all_body_bytes)),
        }
    }

    /// Most bytes of one body.
    pub(crate) fn bytes_max(&self) -> usize {
        self.limits.body_bytes
    }

    /// Reads a body, or the beginning of one that is too large.
    pub(crate) async fn read(&self, mut body: Body) -> Result<HeldBody, Rejection> {
        let reading = tokio::time::timeout(self.limits.body, self.collect(&mut body)).await;
        let read = reading.unwrap_or(Err(Rejection::BodyTimeout));
        let is_left = match &read {
            Ok(body) => !body.is_whole,
            Err(rejection) => matches!(rejection, Rejection::TooMuch),
        };
        // The rest must be read too: a connection that is closed with unread bytes is reset, and the answer is lost.
        if is_left {
            discard(body, &self.limits).await;
        }
        read
    }

    async fn collect(&self, body: &mut Body) -> Result<HeldBody, Rejection> {
        let announced = http_body::Body::size_hint(body).exact().unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        // If the announced length is too large, only the beginning is kept, however much really comes.
        let taken_max = if announced > self.limits.body_bytes {
            HEAD_BYTES
        } else {
            self.limits.body_bytes
        };
        let mut buffer = Buffer::Small(Vec::with_capacity(announced.min(FIRST_CAPACITY)));
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            // A frame without data has trailers, which are ignored.
            let Ok(data) = frame.map_err(|_| Rejection::Truncated)?.into_data() else {
                continue;
            };
            let length = buffer.bytes().len();
            let is_whole = length + data.len() <= taken_max;
            let taken = if is_whole {
                &data[..]
            } else {
                &data[..data.len().min(HEAD_BYTES.saturating_sub(length))]
            };
            let more = self.take(taken.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            buffer.extend(taken, self.limits.body_bytes)?;
            if !is_whole {
                return Ok(HeldBody {
                    buffer,
                    is_whole,
                    _room: room,
                });
            }
        }
        Ok(HeldBody {
            buffer,
            is_whole: true,
            _room: room,
        })
    }

    fn take(&self, length: usize) -> Result<OwnedSemaphorePermit, Rejection> {
        let length = u32::try_from(length).map_err(|_| Rejection::TooMuch)?;
        Arc::clone(&self.room)
            .try_acquire_many_owned(length)
            .map_err(|_| Rejection::TooMuch)
    }
}

/// Reads the rest of a body and throws it away, within the time for one body and twice its largest size.
pub(crate) async fn discard(mut body: Body, limits: &Limits) {
    let rest = async {
        let mut left = 2 * limits.body_bytes;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else {
                return;
            };
            left = less;
        }
    };
    // After this time the rest is not waited for.
    drop(tokio::time::timeout(limits.body, rest).await);
}
