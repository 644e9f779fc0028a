package dev.drafthorse.android

import java.io.File

/** Where a pack comes from. */
public sealed interface PackSource {
    /**
     * A folder that is readable by path: downloaded by the app, or delivered by Play as an asset pack.
     *
     * @property folder The folder.
     */
    public data class Folder(val folder: File) : PackSource

    /**
     * A folder below the app's own storage (`Context.getFilesDir`).
     *
     * @property path Relative path; may not lead out of it.
     */
    public data class AppStorage(val path: String) : PackSource

    /**
     * A folder among the app's assets. Assets have no path of their own, so they are unpacked to app storage (outside of
     * backups) once per version of the app; that takes their size a second time.
     *
     * @property path Relative path among the assets, without a slash at its end.
     */
    public data class Assets(val path: String) : PackSource
}
