package dev.drafthorse.benchmark

import android.content.Context
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import android.os.SystemClock
import dev.drafthorse.DeviceReading
import dev.drafthorse.DeviceSensors

/** What Android tells an app about heat and energy, without any permission. */
internal class PhoneSensors(context: Context) : DeviceSensors {
    private val power = checkNotNull(context.getSystemService(PowerManager::class.java)) { "every Android has one" }
    private val battery = checkNotNull(context.getSystemService(BatteryManager::class.java)) { "every Android has one" }
    private val headroom = Spaced(HEADROOM_EVERY_MS, SystemClock::elapsedRealtime, ::askHeadroom)

    override fun read(): DeviceReading = reading(
        Told(
            sdk = Build.VERSION.SDK_INT,
            thermalStatus = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) power.currentThermalStatus else null,
            headroom = headroom.value(),
            percent = battery.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY),
            microamperes = battery.getIntProperty(BatteryManager.BATTERY_PROPERTY_CURRENT_NOW),
            nanowattHours = battery.getLongProperty(BatteryManager.BATTERY_PROPERTY_ENERGY_COUNTER),
        ),
    )

    private fun askHeadroom(): Float? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) power.getThermalHeadroom(0) else null

    private companion object {
        /** Asked more often than once per second, Android answers with NaN. */
        const val HEADROOM_EVERY_MS = 1_100L
    }
}

/** Answers of Android as they came. A property that a device lacks is the least number of its type, or 0. */
internal class Told(
    val sdk: Int,
    val thermalStatus: Int?,
    val headroom: Float?,
    val percent: Int,
    val microamperes: Int,
    val nanowattHours: Long,
)

/** In the report's words and units. */
internal fun reading(told: Told): DeviceReading {
    val absent = mutableMapOf("temperature_c" to "Android tells an app the battery's temperature only")
    fun <T : Any> kept(name: String, value: T?, reason: String): T? = value ?: null.also { absent[name] = reason }
    return DeviceReading(
        thermalState = kept("thermal_state", told.thermalStatus?.let(STATES::getOrNull), "API 29; this is ${told.sdk}"),
        thermalHeadroom = kept(
            "thermal_headroom",
            told.headroom?.takeIf { it.isFinite() }?.toDouble(),
            if (told.sdk < Build.VERSION_CODES.R) "API 30; this is ${told.sdk}" else "the device does not forecast its heat",
        ),
        batteryPercent = kept(
            "battery_percent",
            told.percent.takeIf { it in 1..100 }?.toDouble(),
            "no BATTERY_PROPERTY_CAPACITY",
        ),
        // Android counts what goes in, the report what comes out.
        batteryMa = kept(
            "battery_ma",
            told.microamperes.takeIf { it != Int.MIN_VALUE && it != 0 }?.let { -it / 1e3 },
            "no BATTERY_PROPERTY_CURRENT_NOW",
        ),
        // What is left in the battery falls by what was used: joules, counted from an empty battery downwards.
        energyJ = kept(
            "energy_j",
            told.nanowattHours.takeIf { it > 0 }?.let { -it * JOULES_PER_NANOWATT_HOUR },
            "no BATTERY_PROPERTY_ENERGY_COUNTER",
        ),
        absent = absent,
    )
}

private const val JOULES_PER_NANOWATT_HOUR = 3.6e-6

/** PowerManager's THERMAL_STATUS_NONE to THERMAL_STATUS_SHUTDOWN. */
private val STATES = listOf("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

/** Asks at most every [everyMs], and gives the last answer meanwhile. */
internal class Spaced<T>(private val everyMs: Long, private val clockMs: () -> Long, private val ask: () -> T) {
    private var last: Pair<Long, T>? = null

    fun value(): T {
        val now = clockMs()
        last?.let { (at, value) -> if (now - at < everyMs) return value }
        return ask().also { last = now to it }
    }
}
