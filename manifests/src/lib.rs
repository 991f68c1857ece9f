//! The manifests, from one source: the chart's templates, the CEL of [`cel`], and typed [`values`].
//!
//! Everything below `manifests/` that is not written by hand comes from here: the chart's values, its schema and its generated templates, the
//! kustomize base, its components and overlays. `cargo manifests` writes them; a test compares them.
//! Not here: applying anything to a cluster.

pub mod alerts;
pub mod cel;
pub mod chart;
pub mod dashboard;
mod difference;
mod flags;
pub mod install;
pub mod kustomize;
mod page;
mod static_admission;
mod template;
pub mod values;

pub use self::template::TemplateError;

/// Every generated file below `manifests/`, with its path there.
///
/// # Errors
///
/// See [`kustomize::files`].
pub fn generated() -> Result<Vec<chart::File>, kustomize::KustomizeError> {
    let mut files = kustomize::files()?;
    files.extend(static_admission::files()?);
    files.extend(chart::generated()?.into_iter().map(|file| chart::File {
        name: format!("chart/{}", file.name),
        ..file
    }));
    files.push(chart::File {
        name: "monitoring/rules.yaml".to_owned(),
        text: alerts::file(),
    });
    files.push(chart::File {
        name: "monitoring/dashboard.json".to_owned(),
        text: dashboard::file().map_err(chart::RenderError::Values)?,
    });
    Ok(files)
}
