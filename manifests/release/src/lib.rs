//! What is shipped: the images, and everything else of a release.
//!
//! Everything is the same bit for bit when it is made again from the same commit with the same compilers: entries are sorted, times are fixed,
//! and no path of the machine is left in a program.
//! Not here: the manifests themselves ([`cordonhold_manifests`]), and programs that are built for tests.

pub mod archive;
pub mod bill;
pub mod compile;
pub mod image;
pub mod images;
pub mod linked;
pub mod plugin;
pub mod program;
pub mod push;
pub mod release;
pub mod sign;
pub mod source;

/// The version of this workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
