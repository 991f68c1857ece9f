//! The images of our programs: what they are called on a cluster whose pods of ours run, and which program an image has.

use anyhow::{Result, bail};

use crate::programs::Program;

/// The programs that images are made of.
const PROGRAMS: [Program; 2] = [Program::Agent, Program::Webhook];

/// The repository of a program's image. Any other with the same last name has the same program.
pub fn repository(program: Program) -> String {
    format!("localhost/{}", program.name())
}

/// Which program an image has. The error is what a kubelet would say of an image that it cannot pull.
pub(super) fn program(image: &str) -> Result<Program> {
    let host = image.split('/').next().unwrap_or(image);
    if host
        .split(':')
        .next()
        .is_some_and(|host| host.ends_with(".invalid"))
    {
        bail!("failed to pull {image}: no name under .invalid exists; name your own image");
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split([':', '@']).next();
    match PROGRAMS.into_iter().find(|program| Some(program.name()) == name) {
        Some(program) => Ok(program),
        None => bail!(
            "failed to pull {image}: here are only images named {}",
            PROGRAMS.map(Program::name).join(" and ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_last_name_unless_its_registry_cannot_exist() {
        for (image, expected) in [
            ("localhost/cordonhold-webhook:0.1.0", Some(Program::Webhook)),
            (
                "registry.example:5000/a/cordonhold-agent@sha256:0",
                Some(Program::Agent),
            ),
            ("cordonhold-agent", Some(Program::Agent)),
            ("repository-not-set.invalid/cordonhold-agent:0.1.0", None),
            ("registry.k8s.io/pause:3.10", None),
        ] {
            assert_eq!(program(image).ok(), expected, "{image}");
        }
        for program_of in PROGRAMS {
            assert_eq!(program(&repository(program_of)).ok(), Some(program_of));
        }
    }
}
