import Drafthorse
import Foundation
import Testing

/// Tests against the native library. One after another: they measure memory and time out nothing.
@Suite(.serialized) enum Native {}

/// The repository that these tests lie in.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    static let demoPack = root.appendingPathComponent("tests/packs/demo")
}

/// The demo pack, opened once.
enum Demo {
    private static let opened = Task { try await Engine.open(Repository.demoPack, options: options) }

    /// Its operators are done before a second thread has woken up.
    static let options = EngineOptions(targetThreads: 1, drafterThreads: 1)

    static var engine: Engine {
        get async throws { try await opened.value }
    }

    static let greedy = GenerationOptions(maxTokens: 60, temperature: 0)

    /// A text that fills most of the context, so that its prefill takes several passes.
    static let longPrompt = String(repeating: "Once upon a time there was a little dog named Max. ", count: 24)
}

/// Expects an error of one case, whatever its message, and returns the message.
@discardableResult
func expect<Value>(
    _ expected: (String) -> EngineError, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Value
) async -> String {
    do {
        _ = try await body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        return ""
    } catch {
        let message = (error as? EngineError)?.message ?? ""
        #expect(error as? EngineError == expected(message), sourceLocation: sourceLocation)
        #expect(!message.isEmpty, sourceLocation: sourceLocation)
        return message
    }
}
