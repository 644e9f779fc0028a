import Foundation
import Testing

@testable import Drafthorse

extension Native {
    /// From opening the pack to closing it, as an app goes.
    @Suite struct Journey {
        @Test func openStreamAccountAndClose() async throws {
            let engine = try await Engine.open(Repository.demoPack, options: Demo.options)
            #expect(engine.report.target.provider == "cpu")
            #expect(engine.report.drafter != nil && engine.report.contextLength == 512)
            #expect(engine.report.target.nodes.values.reduce(0, +) > 0 && !engine.report.runtime.isEmpty)
            #expect(engine.report.weightBytes > 3_000_000 && engine.report.residentBytes != nil)

            try await engine.prewarm()
            let session = try await engine.session()
            var (text, tokens, prefilled, accounts) = ("", [Token](), [Int](), [Account]())
            for try await event in session.generate("Once upon a time", options: Demo.greedy) {
                #expect(accounts.isEmpty, "nothing follows the account")
                switch event {
                case .prefill(let done, let total):
                    #expect(done <= total && tokens.isEmpty)
                    prefilled.append(done)
                case .tokens(let chunk):
                    #expect(chunk.tokens.last.map { $0.textEnd <= chunk.text.utf8.count } ?? true)
                    text += chunk.text
                    tokens += chunk.tokens
                case .finished(let account): accounts.append(account)
                }
            }
            let account = try #require(accounts.first)
            #expect(text.hasPrefix(",") && text.count > 60)
            #expect(tokens.count == 60 && account.tokens == 60 && account.stopReason == .maxTokens)
            #expect(!prefilled.isEmpty && account.promptTokens > 0 && account.promptTokensKept == 0)
            #expect(account.accepted == tokens.count(where: \.drafted) && account.accepted > 0)
            #expect(account.isLossless && account.rounds < 60 && account.ttftMs > 0 && account.time.totalMs > 0)
            #expect(account.positions.first.map { $0.accepted <= $0.proposed } == true)
            #expect(account.drafted >= account.proposed)
            #expect(account.targetNodes["CPUExecutionProvider", default: 0] > account.drafterNodes["CPUExecutionProvider", default: 0])
            #expect(account.draftLengths.map(\.rounds).reduce(0, +) == account.rounds)
            #expect(try await session.tokens().suffix(60) == tokens.map(\.id)[...])

            await session.close()
            await engine.close()
            await engine.close()
            await expect(EngineError.closed) { try await session.tokens() }
            await expect(EngineError.closed) { try await engine.session() }
        }

        @Test func whatAnOpeningFindsOutIsKeptInTheAppsCaches() throws {
            let caches = try #require(FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask).first)
            let options = try NativeEngineOptions(EngineOptions())
            #expect(options.cacheFolder == caches.appendingPathComponent("drafthorse").path)
            // Graphs that were compiled before the system changed are not taken up after it.
            #expect(options.device == ProcessInfo.processInfo.operatingSystemVersionString)
            let own = EngineOptions(cacheFolder: URL(fileURLWithPath: "/own"), device: "phone")
            #expect(try NativeEngineOptions(own).cacheFolder == "/own" && NativeEngineOptions(own).device == "phone")
        }

        @Test func aConversationKeepsItsPrefix() async throws {
            let session = try await Demo.engine.session()
            var messages: [Message] = [.system("A dialogue."), .user("Hi, how are you?")]
            let first = try await session.respond(to: messages, options: Demo.greedy)
            #expect(!first.text.isEmpty && first.account.promptTokensKept == 0)
            messages += [.assistant(first.text), .user("What did you do today?")]
            let second = try await session.respond(to: messages, options: Demo.greedy)
            #expect(second.account.promptTokensKept > 5)
            #expect(second.account.promptTokens > first.account.promptTokens)

            // The kept prefix changes nothing: a session that sees the whole conversation at once says the same.
            let fresh = try await Demo.engine.session()
            #expect(try await fresh.respond(to: messages, options: Demo.greedy).text == second.text)
        }

        @Test func rewindingAndResettingForget() async throws {
            let session = try await Demo.engine.session()
            let first = try await session.respond(to: "The cat", options: Demo.greedy)
            let tokens = try await session.tokens()
            try await session.rewind(to: 2)
            #expect(try await session.tokens() == Array(tokens.prefix(2)))
            try await session.reset()
            #expect(try await session.tokens().isEmpty)
            let again = try await session.respond(to: "The cat", options: Demo.greedy)
            #expect(again.text == first.text && again.account.promptTokensKept == 0)
        }

        @Test func aPrewarmedPromptIsNotComputedAgain() async throws {
            let session = try await Demo.engine.session()
            try await session.prewarm(.text("Once upon a time there was a dog"))
            let response = try await session.respond(
                to: "Once upon a time there was a dog named", options: GenerationOptions(maxTokens: 4))
            #expect(response.account.promptTokensKept >= 6)
        }

        @Test func speculationDoesNotChangeTheText() async throws {
            let engine = try await Demo.engine
            var texts: Set<String> = []
            for drafting in [Drafting.targetAlone, .model, .lookup, .both] {
                let session = try await engine.session(SessionOptions(drafting: drafting))
                texts.insert(try await session.respond(to: "One day, a girl", options: Demo.greedy).text)
            }
            #expect(texts.count == 1)
        }

        @Test func tokenizingCountsWhatFits() async throws {
            let engine = try await Demo.engine
            let tokens = try await engine.tokenize("Once upon a time")
            let session = try await engine.session()
            let ofText = try await session.respond(to: "Once upon a time", options: Demo.greedy)
            #expect(ofText.account.promptTokens == tokens.count)
            let ofTokens = try await session.respond(to: .tokens(tokens), options: Demo.greedy)
            #expect(ofTokens.text == ofText.text)
        }
    }
}
