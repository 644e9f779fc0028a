package dev.drafthorse

import dev.drafthorse.ffi.Engine as NativeEngine
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.StateFlow

/**
 * The [LanguageModel] that runs on ONNX Runtime.
 *
 * Native calls block, so they run on a dispatcher: `Dispatchers.IO` unless another one is given to [open]. A generation
 * occupies one of its threads, except while its collector makes it wait.
 */
public class Engine private constructor(
    private val native: NativeEngine,
    private val dispatcher: CoroutineDispatcher,
) : LanguageModel {
    private val activity = Activity()

    override val report: EngineReport = native.report().toPublic()

    override val state: StateFlow<EngineState> get() = activity.state

    override suspend fun session(options: SessionOptions): Session {
        val session = acquire(dispatcher, { native.session(options.toNative()) }, { it.release() })
        return NativeSession(session, dispatcher, activity)
    }

    override suspend fun tokenize(text: String): List<Int> =
        blocking(dispatcher) { native.tokenize(text).map { it.toInt() } }

    override fun close() {
        activity.close()
        native.release()
    }

    /** Opens packs. */
    public companion object {
        /**
         * Opens the pack, onnxruntime-genai folder or Hugging Face folder at [path]. Takes as long as loading the weights,
         * which ONNX Runtime maps from the files: they never enter the Java heap.
         *
         * Cancelling the caller waits for the loading to end, and closes what was opened.
         *
         * @throws DrafthorseException.PackNotFound if there is nothing at [path].
         * @throws DrafthorseException.PackInvalid if the folder is no pack; other subclasses for what else is wrong.
         */
        public suspend fun open(
            path: String,
            options: EngineOptions = EngineOptions(),
            dispatcher: CoroutineDispatcher = Dispatchers.IO,
        ): Engine {
            val native = acquire(dispatcher, { NativeEngine.open(path, options.toNative()) }, { it.release() })
            return Engine(native, dispatcher)
        }
    }
}
