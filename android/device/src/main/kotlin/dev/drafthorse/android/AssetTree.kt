package dev.drafthorse.android

import android.content.res.AssetManager
import java.io.InputStream

/** The part of Android's assets that unpacking needs. */
internal interface AssetTree {
    /** Names below the folder [path]; empty for a file, and for what is not there. */
    fun names(path: String): List<String>

    /** The file at [path]. */
    fun open(path: String): InputStream

    companion object {
        fun of(assets: AssetManager): AssetTree = object : AssetTree {
            override fun names(path: String) = assets.list(path).orEmpty().toList()
            override fun open(path: String) = assets.open(path, AssetManager.ACCESS_STREAMING)
        }
    }
}
