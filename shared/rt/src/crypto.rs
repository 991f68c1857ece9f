//! The TLS crypto provider of the process.

/// Another crypto provider was installed before.
#[derive(Debug, thiserror::Error)]
#[error(
    "another TLS crypto provider is already installed: this build links two, which is a bug in the build"
)]
pub struct AlreadyInstalled;

/// Makes aws-lc-rs the crypto provider of the whole process. Must come first in `main`.
pub fn install_provider() -> Result<(), AlreadyInstalled> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| AlreadyInstalled)
}
