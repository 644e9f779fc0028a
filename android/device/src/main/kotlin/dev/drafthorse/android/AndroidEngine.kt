package dev.drafthorse.android

import android.content.Context
import dev.drafthorse.Engine
import dev.drafthorse.EngineOptions
import dev.drafthorse.ExecutionProvider
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/** Opens packs with what this device and this app have: folders, libraries, memory, execution providers. */
public object AndroidEngine {
    /**
     * Opens [pack].
     *
     * A pack in the app's assets is unpacked first, once per version of the app. Weights are opened by path and mapped:
     * they never enter the Java heap.
     *
     * What [options] leave open is filled in: the app's ONNX Runtime library, a folder for measured costs, and a memory
     * budget for the caches ([MemoryBudget]).
     *
     * @throws dev.drafthorse.DrafthorseException as [Engine.open]; `Io` too, if an asset cannot be unpacked.
     */
    public suspend fun open(
        context: Context,
        pack: PackSource,
        options: EngineOptions = EngineOptions(),
        dispatcher: CoroutineDispatcher = Dispatchers.IO,
    ): Engine {
        val application = context.applicationContext ?: context
        val folder = PackFolders(application).folder(pack, dispatcher)
        withContext(dispatcher) { Native.prepare(application) }
        val budget = options.cacheBytesMax ?: MemoryBudget.cacheBytesMax(application, folder)
        return Engine.open(folder.path, options.copy(cacheBytesMax = budget), dispatcher)
    }

    /**
     * [options] with [wanted] execution providers for the target, best first, as far as this device may have them.
     *
     * The CPU comes last in any case. Each is proved with a dummy pass when the pack is opened.
     */
    public fun withProviders(
        context: Context,
        wanted: List<ExecutionProvider>,
        options: EngineOptions = EngineOptions(),
    ): EngineOptions = options.copy(targetProviders = ProviderPreference.choices(wanted, DeviceFacts.of(context)))
}
