package dev.drafthorse.benchmark

import android.app.ActivityManager
import android.content.Context
import android.content.pm.ApplicationInfo
import android.os.Build
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive

/** What Android knows of the device and no file tells: the plan's `host`. No serial number. */
internal fun phoneFacts(context: Context): Map<String, JsonElement> {
    val manager = checkNotNull(context.getSystemService(ActivityManager::class.java)) { "every Android has one" }
    val memory = ActivityManager.MemoryInfo().also(manager::getMemoryInfo)
    val soc = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}" else Build.HARDWARE
    val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName
    val debuggable = context.applicationInfo.flags and ApplicationInfo.FLAG_DEBUGGABLE != 0
    return mapOf(
        "device" to JsonPrimitive("${Build.MANUFACTURER} ${Build.MODEL}"),
        "soc" to JsonPrimitive(soc),
        "os_version" to JsonPrimitive("Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})"),
        "memory_bytes" to JsonPrimitive(memory.totalMem),
        "app" to JsonPrimitive("${context.packageName} $version, ${if (debuggable) "debuggable" else "not debuggable"}"),
    )
}
