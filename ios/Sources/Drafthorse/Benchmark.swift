import DrafthorseAPI
import Foundation

/// Measures a pack on this device by the method of `drafthorse bench`, so that another lab can repeat it: latency,
/// speed against plain decoding with its interval, acceptance, memory, heat and energy.
public enum Benchmark {
    /// Measures as `plan` says and returns the report; both are JSON, described by `bench/report.schema.json`.
    ///
    /// It takes minutes and as much of the processor as there is, on a thread of its own. Cancelling the task ends it
    /// after the generation that is under way.
    ///
    /// - Parameters:
    ///   - plan: Fields of `plan` in the schema; `pack`, the path of a folder, has to be there.
    ///   - sensors: What the system tells this app about the device; called on the benchmark's thread.
    ///   - onProgress: Told what is under way, on the same thread.
    /// - Throws: ``DrafthorseAPI/EngineError/invalidOptions(_:)`` if the plan cannot be run, the errors of
    ///   ``Engine/open(_:options:)`` and ``Session/generate(_:options:)-(Prompt,_)``, `CancellationError`.
    public static func run(
        plan: String,
        sensors: @escaping @Sendable () -> DeviceReading = { DeviceReading() },
        onProgress: @escaping @Sendable (BenchmarkProgress) -> Void = { _ in }
    ) async throws -> String {
        let device = WatchedDevice(sensors: sensors, onProgress: onProgress)
        let report = try await withTaskCancellationHandler {
            try await onOwnThread { try rethrowing { try runNativeBenchmark(plan, device) } }
        } onCancel: {
            device.isCancelled.withLock { $0 = true }
        }
        guard let report else { throw CancellationError() }
        return report
    }
}

/// One look at the sensors. What the system does not tell is absent, with the reason.
public struct DeviceReading: Sendable, Hashable {
    /// Temperature of the processor in degrees Celsius.
    public var temperatureC: Double?
    /// In Apple's words: `nominal`, `fair`, `serious`, `critical`.
    public var thermalState: String?
    /// Charge of the battery.
    public var batteryPercent: Double?
    /// Current out of the battery in milliamperes; negative while it charges.
    public var batteryMa: Double?
    /// Energy used since some moment in the past, in joules.
    public var energyJ: Double?
    /// Resident memory of this process.
    public var residentBytes: Int?
    /// Why a value is absent, by its name in the report, such as `battery_ma`.
    public var absent: [String: String]

    /// A look; everything that is not named is absent.
    public init(
        temperatureC: Double? = nil, thermalState: String? = nil, batteryPercent: Double? = nil,
        batteryMa: Double? = nil, energyJ: Double? = nil, residentBytes: Int? = nil, absent: [String: String] = [:]
    ) {
        self.temperatureC = temperatureC
        self.thermalState = thermalState
        self.batteryPercent = batteryPercent
        self.batteryMa = batteryMa
        self.energyJ = energyJ
        self.residentBytes = residentBytes
        self.absent = absent
    }
}

/// How far a benchmark is.
public struct BenchmarkProgress: Sendable, Hashable {
    /// What is under way, in English.
    public var step: String
    /// Generations done with this execution provider.
    public var done: Int
    /// Generations planned with it; the time may be up before.
    public var planned: Int
}

/// The app's side of the border.
private final class WatchedDevice: NativeBenchmarkDevice {
    let isCancelled = Locked(false)
    private let sensors: @Sendable () -> DeviceReading
    private let onProgress: @Sendable (BenchmarkProgress) -> Void

    init(
        sensors: @escaping @Sendable () -> DeviceReading, onProgress: @escaping @Sendable (BenchmarkProgress) -> Void
    ) {
        self.sensors = sensors
        self.onProgress = onProgress
    }

    func read() -> NativeDeviceReading {
        NativeDeviceReading(sensors())
    }

    func progress(step: String, done: UInt64, planned: UInt64) -> Bool {
        onProgress(BenchmarkProgress(step: step, done: Int(clamping: done), planned: Int(clamping: planned)))
        return !isCancelled.withLock { $0 }
    }
}
