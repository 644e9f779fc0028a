package dev.drafthorse.android

import android.content.Context
import android.content.pm.PackageManager
import android.os.Build
import java.io.File

/**
 * What decides which execution providers a device may have.
 *
 * @property sdk Version of the platform.
 * @property socManufacturer Who made the processor; empty before Android 12, which does not say.
 * @property vulkan True if there is a Vulkan driver.
 * @property qnnLibrary Path of Qualcomm's back-end library in the app; null without one.
 */
public data class DeviceFacts(
    val sdk: Int,
    val socManufacturer: String,
    val vulkan: Boolean,
    val qnnLibrary: String?,
) {
    /** Reads them. */
    public companion object {
        /** The facts of this device and this app. */
        public fun of(context: Context): DeviceFacts = DeviceFacts(
            sdk = Build.VERSION.SDK_INT,
            socManufacturer = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) Build.SOC_MANUFACTURER else "",
            vulkan = context.packageManager.hasSystemFeature(PackageManager.FEATURE_VULKAN_HARDWARE_VERSION),
            qnnLibrary = File(context.applicationInfo.nativeLibraryDir.orEmpty(), "libQnnHtp.so")
                .takeIf(File::isFile)?.path,
        )
    }
}
