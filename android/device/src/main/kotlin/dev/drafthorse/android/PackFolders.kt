package dev.drafthorse.android

import android.content.Context
import dev.drafthorse.DrafthorseException
import java.io.File

/** Finds the folder of a pack, unpacking assets where need be. Blocks its thread. */
internal class PackFolders(private val context: Context) {
    suspend fun folder(source: PackSource): File = when (source) {
        is PackSource.Folder -> source.folder
        is PackSource.AppStorage -> below(context.filesDir, source.path)
        is PackSource.Assets ->
            Unpacking(AssetTree.of(context.assets), File(context.noBackupFilesDir, "drafthorse/packs"))
                .unpack(source.path, appVersion())
    }

    /** Changes with every installation, so that an update brings its own pack. */
    private fun appVersion(): String =
        context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime.toString()
}

/** [path] below [root]. */
internal fun below(root: File, path: String): File {
    val folder = File(root, path).canonicalFile
    if (folder.startsWith(root.canonicalFile)) return folder
    throw DrafthorseException.InvalidOptions("option pack: $path leads out of the app's storage")
}
