import Drafthorse
import Foundation
import Testing

/// Path of the `drafthorse` command.
private let command = ProcessInfo.processInfo.environment["DRAFTHORSE_COMMAND"]

extension Native {
    /// The same engine behind another face: the `drafthorse` command, which `cargo xtask swift` builds and names in
    /// the environment.
    @Suite(.enabled(if: command != nil, "DRAFTHORSE_COMMAND names no command"))
    struct Command {
        static let seeds: [UInt64] = [1, 7, 1 << 63 | 5]

        @Test(arguments: seeds) func theSameSeedGivesTheSameText(seed: UInt64) async throws {
            let session = try await Demo.engine.session()
            let options = GenerationOptions(
                maxTokens: 80, temperature: 0.8, topK: 40, topP: 0.95, seed: seed, verification: .seedCoupled)
            let response = try await session.respond(to: "Once upon a time", options: options)
            let text = try Self.text(of: [
                "generate", Repository.demoPack.path, "Once upon a time", "--json", "--max-tokens", "80",
                "--temperature", "0.8", "--top-k", "40", "--top-p", "0.95", "--seed", "\(seed)",
                "--verification", "seed-coupled", "--threads", "1",
            ])
            #expect(response.text == text)
            #expect(response.account.seed == seed && !response.text.isEmpty)
        }

        /// The whole text that the command reports with its last event.
        private static func text(of arguments: [String]) throws -> String {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: try #require(command))
            process.arguments = arguments
            let output = Pipe()
            process.standardOutput = output
            try process.run()
            let bytes = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
            let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            let line = try #require(lines.last)
            let last = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return try #require(last?["text"] as? String)
        }
    }
}
