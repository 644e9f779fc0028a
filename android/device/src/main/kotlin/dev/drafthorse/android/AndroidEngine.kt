package dev.drafthorse.android

import android.content.Context
import android.os.Build
import dev.drafthorse.Engine
import dev.drafthorse.EngineOptions
import dev.drafthorse.ExecutionProvider
import java.io.File
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
     * What [options] leave open is filled in: the app's ONNX Runtime library, a folder for measured costs, a memory
     * budget for the caches ([MemoryBudget]), and the build of Android that graphs are compiled for.
     *
     * @throws dev.drafthorse.DrafthorseException as [Engine.open] and [prepare].
     */
    public suspend fun open(
        context: Context,
        pack: PackSource,
        options: EngineOptions = EngineOptions(),
        dispatcher: CoroutineDispatcher = Dispatchers.IO,
    ): Engine {
        val folder = prepare(context, pack, dispatcher)
        val budget = options.cacheBytesMax ?: withContext(dispatcher) { MemoryBudget.cacheBytesMax(context, folder) }
        val device = options.device ?: Build.FINGERPRINT
        return Engine.open(folder.path, options.copy(cacheBytesMax = budget, device = device), dispatcher)
    }

    /**
     * The part of [open] that comes before the pack is read: unpacks [pack] where it has no path, loads the library and
     * names the app's ONNX Runtime to it. For [dev.drafthorse.Benchmark], which opens packs itself.
     *
     * @return The folder of the pack.
     * @throws dev.drafthorse.DrafthorseException.Io if an asset cannot be unpacked, or the app's cache folder not be
     * written to; `Unsupported` if the app has no library for this device's processor; `InvalidOptions` if a path leads
     * out of the app's storage.
     */
    public suspend fun prepare(
        context: Context,
        pack: PackSource,
        dispatcher: CoroutineDispatcher = Dispatchers.IO,
    ): File = withContext(dispatcher) {
        val application = context.applicationContext ?: context
        PackFolders(application).folder(pack).also { typed { Native.prepare(application) } }
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
