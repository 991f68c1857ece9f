//! `cargo certs-dev`: writes a development CA and a serving pair, and prints what to do with them.
//!
//! It talks to no cluster: the commands that do are printed, for the person to run.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cordonhold_rt::exit;

/// Mint a development CA and a serving certificate for the Cordonhold webhook.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// DNS names and IP addresses that the certificate is for
    #[arg(default_values = ["cordonhold-webhook.cordonhold.svc", "localhost", "127.0.0.1"])]
    names: Vec<String>,
    /// Directory for ca.crt, tls.crt and tls.key
    #[arg(long, default_value = "target/certs-dev")]
    dir: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Issue(#[from] cordonhold_certs_dev::Error),
    #[error("failed to create the directory {}: {source}: name one that can be written with --dir", .path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} exists: pass --force to replace it, or another --dir", .path.display())]
    Exists { path: PathBuf },
    #[error("failed to write {}: {source}: name a directory that can be written with --dir", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

fn main() -> ExitCode {
    let args: Args = match exit::parse_args("cordonhold-certs-dev") {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cordonhold-certs-dev: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let issued = cordonhold_certs_dev::issue(&args.names)?;
    std::fs::create_dir_all(&args.dir).map_err(|source| Failure::Directory {
        path: args.dir.clone(),
        source,
    })?;
    let files = [
        ("ca.crt", &issued.ca_pem, 0o644),
        ("tls.crt", &issued.cert_pem, 0o644),
        ("tls.key", &issued.key_pem, 0o600),
    ];
    if !args.force
        && let Some((name, ..)) = files.iter().find(|(name, ..)| args.dir.join(name).exists())
    {
        return Err(Failure::Exists {
            path: args.dir.join(name),
        });
    }
    for (name, pem, mode) in files {
        let path = args.dir.join(name);
        write(&path, pem, mode).map_err(|source| Failure::Write { path, source })?;
    }
    let dir = args.dir.display();
    println!(
        "wrote {dir}/ca.crt, {dir}/tls.crt and {dir}/tls.key for {}",
        args.names.join(", ")
    );
    println!("\ncaBundle: {}", issued.ca_bundle());
    println!("\nnext:");
    println!(
        "  kubectl -n cordonhold create secret tls cordonhold-webhook-tls --cert={dir}/tls.crt --key={dir}/tls.key"
    );
    println!(
        "  kubectl patch validatingwebhookconfiguration cordonhold --type=json -p \
         '[{{\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/caBundle\",\"value\":\"'$(base64 -w0 < {dir}/ca.crt)'\"}}]'"
    );
    Ok(())
}

/// Writes beside the file and renames, so that the mode holds also for a file that existed and nobody reads half a key.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let beside = path.with_added_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&beside, path)
}
