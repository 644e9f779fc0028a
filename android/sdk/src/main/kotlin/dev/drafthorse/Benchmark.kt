package dev.drafthorse

import dev.drafthorse.ffi.BenchmarkDevice as NativeDevice
import dev.drafthorse.ffi.runBenchmark
import kotlin.coroutines.cancellation.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.job

/**
 * Measures a pack on this device by the method of `drafthorse bench`, so that another lab can repeat it: latency, speed
 * against plain decoding with its interval, acceptance, memory, heat and energy.
 */
public object Benchmark {
    /**
     * Measures as [plan] says and returns the report; both are JSON, described by `bench/report.schema.json`. It takes
     * minutes and as much of the processor as there is.
     *
     * Cancelling the caller ends it after the generation that is under way.
     *
     * @param plan Fields of `plan` in the schema; `pack`, the path of a folder, has to be there.
     * @param sensors What the system tells this app about the device.
     * @param onProgress Told what is under way, on a thread of [dispatcher].
     * @throws DrafthorseException.InvalidOptions if the plan cannot be run; other subclasses as [Engine.open] and
     * [Session.generate] have them.
     */
    public suspend fun run(
        plan: String,
        sensors: DeviceSensors = DeviceSensors { DeviceReading() },
        dispatcher: CoroutineDispatcher = Dispatchers.IO,
        onProgress: (BenchmarkProgress) -> Unit = {},
    ): String {
        val device = WatchedDevice(sensors, onProgress, currentCoroutineContext().job)
        val report = blocking(dispatcher) { runBenchmark(plan, device) }
        device.failure?.let { throw it }
        return report ?: throw CancellationException("the benchmark was cancelled")
    }
}

/** Reads what the system tells an app about its device; called between generations, on the benchmark's thread. */
public fun interface DeviceSensors {
    /** One look at the sensors. */
    public fun read(): DeviceReading
}

/**
 * One look at the sensors. What the system does not tell is null, with the reason in [absent].
 *
 * @property temperatureC Temperature of the processor in degrees Celsius.
 * @property thermalState In Android's words: `none`, `light`, `moderate`, `severe`, `critical`, `emergency`, `shutdown`.
 * @property thermalHeadroom Android's thermal headroom: 1 is where severe throttling begins.
 * @property batteryPercent Charge of the battery.
 * @property batteryMa Current out of the battery in milliamperes; negative while it charges.
 * @property energyJ Energy used since some moment in the past, in joules.
 * @property residentBytes Resident memory of this process; otherwise read from `/proc`.
 * @property absent Why a value is null, by its name in the report, such as `thermal_headroom`.
 */
public data class DeviceReading(
    val temperatureC: Double? = null,
    val thermalState: String? = null,
    val thermalHeadroom: Double? = null,
    val batteryPercent: Double? = null,
    val batteryMa: Double? = null,
    val energyJ: Double? = null,
    val residentBytes: Long? = null,
    val absent: Map<String, String> = emptyMap(),
)

/**
 * How far a benchmark is.
 *
 * @property step What is under way, in English.
 * @property done Generations done with this execution provider.
 * @property planned Generations planned with it; the time may be up before.
 */
public data class BenchmarkProgress(val step: String, val done: Long, val planned: Long)

/** The app's side. What it throws ends the benchmark and is kept, since no exception crosses the border. */
private class WatchedDevice(
    private val sensors: DeviceSensors,
    private val onProgress: (BenchmarkProgress) -> Unit,
    private val job: Job,
) : NativeDevice {
    @Volatile
    var failure: Throwable? = null
        private set

    override fun read() = (attempt { sensors.read() } ?: DeviceReading()).toNative()

    override fun progress(step: String, done: ULong, planned: ULong): Boolean {
        attempt { onProgress(BenchmarkProgress(step, done.toLong(), planned.toLong())) }
        return failure == null && job.isActive
    }

    private fun <T> attempt(call: () -> T): T? =
        runCatching(call).onFailure { if (failure == null) failure = it }.getOrNull()
}
