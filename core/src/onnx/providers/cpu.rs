//! CPU: MLAS, with KleidiAI on ARM. Everywhere, every operator; the dependable path for both models.

use ort::ep::{CPU, ExecutionProviderDispatch};

use super::ProviderChoice;

/// `use_arena` (`0` or `1`, default `1`) keeps memory between passes instead of asking the system each time.
pub(super) fn dispatch(choice: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    let mut use_arena = true;
    for (key, value) in &choice.options {
        match (key.as_str(), value.as_str()) {
            ("use_arena", "0") => use_arena = false,
            ("use_arena", "1") => use_arena = true,
            _ => return Err(format!("option {key}={value}: the CPU takes use_arena=0 or use_arena=1")),
        }
    }
    Ok(CPU::default().with_arena_allocator(use_arena).build())
}
