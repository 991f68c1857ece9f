//! `migrate plan`: kured's settings as values of the chart, and what changes and why. It writes nothing.
//!
//! Not here: what becomes of each setting ([`cordonhold_shared::migration`]), and the steps that follow (`stages`).

use std::path::Path;

use cordonhold_shared::kured::DaemonSetView;
use cordonhold_shared::migration::{Becomes, Line, Plan, Secrets, Source};
use kube::api::ListParams;
use serde_json::Value;

use crate::args::{Format, PlanArgs};
use crate::cluster::{Cluster, Sight, seen};
use crate::text::{self, BAD, BUSY, Cell, FAINT, GOOD, PLAIN};
use crate::{Ending, Error, install, output};

mod acts;
mod remove;
pub(crate) mod stages;

pub(crate) async fn plan(
    connect: impl AsyncFn() -> Result<Cluster, Error>,
    args: &PlanArgs,
) -> Result<Ending, Error> {
    let source = match &args.from {
        Some(path) => from_file(path)?,
        None => connect().await?.kureds_settings(args.kured.as_deref()).await?,
    };
    let secrets = if args.show_secrets {
        Secrets::Shown
    } else {
        Secrets::Hidden
    };
    let plan = Plan::of(&source, secrets);
    match args.output {
        // What Helm takes.
        Some(Format::Yaml) => {
            let _ = output::document(args.output, &plan.values)?;
        }
        Some(Format::Json) => {
            let _ = output::document(args.output, &plan)?;
        }
        Some(Format::Wide) => output::print(&rendered(&plan, None)?)?,
        None => output::print(&rendered(&plan, Some(output::width()))?)?,
    }
    Ok(Ending::Fine)
}

/// Reads a DaemonSet, or the values of kured's chart.
fn from_file(path: &Path) -> Result<Source, Error> {
    let failed = |why: String| {
        Error::Usage(format!(
            "failed to read {}: {why}: name a file with kured's DaemonSet, or with the values of its chart",
            path.display()
        ))
    };
    let text = install::text_of(path)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| failed(error.to_string()))?;
    if let Some(set) = documents.iter().find(|document| document["kind"] == "DaemonSet") {
        return Source::of_daemon_set(set).ok_or_else(|| failed("its DaemonSet has no container".to_owned()));
    }
    let values = documents
        .iter()
        .find(|document| document.is_object() && document["kind"].is_null());
    let values = values.ok_or_else(|| failed("there is neither in it".to_owned()))?;
    Ok(Source::of_values(values))
}

impl Cluster {
    /// The settings of kured's DaemonSet: of this one, or of the only one that looks like kured's.
    async fn kureds_settings(&self, wanted: Option<&str>) -> Result<Source, Error> {
        let sets = self.daemon_sets().await?;
        let set = kured_among(&sets, wanted)?.ok_or_else(|| {
            Error::Usage(
                "no DaemonSet looks like kured's: name it with --kured NAMESPACE/NAME, or give its settings with --from".to_owned(),
            )
        })?;
        Source::of_daemon_set(set)
            .ok_or_else(|| Error::Usage("kured's DaemonSet has no container".to_owned()))
    }

    /// All `DaemonSets`.
    async fn daemon_sets(&self) -> Result<Vec<Value>, Error> {
        let sight = Sight {
            what: "kured's DaemonSet".to_owned(),
            needs: "list daemonsets.apps in the whole cluster".to_owned(),
            role: "view in the whole cluster",
        };
        let mut unseen = Vec::new();
        let sets = self
            .list::<Value>("/apis/apps/v1/daemonsets", ListParams::default())
            .await;
        match seen(sets, &sight, &mut unseen)? {
            Some(sets) => Ok(sets),
            None => Err(Error::Usage(format!(
                "{}; or give its DaemonSet with --from",
                text::unseen(&unseen, None).trim()
            ))),
        }
    }
}

/// kured's DaemonSet among all: this one, or the only one that looks like kured's.
fn kured_among<'a>(sets: &'a [Value], wanted: Option<&str>) -> Result<Option<&'a Value>, Error> {
    let named = |set: &Value| -> Option<(String, bool)> {
        let view: DaemonSetView = serde_json::from_value(set.clone()).ok()?;
        Some((view.kured().to_string(), view.looks_like_kured()))
    };
    let is_meant =
        |set: &&Value| named(set).is_some_and(|(name, looks)| wanted.map_or(looks, |wanted| name == wanted));
    let found: Vec<&Value> = sets.iter().filter(is_meant).collect();
    if found.len() > 1 {
        let all: Vec<String> = found
            .iter()
            .filter_map(|set| named(set))
            .map(|(name, _)| name)
            .collect();
        let says = format!(
            "several DaemonSets look like kured's: name one with --kured: {}",
            all.join(", ")
        );
        return Err(Error::Usage(says));
    }
    Ok(found.first().copied())
}

fn rendered(plan: &Plan, width: Option<usize>) -> Result<String, Error> {
    let mut page = text::fields(&[("from", plan.from.clone())], width.unwrap_or(usize::MAX));
    page.push('\n');
    let rows: Vec<Vec<Cell>> = plan.lines.iter().map(row).collect();
    page.push_str(&text::table(&["SETTING", "BECOMES", "WHY"], &rows, width));
    let values = serde_saphyr::to_string(&plan.values).map_err(std::io::Error::other)?;
    page.push_str("\nvalues for the chart, beside images and people:\n\n");
    page.push_str(&values);
    Ok(page)
}

fn row(line: &Line) -> Vec<Cell> {
    let style = match line.becomes {
        Becomes::Same => FAINT,
        Becomes::Differs | Becomes::Secret => PLAIN,
        Becomes::LeftOut | Becomes::NoEffect => BUSY,
        Becomes::Unknown => BAD,
        Becomes::Advice => GOOD,
    };
    let says = if line.says.is_empty() { "-" } else { &line.says };
    vec![
        Cell::plain(line.setting.clone()),
        Cell::new(line.becomes.as_str(), style),
        Cell::plain(says),
    ]
}
