//! `doctor`: what is wrong with the installation, or with a cluster before one.
//!
//! Not here: what each finding is ([`cordonhold_shared::doctor`]), and what is read for it (`examine`, `probe`).

use cordonhold_shared::doctor::{Diagnosis, Finding, Severity};

use crate::args::{DoctorArgs, Format};
use crate::cluster::Cluster;
use crate::text::{self, BAD, BUSY, FAINT, GOOD, painted};
use crate::{Ending, Error, clock, output};

mod examine;
mod probe;

/// Where each code is explained.
const PAGE: &str = "docs/doctor.md";

pub(crate) async fn run(cluster: &Cluster, args: &DoctorArgs) -> Result<Ending, Error> {
    let diagnosis = if args.pre {
        cluster.before_install().await?
    } else {
        cluster.diagnosis(!args.no_probe).await?
    };
    if !output::document(args.output, &diagnosis)? {
        let width = (args.output != Some(Format::Wide)).then(output::width);
        output::print(&rendered(&diagnosis, width))?;
    }
    Ok(if diagnosis.count(Severity::Problem) == 0 {
        Ending::Fine
    } else {
        Ending::Trouble
    })
}

impl Cluster {
    /// Examines and judges an installation. `probes`: by a real request too.
    pub(crate) async fn diagnosis(&self, probes: bool) -> Result<Diagnosis, Error> {
        let examined = self.examined(probes).await?;
        Ok(Diagnosis::of(&examined, clock::now()))
    }

    async fn before_install(&self) -> Result<Diagnosis, Error> {
        let (examined, installing) = self.examined_before_install().await?;
        Ok(Diagnosis::before_install(&examined, &installing, clock::now()))
    }
}

fn rendered(diagnosis: &Diagnosis, width: Option<usize>) -> String {
    let mut page = String::new();
    for fine in &diagnosis.fine {
        let says = format!("{}: {}", fine.about, fine.says);
        page.push_str(&text::signed(("✓", GOOD), &says, width));
    }
    page.extend(diagnosis.findings.iter().map(|finding| line(finding, width)));
    page.push_str(&text::unseen(&diagnosis.unseen, width));
    page.push('\n');
    page.push_str(&summary(diagnosis));
    page
}

fn line(finding: &Finding, width: Option<usize>) -> String {
    let (style, kind) = match finding.severity {
        Severity::Problem => (BAD, ""),
        Severity::Warning => (BUSY, " (warning)"),
    };
    let says = format!(
        "{}{kind} {}: {}",
        finding.code.as_str(),
        finding.about,
        finding.says
    );
    text::with_command(("!", style), &says, &finding.command, width)
}

fn summary(diagnosis: &Diagnosis) -> String {
    let counted = |number: usize, what: &str| match number {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let problems = counted(diagnosis.count(Severity::Problem), "problem");
    let warnings = counted(diagnosis.count(Severity::Warning), "warning");
    let more = if diagnosis.findings.is_empty() {
        String::new()
    } else {
        format!("; {PAGE} explains each code")
    };
    painted(&format!("{problems}, {warnings}{more}"), FAINT) + "\n"
}
