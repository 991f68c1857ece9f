//! For tests: what a thread logs.
//!
//! Not here: which lines there are, see `report/page.rs`.

use std::io;
use std::sync::{Arc, Mutex};

/// The log of this thread, while the guard lives.
pub(crate) fn logged() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    #[derive(Clone)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log(Arc::default());
    let text = Arc::clone(&log.0);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || log.clone())
        .finish();
    (text, tracing::subscriber::set_default(subscriber))
}
