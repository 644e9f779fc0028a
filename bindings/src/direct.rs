//! The direct path of events to Java: one call through JNI for each, with the bytes that uniffi's own call carries, so
//! that the generated Kotlin reads them. uniffi's call over JNA takes up to fifty times as long (docs/adr/0006).
//!
//! Java names a generation by a number. It means nothing once the generation is gone, so no mistake there is one here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Generation;

/// The registered generations, and the last number that was given.
struct Register {
    generations: BTreeMap<u64, Weak<Generation>>,
    last: u64,
}

static REGISTER: Mutex<Register> = Mutex::new(Register { generations: BTreeMap::new(), last: 0 });

fn register() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generation's number, which goes with it.
pub(crate) struct Registration(u64);

impl Registration {
    fn of(generation: &Arc<Generation>) -> Self {
        let mut register = register();
        register.last += 1;
        let number = register.last;
        register.generations.insert(number, Arc::downgrade(generation));
        Self(number)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        register().generations.remove(&self.0);
    }
}

#[uniffi::export]
impl Generation {
    /// What Java's direct call names this generation by.
    pub fn direct_number(self: Arc<Self>) -> u64 {
        self.registration.get_or_init(|| Registration::of(&self)).0
    }
}

/// What Java calls.
#[cfg(not(target_os = "ios"))]
mod java {
    #![allow(unsafe_code, unreachable_pub, reason = "Java finds these functions by their exported names")]

    use std::sync::Weak;

    use jni::errors::{Result, ThrowRuntimeExAndDefault};
    use jni::objects::{JByteArray, JClass};
    use jni::sys::jlong;
    use jni::{EnvUnowned, jni_mangle};
    use uniffi::Lower;

    use crate::{GenerationEvent, UniFfiTag};

    /// Waits for the next event of generation `number`, as uniffi writes it. Null where there is none: the generated
    /// call then says whether that is the end or an error, and which.
    #[jni_mangle("dev.drafthorse.Direct")]
    pub extern "system" fn next<'l>(mut env: EnvUnowned<'l>, _class: JClass<'l>, number: jlong) -> JByteArray<'l> {
        env.with_env(|env| -> Result<_> {
            match event(number as u64) {
                Some(bytes) => env.byte_array_from_slice(&bytes),
                None => Ok(JByteArray::default()),
            }
        })
        .resolve::<ThrowRuntimeExAndDefault>()
    }

    fn event(number: u64) -> Option<Vec<u8>> {
        // The register is free again while the model computes.
        let generation = super::register().generations.get(&number).and_then(Weak::upgrade)?;
        let event = generation.next_or_leave()?;
        let mut bytes = Vec::new();
        <GenerationEvent as Lower<UniFfiTag>>::write(event, &mut bytes);
        Some(bytes)
    }

    #[cfg(test)]
    mod tests {
        use std::sync::Arc;

        use super::*;
        use crate::{DrafthorseError, measure_border};

        #[test]
        fn rounds_come_by_number_until_the_generation_is_gone() {
            let generation = measure_border(2, 1, 0, 0);
            let number = Arc::clone(&generation).direct_number();
            assert_eq!(Arc::clone(&generation).direct_number(), number);
            assert_ne!(measure_border(1, 1, 0, 0).direct_number(), number);
            let bytes = event(number).unwrap();
            assert!(bytes.windows(4).any(|text| text == b"tokn"), "{bytes:?}");
            event(number).unwrap();
            assert_eq!(event(number), None, "the end");
            assert!(matches!(generation.next(), Ok(None)));
            drop(generation);
            assert_eq!(event(number), None);
            assert_eq!(event(u64::MAX), None);
        }

        #[test]
        fn what_is_no_event_is_left_for_the_generated_call() {
            let generation = measure_border(2, 1, 0, 0);
            let number = Arc::clone(&generation).direct_number();
            event(number).unwrap();
            generation.release();
            assert_eq!(event(number), None);
            assert!(matches!(generation.next(), Err(DrafthorseError::Closed(_))));
        }
    }
}
