import DrafthorseFake
import SampleModel
import Testing

/// The sample's screen without a screen: an example of testing an app with the fake.
@MainActor @Suite struct ChatModelTests {
    @Test func anAnswerStreamsIntoTheConversation() async throws {
        let fake = FakeLanguageModel(replies: ["I am well.", "Good night."])
        let model = ChatModel(session: try await fake.session())
        model.send("How are you?")
        #expect(model.isAnswering)
        await model.settle()
        #expect(model.messages == [.user("How are you?"), .assistant("I am well.")])
        #expect(model.status.hasPrefix("3 tokens") && !model.isAnswering && model.answer.isEmpty)

        model.send("Good night!")
        await model.settle()
        #expect(fake.prompts.last == .messages([.user("How are you?"), .assistant("I am well."), .user("Good night!")]))
    }

    @Test func stoppingKeepsWhatWasWritten() async throws {
        let fake = FakeLanguageModel(replies: ["One two three four five"], tokenDelay: .milliseconds(30))
        let model = ChatModel(session: try await fake.session())
        model.send("Count!")
        while model.answer.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        model.stop()
        await model.settle()
        let written = try #require(model.messages.last?.content)
        #expect("One two three four five".hasPrefix(written) && written.count < 23)
    }

    @Test func anErrorIsShown() async throws {
        let fake = FakeLanguageModel { _, _ in throw EngineError.contextFull("too long a conversation") }
        let model = ChatModel(session: try await fake.session())
        model.send("Hello")
        await model.settle()
        #expect(model.status == "too long a conversation" && model.messages.count == 1)
    }
}
