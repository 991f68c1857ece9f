//! `cargo images`: makes the images of the agent and the webhook, without Docker, and pushes them.
//!
//! Not here: how an image is made, see the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cordonhold_release::images::{self, ImagesError, Made, NO_REPOSITORY, OUT, Options, Ready, folder};
use cordonhold_release::program::{Arch, with_image};
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
    /// Replace what the tag names in the registry, if it is something else
    #[arg(long, requires = "push")]
    overwrite: bool,
    /// Build each program twice, the second time from a copy of the clone in another folder, and fail if the two differ
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
        Ok(args) => exit::code(PROGRAM, run(&args)),
        Err(code) => code,
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let pushed = args.repository.as_ref().filter(|_| args.push);
    let ready = match (&args.from, pushed) {
        (Some(folder), Some(repository)) => folder::read(folder, repository).map_err(ImagesError::from)?,
        _ => build(args)?,
    };
    let Some(repository) = pushed else {
        return Ok(());
    };
    crypto::install_provider()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (name, digest) in runtime.block_on(images::push(&ready, repository, args.overwrite))? {
        println!("{}", folder::line(&name, &digest));
    }
    Ok(())
}

/// Makes the images, writes them, and tells of each.
fn build(args: &Args) -> Result<Vec<Ready>, Failure> {
    let arches = if args.arch.is_empty() {
        vec![Arch::of_host().ok_or(Failure::NoHost)?]
    } else {
        args.arch.clone()
    };
    let repository = args.repository.as_ref();
    let options = Options {
        arches,
        programs: with_image().collect(),
        repository: repository.map_or_else(|| NO_REPOSITORY.to_owned(), Repository::to_string),
        is_twice: args.twice,
    };
    let root = source::root();
    let out = args.out.clone().unwrap_or_else(|| root.join(OUT));
    let made = images::make(&options, source::unchanged(&root).as_ref())?;
    images::store(&made, &out)?;
    for made in &made {
        tell(made, &out, args.twice);
    }
    if repository.is_none() {
        println!(
            "the images are named {NO_REPOSITORY}/…, as the manifests name them; --repository gives them a name that can be pushed"
        );
    }
    Ok(images::ready(&made))
}

fn tell(made: &Made, out: &Path, is_twice: bool) {
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
        println!("  {}", out.join(&file.name).display());
    }
}
