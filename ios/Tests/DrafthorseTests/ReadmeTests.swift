import Drafthorse
import Foundation
import Testing

extension Native {
    /// The README's quick start is this code, and it runs.
    @Suite struct Readme {
        @Test func theQuickStartRuns() async throws {
            try await quickStart(pack: Repository.demoPack)
        }

        private func quickStart(pack: URL) async throws {
            // The README begins here.
            let engine = try await Engine.open(pack)
            let session = try await engine.session()
            for try await event in session.generate("Once upon a time", options: .init(maxTokens: 200)) {
                switch event {
                case .prefill: break
                case .tokens(let chunk): print(chunk.text, terminator: "")
                case .finished(let account): print("\n\(account.decodeTokensPerSecond) tokens/s")
                }
            }
            await engine.close()
            // The README ends here.
        }

        @Test func theReadmeShowsTheSameCode() throws {
            let here = try String(contentsOfFile: #filePath, encoding: .utf8)
            let lines = here.split(separator: "\n", omittingEmptySubsequences: false)
            let first = try #require(lines.firstIndex { $0.hasSuffix("// The README begins here.") })
            let last = try #require(lines.firstIndex { $0.hasSuffix("// The README ends here.") })
            let code = lines[(first + 1)..<last].map { $0.dropFirst(12) }.joined(separator: "\n")
            #expect(code.split(separator: "\n").count <= 15)

            let readme = try String(contentsOf: Repository.root.appendingPathComponent("README.md"), encoding: .utf8)
            let section = try #require(readme.components(separatedBy: "## In Swift").dropFirst().first)
            #expect(section.components(separatedBy: "\n## ")[0].contains("```swift\nimport Drafthorse\n\n\(code)\n```"))
        }
    }
}
