//! The process's one TLS crypto provider.

/// Why there is no crypto provider.
#[derive(Debug, thiserror::Error)]
#[error(
    "another TLS crypto provider is installed already: this build links two, which is a defect of the build"
)]
pub struct AlreadyInstalled;

/// Makes aws-lc-rs the provider of everything in this process. First thing in `main`.
pub fn install_provider() -> Result<(), AlreadyInstalled> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| AlreadyInstalled)
}
