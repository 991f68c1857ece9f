//! `cargo certs-dev`: writes a development CA, a serving certificate and its key, and prints the commands that install them.
//!
//! It does not talk to a cluster: the person runs the printed commands.
//! Not here: how the certificates are made, see `lib.rs`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cordonhold_rt::exit;

/// Make a development CA and a serving certificate for the Cordonhold webhook, and print the commands that install them.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// DNS names and IP addresses of the webhook [default: cordonhold-webhook.cordonhold.svc, localhost, 127.0.0.1]
    names: Vec<String>,
    /// Directory for ca.crt, tls.crt and tls.key
    #[arg(long, value_parser = cordonhold_rt::argument::path, default_value = "target/certs-dev")]
    dir: PathBuf,
    /// Replace the files if they exist
    #[arg(long)]
    force: bool,
}

const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];
const DEFAULT_NAMES: [&str; 3] = ["cordonhold-webhook.cordonhold.svc", "localhost", "127.0.0.1"];

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Issue(#[from] cordonhold_certs_dev::Error),
    #[error("failed to create the directory {}: {source}: name a writable one with --dir", .path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} exists: pass --force to replace all three files, or name another directory with --dir", .path.display())]
    Exists { path: PathBuf },
    #[error("failed to read {}: {source}: pass --force to replace all three files, or name another directory with --dir", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write {}: {source}: name a writable directory with --dir", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

fn main() -> ExitCode {
    let args: Args = match exit::parse_args("cordonhold-certs-dev") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::code("cordonhold-certs-dev", run(&args))
}

fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.dir.display();
    let ca = args.dir.join("ca.crt");
    let exist = FILES
        .map(|name| args.dir.join(name))
        .into_iter()
        .filter(|path| path.exists());
    let exist: Vec<PathBuf> = exist.collect();
    // The names in an existing certificate are not read. So if names are given, the certificate is never kept.
    let keep = !args.force && args.names.is_empty() && exist.len() == FILES.len();
    let ca_pem = if keep {
        println!("kept {dir}/ca.crt, {dir}/tls.crt and {dir}/tls.key, which exist; --force replaces them");
        std::fs::read_to_string(&ca).map_err(|source| Failure::Read { path: ca, source })?
    } else {
        if let Some(path) = exist.into_iter().next().filter(|_| !args.force) {
            return Err(Failure::Exists { path });
        }
        mint(args)?
    };
    println!("\ncaBundle: {}", cordonhold_certs_dev::ca_bundle(&ca_pem));
    println!("\nTo make the Secret, once its namespace exists:\n");
    println!("{}", cordonhold_certs_dev::secret_command(&args.dir));
    println!("\nTo write the CA into the webhook configurations, once they exist:\n");
    println!("{}", cordonhold_certs_dev::ca_command(&ca_pem));
    Ok(())
}

/// Makes the certificates, writes the three files, and returns the CA as PEM.
fn mint(args: &Args) -> Result<String, Failure> {
    let names = if args.names.is_empty() {
        DEFAULT_NAMES.map(str::to_owned).to_vec()
    } else {
        args.names.clone()
    };
    let issued = cordonhold_certs_dev::issue(&names)?;
    std::fs::create_dir_all(&args.dir).map_err(|source| Failure::Directory {
        path: args.dir.clone(),
        source,
    })?;
    let texts = [
        (&issued.ca_pem, 0o644),
        (&issued.cert_pem, 0o644),
        (&issued.key_pem, 0o600),
    ];
    for (name, (pem, mode)) in FILES.into_iter().zip(texts) {
        let path = args.dir.join(name);
        write(&path, pem, mode).map_err(|source| Failure::Write { path, source })?;
    }
    let dir = args.dir.display();
    println!(
        "wrote {dir}/ca.crt, {dir}/tls.crt and {dir}/tls.key for {}",
        names.join(", ")
    );
    Ok(issued.ca_pem)
}

/// Writes a new file and renames it over the old one, so that the mode is right even if the old file had another, and nobody reads half a key.
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
