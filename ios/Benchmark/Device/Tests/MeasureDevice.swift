import DrafthorseBenchmark
import UIKit
import XCTest

/// Measures the device; ios/Benchmark/README.md has the command that starts it.
final class MeasureDevice: XCTestCase {
    func testMeasure() async throws {
        executionTimeAllowance = 4 * 60 * 60
        await MainActor.run { UIApplication.shared.isIdleTimerDisabled = true }
        let request = BenchmarkRequest(environment: ProcessInfo.processInfo.environment)
        let folder = try XCTUnwrap(
            Bundle.main.url(forResource: request.pack, withExtension: nil, subdirectory: "packs"),
            "the app has no pack \(request.pack)")
        let report = try await measureDevice(request, folder: folder) { print("\($0.done) of \($0.planned): \($0.step)") }
        let attachment = XCTAttachment(data: Data(report.utf8), uniformTypeIdentifier: "public.json")
        attachment.name = "report.json"
        attachment.lifetime = .keepAlways
        add(attachment)
    }
}
