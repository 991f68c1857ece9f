//! `cargo release`: makes everything that a release consists of, from a tag.
//!
//! Not here: how, see the library; and what a person does with it, see docs/releasing.md.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cordonhold_release::plugin::Address;
use cordonhold_release::program::Arch;
use cordonhold_release::push::repository::Repository;
use cordonhold_release::release::{self, Options};
use cordonhold_rt::{argument, exit};

const PROGRAM: &str = "cargo release";

/// Make everything that a release consists of, from a tag: images, chart, manifests, bills of materials, checksums, and a signature
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Args {
    /// Tag that this tree is at, such as v0.1.0
    #[arg(long)]
    tag: String,
    /// Registry and beginning of the repositories' names, such as registry.example/team: where the images will be pushed
    #[arg(long, value_name = "NAME")]
    repository: Repository,
    /// Folder on the web where the files will be published, such as `https://example.com/v0.1.0`: krew's manifest names it
    #[arg(long, value_name = "URL")]
    address: Option<Address>,
    /// New folder for the release
    #[arg(long, value_name = "DIR", value_parser = argument::path)]
    out: PathBuf,
    /// CPU to build for; may be repeated [default: amd64 and arm64]
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// Ed25519 private key in PEM that signs the checksums; without one nothing is signed
    #[arg(long, value_name = "FILE", value_parser = argument::path)]
    key: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = match exit::parse_args::<Args>(PROGRAM) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let options = Options {
        tag: args.tag,
        repository: args.repository,
        address: args.address,
        out: args.out,
        arches: if args.arch.is_empty() {
            Arch::ALL.to_vec()
        } else {
            args.arch
        },
        key: args.key,
    };
    let made = release::make(&options).map(|names| {
        for name in names {
            println!("{}", options.out.join(name).display());
        }
    });
    exit::code(PROGRAM, made)
}
