//! Writes every test fixture into a folder: `cargo run -p drafthorse-graph --example fixtures -- OUT`.

use std::path::Path;

use drafthorse_graph::fixtures;

fn main() -> anyhow::Result<()> {
    let Some(out) = std::env::args_os().nth(1) else {
        anyhow::bail!("usage: fixtures OUT");
    };
    fixtures::write_all(Path::new(&out))?;
    Ok(())
}
