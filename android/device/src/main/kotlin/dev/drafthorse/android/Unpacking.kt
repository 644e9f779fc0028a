package dev.drafthorse.android

import dev.drafthorse.DrafthorseException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import kotlin.coroutines.coroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/** Copies packs from assets to files, whole or not at all, and forgets those of earlier versions. */
internal class Unpacking(private val assets: AssetTree, private val root: File) {
    /** The folder that holds the asset folder [path] as version [version] of the app has it. */
    suspend fun unpack(path: String, version: String): File {
        val versions = below(root, path.replace('/', '_'))
        val folder = File(versions, version)
        // A folder of this name is whole: it got the name when it was.
        if (folder.isDirectory) return folder
        try {
            alone { if (!folder.isDirectory) write(path, folder) }
        } catch (error: IOException) {
            throw DrafthorseException.Io("assets/$path: cannot be unpacked to $folder: ${error.message}")
        }
        return folder
    }

    /** Runs [action] while no other unpacking runs, in this process or in another one of the app. */
    private suspend fun alone(action: suspend () -> Unit) = inThisProcess.withLock {
        val lockFile = File("$root.lock")
        lockFile.parentFile?.mkdirs()
        // The system gives the lock back with the process, however that ends.
        FileOutputStream(lockFile).use { file ->
            file.channel.lock()
            action()
        }
    }

    private suspend fun write(path: String, folder: File) {
        val staging = File("$folder.tmp")
        try {
            // What an interrupted start left behind.
            staging.deleteRecursively()
            copy(path, staging)
            if (!staging.renameTo(folder)) throw IOException("cannot rename $staging to $folder")
        } finally {
            staging.deleteRecursively()
        }
        folder.parentFile?.listFiles().orEmpty().filter { it != folder }.forEach(File::deleteRecursively)
    }

    private suspend fun copy(path: String, target: File) {
        val names = assets.names(path)
        if (names.isEmpty()) return copyFile(path, target)
        if (!target.mkdirs()) throw IOException("cannot create $target")
        for (name in names) copy("$path/$name", File(target, name))
    }

    /** Piece by piece: a pack is larger than the heap. */
    private suspend fun copyFile(path: String, target: File) {
        val piece = ByteArray(PIECE_BYTES)
        assets.open(path).use { source ->
            FileOutputStream(target).use { out ->
                while (true) {
                    coroutineContext.ensureActive()
                    val count = source.read(piece)
                    if (count < 0) break
                    out.write(piece, 0, count)
                }
                // The rename must not be on disk before the bytes are.
                out.fd.sync()
            }
        }
    }

    private companion object {
        const val PIECE_BYTES = 256 * 1024

        /** A file's lock keeps other processes out, not other threads. */
        val inThisProcess = Mutex()
    }
}
