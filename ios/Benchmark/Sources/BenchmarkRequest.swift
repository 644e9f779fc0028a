import Drafthorse
import Foundation

/// What a lab asked for by the environment of the test that measures.
///
/// | Variable | Meaning |
/// |---|---|
/// | `DRAFTHORSE_PLAN` | A plan as JSON; every field may be left out. |
/// | `DRAFTHORSE_PACK` | Name of a folder in `tests/packs`, which the app carries; `demo` otherwise. |
/// | `DRAFTHORSE_LABEL` | The lab's own name of the device. |
public struct BenchmarkRequest: Sendable {
    /// Name of the folder with the pack.
    public let pack: String
    private let plan: String
    private let label: String?

    /// Reads the variables.
    public init(environment: [String: String]) {
        pack = environment["DRAFTHORSE_PACK"] ?? "demo"
        plan = environment["DRAFTHORSE_PLAN"] ?? "{}"
        label = environment["DRAFTHORSE_LABEL"]
    }

    /// The plan to run, as JSON: the given one with `folder` as its pack and the facts of the device.
    ///
    /// - Throws: `EngineError.invalidOptions` if the given plan is no JSON object.
    func planJSON(folder: URL, facts: DeviceFacts) throws -> String {
        guard var fields = try? JSONSerialization.jsonObject(with: Data(plan.utf8)) as? [String: Any] else {
            throw EngineError.invalidOptions("DRAFTHORSE_PLAN: a JSON object is wanted, not \(plan)")
        }
        fields["pack"] = folder.path
        fields["host"] = facts.fields
        if let label { fields["device_label"] = label }
        return String(decoding: try JSONSerialization.data(withJSONObject: fields), as: UTF8.self)
    }
}

/// Measures the pack in `folder` as `request` says, and returns the report as JSON.
///
/// - Throws: As `Benchmark.run`.
public func measureDevice(
    _ request: BenchmarkRequest, folder: URL, onProgress: @escaping @Sendable (BenchmarkProgress) -> Void
) async throws -> String {
    let plan = try request.planJSON(folder: folder, facts: .here())
    return try await Benchmark.run(plan: plan, sensors: readSensors, onProgress: onProgress)
}
