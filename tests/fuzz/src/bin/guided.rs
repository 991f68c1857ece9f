//! One target under libFuzzer, which looks for inputs that reach code no other input has reached. `cargo fuzz-long` builds it with what counts
//! that, and runs it.
#![no_main]

use std::sync::LazyLock;

use cordonhold_fuzz::{Target, long};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(long::TARGET_VARIABLE).unwrap_or_default();
    Target::named(&name).expect("`cargo fuzz-long` names a target")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.check)(input));
