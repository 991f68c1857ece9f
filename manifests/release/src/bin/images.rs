//! `cargo images`: makes the images of the agent and the webhook, without Docker, and pushes them.
//!
//! Not here: how an image is made, see the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cordonhold_release::images::{self, ImagesError, Made, NO_REPOSITORY, OUT, Options};
use cordonhold_release::program::Arch;
use cordonhold_release::push::repository::Repository;
use cordonhold_release::source;
use cordonhold_rt::{argument, crypto, exit};

const PROGRAM: &str = "cargo images";
const EXAMPLES: &str = "\
Examples:

  cargo images                                              for this machine's CPU, into target/images
  cargo images --arch amd64 --arch arm64 --push --repository registry.example/team
  cargo images --from DIR --push --repository registry.example/team
                                                            push what is in DIR, and build nothing

ctr --namespace k8s.io images import FILE.tar loads an image into a node without a registry.";

/// Make the images of the agent and the webhook, with a bill of materials for each, and push them
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
struct Args {
    /// CPU to build for; may be repeated [default: this machine's]
    #[arg(long, value_enum, conflicts_with = "from")]
    arch: Vec<Arch>,
    /// Registry and beginning of the repositories' names, such as registry.example/team
    #[arg(long, value_name = "NAME")]
    repository: Option<Repository>,
    /// Push the images, all CPUs of a program as one; the login is that of `docker login`, or `CORDONHOLD_REGISTRY_USER` and `CORDONHOLD_REGISTRY_PASSWORD`
    #[arg(long, requires = "repository")]
    push: bool,
    /// Push the images that are in this folder, and build nothing
    #[arg(long, value_name = "DIR", value_parser = argument::path, requires = "push")]
    from: Option<PathBuf>,
    /// Folder for the images [default: target/images]
    #[arg(long, value_name = "DIR", value_parser = argument::path, conflicts_with = "from")]
    out: Option<PathBuf>,
    /// Build each program twice, and fail if the two differ
    #[arg(long, conflicts_with = "from")]
    twice: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Crypto(#[from] crypto::AlreadyInstalled),
    #[error("failed to start the runtime")]
    Runtime(#[from] std::io::Error),
    #[error("programs cannot be built on this kind of machine: name a CPU with --arch")]
    NoHost,
}

fn main() -> ExitCode {
    match exit::parse_args::<Args>(PROGRAM) {
        Ok(args) => exit::code(PROGRAM, run(args)),
        Err(code) => code,
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let folder = match args.from {
        Some(folder) => folder,
        None => build(args.arch, args.out, args.repository.as_ref(), args.twice)?,
    };
    let Some(repository) = args.repository.filter(|_| args.push) else {
        return Ok(());
    };
    crypto::install_provider()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (name, digest) in runtime.block_on(images::push(&folder, &repository))? {
        println!("{name}@{digest}");
    }
    Ok(())
}

/// Makes the images, tells of each, and gives their folder.
fn build(
    arches: Vec<Arch>,
    out: Option<PathBuf>,
    repository: Option<&Repository>,
    is_twice: bool,
) -> Result<PathBuf, Failure> {
    let arches = if arches.is_empty() {
        vec![Arch::of_host().ok_or(Failure::NoHost)?]
    } else {
        arches
    };
    let options = Options {
        out: out.unwrap_or_else(|| source::root().join(OUT)),
        arches,
        repository: repository.map_or_else(|| NO_REPOSITORY.to_owned(), Repository::to_string),
        is_twice,
    };
    for made in images::make(&options)? {
        tell(&made, is_twice);
    }
    if repository.is_none() {
        println!(
            "the images are named {NO_REPOSITORY}/…, as the manifests name them; --repository gives them a name that can be pushed"
        );
    }
    Ok(options.out)
}

fn tell(made: &Made, is_twice: bool) {
    let size = |bytes: u64| format!("{}.{:02} MB", bytes / 1_000_000, bytes / 10_000 % 100);
    let twice = if is_twice { ", built twice alike" } else { "" };
    println!(
        "{} for {}: the program has {}{twice}",
        made.program.name,
        made.arch.name(),
        size(made.program_size)
    );
    if let Some(image) = &made.image {
        let bytes = image.blobs.values().map(|blob| blob.len() as u64).sum();
        println!("  image of {}, {}", size(bytes), image.manifest.digest);
    }
    for file in &made.files {
        println!("  {}", file.display());
    }
}
