import Drafthorse
import Foundation
import Testing

extension Native {
    /// The file of cases that every face reads, so that none drifts from the runtime.
    @Suite struct Conformance {
        @Test func everyCase() async throws {
            let file = try ConformanceFile.read()
            #expect(file.format == 1 && file.cases.count > 20)
            let options = EngineOptions(
                targetThreads: file.engine.target_threads, drafterThreads: file.engine.drafter_threads)
            let engine = try await Engine.open(Repository.root.appendingPathComponent(file.pack), options: options)
            var texts: [String: String] = [:]
            for one in file.cases {
                let session = try await engine.session(try one.sessionOptions)
                for (index, turn) in one.turns.enumerated() {
                    let text = try await check(turn, on: session, name: "\(one.name), turn \(index)")
                    if index == 0 { texts[one.name] = text }
                }
                if let other = one.same_text_as {
                    #expect(try #require(texts[one.name]) == texts[other], "\(one.name) against \(other)")
                }
            }
        }

        /// Runs a turn, compares it field by field, and returns its text.
        private func check(_ turn: ConformanceCase.Turn, on session: Session, name: String) async throws -> String? {
            let (prompt, options, wanted) = (try turn.prompt.prompt, turn.options.options, turn.expect)
            if let variant = wanted.error {
                do {
                    _ = try await session.respond(to: prompt, options: options)
                    Issue.record("\(name): \(variant) was to be thrown")
                } catch let error as EngineError {
                    #expect(Self.name(of: error) == variant, "\(name)")
                }
                return nil
            }
            var (text, tokens, account) = ("", [Token](), Account?.none)
            for try await event in session.generate(prompt, options: options) {
                switch event {
                case .prefill: break
                case .tokens(let chunk): (text, tokens) = (text + chunk.text, tokens + chunk.tokens)
                case .finished(let last): account = last
                }
            }
            let told = try #require(account)
            #expect(text == wanted.text, "\(name)")
            #expect(tokens.map(\.id) == wanted.tokens, "\(name)")
            #expect(tokens.count(where: \.drafted) == wanted.drafted, "\(name)")
            #expect(told.stopReason.rawValue == wanted.stop_reason, "\(name)")
            #expect(told.promptTokens == wanted.prompt_tokens, "\(name)")
            #expect(told.promptTokensKept == wanted.prompt_tokens_kept, "\(name)")
            #expect(told.isLossless == wanted.lossless, "\(name)")
            return text
        }

        /// The error's name in the file: the case's, capitalised.
        private static func name(of error: EngineError) -> String {
            let label = Mirror(reflecting: error).children.first?.label ?? ""
            return label.prefix(1).uppercased() + label.dropFirst()
        }
    }
}
