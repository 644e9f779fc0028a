import Foundation

/// What the system knows of the device and no file tells: the plan's `host`. No serial number, no name of its owner.
struct DeviceFacts: Sendable {
    /// Model identifier, such as `iPhone17,1`; absent where files tell.
    var device: String?
    /// Name and version of the system.
    var systemVersion: String
    /// Bytes of memory.
    var memoryBytes: UInt64
    /// The app that measures.
    var app: String

    /// The facts of this device and this app.
    static func here() -> DeviceFacts {
        let process = ProcessInfo.processInfo
        let bundle = Bundle.main
        let version = bundle.infoDictionary?["CFBundleShortVersionString"] as? String ?? "without a version"
        #if DEBUG
            let build = "built for debugging"
        #else
            let build = "optimised"
        #endif
        return DeviceFacts(
            device: modelIdentifier(),
            systemVersion: "\(systemName) \(process.operatingSystemVersionString)",
            memoryBytes: process.physicalMemory,
            app: "\(bundle.bundleIdentifier ?? process.processName) \(version), \(build)")
    }

    /// In the plan's words.
    var fields: [String: Any] {
        var fields: [String: Any] = ["os_version": systemVersion, "memory_bytes": memoryBytes, "app": app]
        if let device { fields["device"] = device }
        return fields
    }
}

#if os(iOS)
    private let systemName = "iOS"
#elseif os(macOS)
    private let systemName = "macOS"
#else
    private let systemName = "Linux"
#endif

private func modelIdentifier() -> String? {
    #if canImport(Darwin)
        var system = utsname()
        uname(&system)
        return withUnsafeBytes(of: &system.machine) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    #else
        return nil
    #endif
}
