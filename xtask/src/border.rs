//! `cargo xtask border [kotlin|swift]`: what a streamed token costs at the border, by each path, in the library as it ships.

use anyhow::{Result, bail};

use crate::{kotlin, swift};

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => kotlin::measure_border().and_then(|()| swift::measure_border()),
        ["kotlin"] => kotlin::measure_border(),
        ["swift"] => swift::measure_border(),
        _ => bail!("cargo xtask border [kotlin|swift]"),
    }
}
