//! Placeholder.
fn main() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    rt.block_on(async {
        let t = std::time::Instant::now();
        let plane = cordonhold_tests::control_plane::ControlPlane::start(cordonhold_tests::control_plane::Options { nodes: 3 }).await.unwrap();
        eprintln!("{:?} {}", t.elapsed(), plane.directory().display());
        tokio::signal::ctrl_c().await.unwrap();
    });
}
