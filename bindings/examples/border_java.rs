//! The direct path from Rust to Java, for `benches/Border.java` to measure beside uniffi's (docs/adr/0006): one call per
//! round, the event as bytes in an array.
#![cfg_attr(target_os = "linux", allow(unsafe_code, reason = "Java holds the generation as a number"))]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use drafthorse_bindings::{Generation, GenerationEvent, measure_border};
use jni::errors::{Result, ThrowRuntimeExAndDefault};
use jni::objects::{JByteArray, JClass};
use jni::sys::{jint, jlong};
use jni::{EnvUnowned, jni_mangle};

/// A handle of made-up rounds.
#[jni_mangle("Border")]
pub extern "system" fn begin<'l>(_env: EnvUnowned<'l>, _class: JClass<'l>, rounds: jlong, tokens: jint) -> jlong {
    Arc::into_raw(measure_border(rounds as u64, tokens as u32)) as jlong
}

/// The next event, or null: bytes of the text, the text, then 9 bytes for each token, numbers big-endian as Java reads.
#[jni_mangle("Border")]
pub extern "system" fn next<'l>(mut env: EnvUnowned<'l>, _class: JClass<'l>, handle: jlong) -> JByteArray<'l> {
    // SAFETY: `begin` made the handle, and `end` comes after the last call.
    let generation = unsafe { &*(handle as *const Generation) };
    env.with_env(|env| -> Result<_> {
        let Ok(Some(GenerationEvent::Tokens { text, tokens })) = generation.next() else {
            return Ok(JByteArray::default());
        };
        let mut bytes = Vec::with_capacity(4 + text.len() + 9 * tokens.len());
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        for token in tokens {
            bytes.extend(token.id.to_be_bytes());
            bytes.push(u8::from(token.drafted));
            bytes.extend((token.text_end as u32).to_be_bytes());
        }
        env.byte_array_from_slice(&bytes)
    })
    .resolve::<ThrowRuntimeExAndDefault>()
}

/// Frees the handle.
#[jni_mangle("Border")]
pub extern "system" fn end<'l>(_env: EnvUnowned<'l>, _class: JClass<'l>, handle: jlong) {
    // SAFETY: `begin` made the handle, and it is used no more.
    drop(unsafe { Arc::from_raw(handle as *const Generation) });
}
