//! No panic crosses the border: it becomes an error with its message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{DrafthorseError, Result};

/// Runs `call`; a panic in it is the error `Panic`.
///
/// Unwind safety is asserted: every lock of this crate is taken even where poisoned, and a generation that panicked is
/// gone from its handle.
pub(crate) fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(DrafthorseError::Panic(message(&*panic))))
}

/// Runs `call`, which cannot fail; a panic in it is logged, because nobody could act on it.
pub(crate) fn guard_quiet(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        log::error!("{what} panicked: {}", message(&*panic));
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// Panics with `message`, on purpose: shows an app, and the tests of every language, how a panic arrives.
///
/// # Errors
/// Always `Panic`.
#[uniffi::export]
pub fn provoke_panic(message: String) -> Result<()> {
    guard(|| panic!("{message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let error = provoke_panic("row 3 of 2".to_owned()).unwrap_err();
        assert!(matches!(&error, DrafthorseError::Panic(message) if message == "row 3 of 2"), "{error:?}");
        let error = guard::<()>(|| panic!("fixed words")).unwrap_err();
        assert!(error.to_string().ends_with("fixed words"), "{error}");
        let error = guard::<()>(|| std::panic::panic_any(7)).unwrap_err();
        assert!(matches!(error, DrafthorseError::Panic(_)));
        assert_eq!(guard(|| Ok(1)).unwrap(), 1);
        guard_quiet("this test", || panic!("logged"));
    }
}
