import DrafthorseFake
import Testing

/// The fake keeps the promises of the protocol, so that an app's test against it means something.
@Suite struct FakeLanguageModelTests {
    @Test func theAnswersComeInTurnAndThePromptsAreNoted() async throws {
        let model = FakeLanguageModel(replies: ["One two three.", "Four."])
        let session = try await model.session()
        #expect(try await session.respond(to: "first").text == "One two three.")
        #expect(try await session.respond(to: [.user("second")]).text == "Four.")
        #expect(try await session.respond(to: "third").text == "Four.")
        #expect(model.prompts == ["first", .messages([.user("second")]), "third"])
    }

    @Test func eventsComeInTheEnginesOrder() async throws {
        let session = try await FakeLanguageModel(replies: ["One two"]).session()
        var events: [GenerationEvent] = []
        for try await event in session.generate("a b c") { events.append(event) }
        #expect(events.first == .prefill(done: 3, total: 3))
        #expect(events.compactMap(\.text) == ["One", " two"])
        guard case .finished(let account) = events.last else {
            Issue.record("the last event is the account")
            return
        }
        #expect(account.stopReason == .stopToken && account.tokens == 2 && account.promptTokens == 3)
        #expect(try await session.tokens().count == 5)
    }

    @Test func limitsAndStopTextsAreHeeded() async throws {
        let session = try await FakeLanguageModel(replies: ["One two three. Four"]).session()
        let short = try await session.respond(to: "x", options: GenerationOptions(maxTokens: 2))
        #expect(short.text == "One two" && short.account.stopReason == .maxTokens)
        let stopped = try await session.respond(to: "x", options: GenerationOptions(stop: ["."]))
        #expect(stopped.text == "One two three" && stopped.account.stopReason == .stopSequence)
    }

    @Test func errorsOfTheReplyReachTheCaller() async throws {
        let model = FakeLanguageModel { _, _ in throw EngineError.contextFull("too long") }
        let session = try await model.session()
        await #expect(throws: EngineError.contextFull("too long")) { try await session.respond(to: "x") }
        await #expect(throws: EngineError.contextFull("too long"), "and the session is free") {
            try await session.respond(to: "x")
        }
    }

    @Test func aSecondGenerationIsRefusedUntilTheFirstIsLeft() async throws {
        let session = try await FakeLanguageModel(replies: ["One two three"]).session()
        for try await event in session.generate("x") where event.text != nil {
            await expect(EngineError.sessionBusy) { try await session.respond(to: "y") }
            break
        }
        #expect(try await session.respond(to: "y").text == "One two three")
    }

    @Test func aCancelledSessionEndsWithItsAccount() async throws {
        let session = try await FakeLanguageModel(replies: ["One two three"], tokenDelay: .seconds(60)).session()
        var reason: StopReason?
        for try await event in session.generate("x") {
            switch event {
            case .prefill: session.cancel()
            case .tokens: Issue.record("no token is ready yet")
            case .finished(let account): reason = account.stopReason
            }
        }
        #expect(reason == .cancelled)
    }

    @Test func aCancelledTaskEndsAtOnceAndFreesTheSession() async throws {
        let session = try await FakeLanguageModel(replies: ["One"], tokenDelay: .seconds(60)).session()
        let task = Task { try await session.respond(to: "x") }
        try await Task.sleep(for: .milliseconds(20))
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await session.tokens().count == 1)
    }

    @Test func everythingFailsAfterClosing() async throws {
        let model = FakeLanguageModel(replies: ["One"])
        let session = try await model.session()
        await model.close()
        await model.close()
        await expect(EngineError.closed) { try await session.respond(to: "x") }
        await expect(EngineError.closed) { try await session.tokens() }
        await expect(EngineError.closed) { try await model.session() }
    }

    /// Expects an error of one case, whatever its message.
    private func expect<Value>(
        _ expected: (String) -> EngineError, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Value
    ) async {
        do {
            _ = try await body()
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        } catch {
            #expect(error as? EngineError == expected("\(error)"), sourceLocation: sourceLocation)
        }
    }
}
