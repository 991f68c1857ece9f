//! The body of a review: read within its size, its time, and what all bodies together may take.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;
use crate::metrics::Rejection;

/// A large body grows from here.
const FIRST_CAPACITY: usize = 64 * 1_024;

/// Reads bodies.
pub(crate) struct Bodies {
    limits: Limits,
    /// One permit for a byte.
    room: Arc<Semaphore>,
}

/// A body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        Bodies {
            limits: limits.clone(),
            room: Arc::new(Semaphore::new(limits.all_body_bytes)),
        }
    }

    pub(crate) async fn read(&self, mut body: Body) -> Result<HeldBody, Rejection> {
        let reading = tokio::time::timeout(self.limits.body, self.collect(&mut body)).await;
        match reading.unwrap_or(Err(Rejection::BodyTimeout)) {
            // What is still under way must be read, or closing the connection takes the answer with it.
            Err(refusal @ (Rejection::TooLarge | Rejection::TooMuch)) => {
                discard(body, &self.limits).await;
                Err(refusal)
            }
            read => read,
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<HeldBody, Rejection> {
        let announced = http_body::Body::size_hint(body).exact().unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > self.limits.body_bytes {
            return Err(Rejection::TooLarge);
        }
        let mut bytes = Vec::with_capacity(announced.min(FIRST_CAPACITY));
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            // Trailers say nothing to us.
            let Ok(data) = frame.map_err(|_| Rejection::Truncated)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.limits.body_bytes {
                return Err(Rejection::TooLarge);
            }
            let more = self.take(&data)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(HeldBody { bytes, _room: room })
    }

    fn take(&self, data: &Bytes) -> Result<OwnedSemaphorePermit, Rejection> {
        let length = u32::try_from(data.len()).map_err(|_| Rejection::TooMuch)?;
        Arc::clone(&self.room)
            .try_acquire_many_owned(length)
            .map_err(|_| Rejection::TooMuch)
    }
}

/// Throws away what is left of a body, within the time of one and twice its size.
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
    // What does not come is not waited for.
    drop(tokio::time::timeout(limits.body, rest).await);
}
