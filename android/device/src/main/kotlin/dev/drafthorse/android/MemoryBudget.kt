package dev.drafthorse.android

import android.app.ActivityManager
import android.content.Context
import java.io.File

/** How much memory the KV caches of a session may take on this device. */
public object MemoryBudget {
    /**
     * Bytes for [dev.drafthorse.EngineOptions.cacheBytesMax], from what `ActivityManager` reports now and the size of the
     * pack in [folder]: of all its files, so keep one variant of a model there. Looks at each of them, so call it on a
     * thread that may block.
     */
    public fun cacheBytesMax(context: Context, folder: File): Long {
        val manager = checkNotNull(context.getSystemService(ActivityManager::class.java)) { "every Android has one" }
        val memory = ActivityManager.MemoryInfo().also(manager::getMemoryInfo)
        return cacheBytesMax(
            availableBytes = memory.availMem,
            thresholdBytes = memory.threshold,
            totalBytes = memory.totalMem,
            lowRamDevice = manager.isLowRamDevice,
            packBytes = folder.walk().filter(File::isFile).sumOf(File::length),
        )
    }

    /**
     * The rule behind it. Of what is free above the system's threshold for killing processes, the weights take their
     * size, since a pass touches all of them; half of the rest may become cache, never more than an eighth of all memory,
     * or a sixteenth on a device that calls itself low on memory.
     *
     * @param availableBytes Memory that could be had now.
     * @param thresholdBytes Below this the system kills processes.
     * @param totalBytes All memory.
     * @param lowRamDevice True if the device calls itself low on memory.
     * @param packBytes Size of the pack's files.
     * @return At least 0. With too little, opening fails with the number of bytes that were needed and allowed.
     */
    public fun cacheBytesMax(
        availableBytes: Long,
        thresholdBytes: Long,
        totalBytes: Long,
        lowRamDevice: Boolean,
        packBytes: Long,
    ): Long {
        val free = availableBytes - thresholdBytes - packBytes
        val most = totalBytes / (if (lowRamDevice) 16 else 8)
        return (free / 2).coerceIn(0, most)
    }
}
