import Drafthorse
import Foundation

#if canImport(UIKit)
    import UIKit
#endif

/// One look at what the system tells an app about heat and energy; called on the benchmark's thread.
@Sendable func readSensors() -> DeviceReading {
    var reading = DeviceReading(absent: [
        "temperature_c": "Apple's systems tell an app a state, no temperature",
        "thermal_headroom": "a notion of Android",
        "battery_ma": "Apple's systems do not tell an app",
        "energy_j": "Apple's systems do not tell an app",
    ])
    readThermalState(into: &reading)
    readBattery(into: &reading)
    readMemory(into: &reading)
    return reading
}

private func readThermalState(into reading: inout DeviceReading) {
    #if canImport(Darwin)
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: reading.thermalState = "nominal"
        case .fair: reading.thermalState = "fair"
        case .serious: reading.thermalState = "serious"
        case .critical: reading.thermalState = "critical"
        @unknown default: reading.absent["thermal_state"] = "a state that this app has no word for"
        }
    #else
        reading.absent["thermal_state"] = "a notion of Apple's systems"
    #endif
}

private func readBattery(into reading: inout DeviceReading) {
    #if canImport(UIKit)
        // The test that measures leaves the main thread free.
        let level = DispatchQueue.main.sync {
            MainActor.assumeIsolated {
                UIDevice.current.isBatteryMonitoringEnabled = true
                return UIDevice.current.batteryLevel
            }
        }
        if level >= 0 {
            reading.batteryPercent = Double(level) * 100
        } else {
            reading.absent["battery_percent"] = "no battery, as in the simulator"
        }
    #else
        reading.absent["battery_percent"] = "asked of UIKit, which is not here"
    #endif
}

private func readMemory(into reading: inout DeviceReading) {
    #if canImport(Darwin)
        var info = mach_task_basic_info()
        var count = mach_msg_type_number_t(MemoryLayout<mach_task_basic_info>.size / MemoryLayout<natural_t>.size)
        let outcome = withUnsafeMutablePointer(to: &info) { pointer in
            pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                task_info(mach_task_self_, task_flavor_t(MACH_TASK_BASIC_INFO), $0, &count)
            }
        }
        if outcome == KERN_SUCCESS {
            reading.residentBytes = Int(info.resident_size)
        } else {
            reading.absent["resident_bytes"] = "task_info returned \(outcome)"
        }
    #endif
}
