import Drafthorse
import Foundation
import Testing

@testable import DrafthorseBenchmark

extension Native {
    /// What the device runs, run here: the demo pack and a small plan.
    @Suite struct Measurement {
        static let small = """
            {"modes": ["plain", "adaptive"], "decodings": ["greedy"], "threads": 1, "max_tokens": 8, "repetitions": 1,
             "prompts": [{"task": "story", "text": "Once upon a time"}]}
            """

        @Test func aSmallPlanBecomesAReportThatTheSchemaTakes() async throws {
            let request = BenchmarkRequest(environment: ["DRAFTHORSE_PLAN": Self.small, "DRAFTHORSE_LABEL": "shelf 3"])
            let steps = Steps()
            let text = try await measureDevice(request, folder: Repository.demoPack) { steps.add($0) }
            #expect(steps.all.contains { $0.step.hasPrefix("warming up") } && steps.all.contains { $0.planned == 2 })
            #expect(!text.contains(Repository.root.path), "reports travel: nobody's folders are in them")

            let report = try JSONSerialization.jsonObject(with: Data(text.utf8))
            let schema = try ReportSchema(file: Repository.root.appendingPathComponent("bench/report.schema.json"))
            #expect(schema.violations(in: report) == [])
            let wrong = text.replacingOccurrences(of: "\"format_version\"", with: "\"version\"")
            #expect(schema.violations(in: try JSONSerialization.jsonObject(with: Data(wrong.utf8))) != [])

            let fields = try #require(report as? [String: Any])
            #expect(fields["format_version"] as? Int == 1)
            let machine = try #require(fields["machine"] as? [String: Any])
            #expect(machine["label"] as? String == "shelf 3")
            let sensors = try #require(machine["sensors"] as? [String: [String: Any]])
            #expect((sensors["thermal_headroom"]?["absent"] as? String)?.contains("Android") == true)
            let memory = try #require(machine["memory_bytes"] as? [String: Any])
            #expect(memory["value"] as? UInt64 == ProcessInfo.processInfo.physicalMemory)
            let subject = try #require((fields["subjects"] as? [[String: Any]])?.first)
            let modes = (subject["generations"] as? [[String: Any]])?.compactMap { $0["mode"] as? String }
            #expect(Set(modes ?? []) == ["plain", "adaptive"])
        }

        @Test func theSensorsReachTheReport() async throws {
            let reading = DeviceReading(thermalState: "fair", batteryPercent: 81, absent: ["battery_ma": "nobody tells"])
            let plan = try BenchmarkRequest(environment: ["DRAFTHORSE_PLAN": Self.small])
                .planJSON(folder: Repository.demoPack, facts: .here())
            let text = try await Benchmark.run(plan: plan, sensors: { reading })
            let report = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            let subject = try #require((report["subjects"] as? [[String: Any]])?.first)
            let sample = try #require((subject["samples"] as? [[String: Any]])?.first)
            #expect(sample["thermal_state"] as? String == "fair" && sample["battery_percent"] as? Double == 81)
            #expect(text.contains("nobody tells"))
        }

        @Test func cancellingTheTaskEndsIt() async throws {
            let endless = Self.small.replacingOccurrences(of: "\"repetitions\": 1", with: "\"repetitions\": 10000")
            let request = BenchmarkRequest(environment: ["DRAFTHORSE_PLAN": endless])
            let steps = Steps()
            let task = Task { try await measureDevice(request, folder: Repository.demoPack) { steps.add($0) } }
            while !steps.all.contains(where: { $0.planned > 0 }) { try await Task.sleep(for: .milliseconds(5)) }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }

        @Test func whatIsWrongIsNamed() async throws {
            func message(_ environment: [String: String], folder: URL = Repository.demoPack) async -> String {
                do {
                    _ = try await measureDevice(BenchmarkRequest(environment: environment), folder: folder) { _ in }
                    return "nothing was thrown"
                } catch EngineError.invalidOptions(let message) { return message } catch { return "\(error)" }
            }
            #expect(await message(["DRAFTHORSE_PLAN": "["]).contains("DRAFTHORSE_PLAN"))
            #expect(await message(["DRAFTHORSE_PLAN": "{\"speed\": 9}"]).contains("speed"))
            await #expect(throws: EngineError.self) {
                try await measureDevice(BenchmarkRequest(environment: [:]), folder: URL(fileURLWithPath: "/nowhere")) { _ in }
            }
        }

        @Test func theRequestNamesThePack() {
            #expect(BenchmarkRequest(environment: [:]).pack == "demo")
            #expect(BenchmarkRequest(environment: ["DRAFTHORSE_PACK": "big"]).pack == "big")
        }
    }
}

/// What was told, from any thread.
private final class Steps: @unchecked Sendable {
    private let lock = NSLock()
    private var steps: [BenchmarkProgress] = []

    var all: [BenchmarkProgress] { lock.withLock { steps } }

    func add(_ step: BenchmarkProgress) { lock.withLock { steps.append(step) } }
}
