//! What is done with reports at a desk, and never on the device: pages, comparison, gates, fleets, tables.

mod assemble;
mod collect;
mod compare;
mod gate;
mod html;
mod parquet_file;
mod schema;
mod table_rows;

pub use assemble::assemble;
pub use collect::{Collected, Group, GroupKey, SetAside, Spread, collect, collected_table};
pub use compare::{ComparedCase, Comparison, compare, compare_within, comparison_table};
pub use gate::{Finding, Limit, Limits, Metric, Verdict};
pub use html::{html, speed_plot};
pub use parquet_file::ParquetFolder;
pub use schema::schema;
