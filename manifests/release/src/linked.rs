//! What every program is linked with beside its crates: the C library, the compiler's own library, and Rust's standard library.
//!
//! Not here: how they are found ([`crate::compile`]), and the crates ([`crate::bill`]).

/// The versions of the libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    pub glibc: Glibc,
    /// The version of GCC, whose libgcc this is.
    pub gcc: String,
    /// The version of Rust.
    pub rust: String,
}

/// A C library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glibc {
    /// Its version, such as `2.36`.
    pub version: String,
    /// What a distribution calls its own, such as `Debian GLIBC 2.36-9`.
    pub distribution: String,
}

/// A library as a bill lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library<'a> {
    pub name: &'static str,
    pub version: &'a str,
    pub description: Option<&'a str>,
    /// As an expression of SPDX.
    pub licence: &'static str,
}

/// The oldest glibc with which a static program resolves names by itself: before, it loads libraries for that, and an image has none
/// (glibc's NEWS for 2.34).
pub const OLDEST_GLIBC: (u32, u32) = (2, 34);
/// What glibc says of itself, before the distribution's name and before the version.
const BANNER: &str = "GNU C Library (";
const RELEASE: &str = "release version ";
/// Most bytes of what it says.
const BANNER_MAX: usize = 200;

impl Glibc {
    /// What is in the bytes of a glibc, if they are one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let at = bytes
            .windows(BANNER.len())
            .position(|window| window == BANNER.as_bytes())?;
        let begin = at + BANNER.len();
        let text = String::from_utf8_lossy(&bytes[begin..bytes.len().min(begin + BANNER_MAX)]);
        let (distribution, rest) = text.split_once(')')?;
        let (_, rest) = rest.split_once(RELEASE)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let version = rest[..end.unwrap_or(rest.len())].trim_matches('.');
        (!version.is_empty()).then(|| Self {
            version: version.to_owned(),
            distribution: distribution.to_owned(),
        })
    }

    /// Whether a static program can resolve names with it.
    pub fn is_new_enough(&self) -> bool {
        let mut numbers = self.version.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_GLIBC,
            _ => false,
        }
    }
}

impl Linked {
    /// The libraries, in the order of their names.
    pub fn libraries(&self) -> [Library<'_>; 3] {
        [
            Library {
                name: "glibc",
                version: &self.glibc.version,
                description: Some(&self.glibc.distribution),
                licence: "LGPL-2.1-or-later",
            },
            Library {
                name: "libgcc",
                version: &self.gcc,
                description: None,
                licence: "GPL-3.0-or-later WITH GCC-exception-3.1",
            },
            Library {
                name: "rust-std",
                version: &self.rust,
                description: None,
                licence: "MIT OR Apache-2.0",
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glibc_says_its_version_and_its_distribution() {
        for (text, version, distribution, is_new_enough) in [
            (
                "\0GNU C Library (Debian GLIBC 2.36-9+deb12u9) stable release version 2.36.\nCopyright",
                "2.36",
                "Debian GLIBC 2.36-9+deb12u9",
                true,
            ),
            (
                "GNU C Library (GNU libc) stable release version 2.34.",
                "2.34",
                "GNU libc",
                true,
            ),
            (
                "GNU C Library (GNU libc) development release version 2.41.9000.",
                "2.41.9000",
                "GNU libc",
                true,
            ),
            (
                "GNU C Library (Ubuntu GLIBC 2.31-0ubuntu9) stable release version 2.31.",
                "2.31",
                "Ubuntu GLIBC 2.31-0ubuntu9",
                false,
            ),
            ("GNU C Library (x) stable release version 3.0", "3.0", "x", true),
        ] {
            let read = Glibc::read(text.as_bytes()).unwrap();
            assert_eq!(
                (read.version.as_str(), read.distribution.as_str()),
                (version, distribution)
            );
            assert_eq!(read.is_new_enough(), is_new_enough, "{text}");
        }
        for text in [
            "",
            "musl libc",
            "GNU C Library (",
            "GNU C Library (x) stable release version .",
        ] {
            assert_eq!(Glibc::read(text.as_bytes()), None, "{text}");
        }
    }
}
