//! Distils a drafter from its target.

pub mod batch;
pub mod rollout;
pub mod step;
