//! `cargo manifests`: writes everything below `manifests/` that is generated.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> ExitCode {
    match write() {
        Ok(count) => {
            println!("{count} files written");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cordonhold-manifests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes each file; what is no longer generated is removed by hand.
fn write() -> Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = cordonhold_manifests::generated()?;
    for file in &files {
        let path = root.join(&file.name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("failed to create {}", folder.display()))?;
        }
        std::fs::write(&path, &file.text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(files.len())
}
