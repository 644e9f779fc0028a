package dev.drafthorse

import dev.drafthorse.ffi.DrafthorseException as NativeException
import java.nio.charset.CharacterCodingException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.isActive
import kotlinx.coroutines.withContext

/** Runs a short native call on a thread where it may block. */
internal suspend fun <T> blocking(dispatcher: CoroutineDispatcher, call: () -> T): T =
    withContext(dispatcher) { translated(call) }

/**
 * Runs a native call that makes something to be released. A cancellation meanwhile releases it: nothing is lost on the
 * way back to the caller.
 */
internal suspend fun <T> acquire(dispatcher: CoroutineDispatcher, make: () -> T, release: (T) -> Unit): T {
    currentCoroutineContext().ensureActive()
    // Two steps: changing dispatcher and job in one would let a cancellation drop the result.
    val made = withContext(NonCancellable) { withContext(dispatcher) { translated(make) } }
    if (!currentCoroutineContext().isActive) {
        withContext(NonCancellable) { withContext(dispatcher) { release(made) } }
        currentCoroutineContext().ensureActive()
    }
    return made
}

/** Runs [call] and gives its errors the public types. */
internal inline fun <T> translated(call: () -> T): T =
    try {
        call()
    } catch (error: NativeException) {
        throw error.toPublic()
    } catch (_: CharacterCodingException) {
        // The border carries UTF-8, which a text cut within an emoji has no form in.
        throw DrafthorseException.InvalidOptions("the prompt or an option: a text holds half of a surrogate pair; cut texts between characters")
    }
