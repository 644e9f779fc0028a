package dev.drafthorse.android

import dev.drafthorse.DrafthorseException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import kotlin.coroutines.coroutineContext
import kotlinx.coroutines.ensureActive

/** Copies packs from assets to files, whole or not at all, and forgets those of earlier versions. */
internal class Unpacking(private val assets: AssetTree, private val root: File) {
    /** The folder that holds the asset folder [path] as version [version] of the app has it. */
    suspend fun unpack(path: String, version: String): File {
        val versions = below(root, path.replace('/', '_'))
        val folder = File(versions, version)
        if (folder.isDirectory) return folder

        val staging = File(versions, "$version.tmp")
        try {
            // What an interrupted start left behind.
            staging.deleteRecursively()
            copy(path, staging)
            if (!staging.renameTo(folder)) throw IOException("cannot rename $staging to $folder")
        } catch (error: IOException) {
            throw DrafthorseException.Io("assets/$path: cannot be unpacked to $folder: ${error.message}")
        } finally {
            staging.deleteRecursively()
        }
        versions.listFiles().orEmpty().filter { it != folder }.forEach(File::deleteRecursively)
        return folder
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
    }
}
