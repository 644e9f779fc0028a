import DrafthorseAPI
import Observation

/// What the sample's one screen shows and does. It knows the protocol only, so that tests give it a fake.
@available(iOS 17, macOS 14, *)
@MainActor @Observable public final class ChatModel {
    /// The conversation so far; while an answer streams, its text is in ``answer``.
    public private(set) var messages: [Message] = []
    /// The answer that is being written.
    public private(set) var answer = ""
    /// How fast the last answer came, or why there is none.
    public private(set) var status = ""
    /// True while an answer is being written.
    public private(set) var isAnswering = false

    @ObservationIgnored private let session: any TextSession
    @ObservationIgnored private let options: GenerationOptions
    @ObservationIgnored private var task: Task<Void, Never>?

    public init(session: any TextSession, options: GenerationOptions = GenerationOptions(maxTokens: 200)) {
        self.session = session
        self.options = options
    }

    /// Sends a message and streams the answer.
    public func send(_ text: String) {
        guard !isAnswering, !text.isEmpty else { return }
        messages.append(.user(text))
        (answer, status, isAnswering) = ("", "", true)
        task = Task {
            do {
                try await stream()
            } catch {
                status = "\(error)"
            }
            if !answer.isEmpty { messages.append(.assistant(answer)) }
            (answer, isAnswering) = ("", false)
        }
    }

    /// Ends the answer where it is; what was written stays.
    public func stop() {
        session.cancel()
    }

    /// Waits until no answer is being written.
    public func settle() async {
        await task?.value
    }

    private func stream() async throws {
        for try await event in session.generate(.messages(messages), options: options) {
            switch event {
            case .prefill(let done, let total): status = "reading \(done) of \(total) tokens"
            case .tokens(let chunk): answer += chunk.text
            case .finished(let account): status = Self.summary(account)
            }
        }
    }

    private static func summary(_ account: Account) -> String {
        let speed = account.decodeTokensPerSecond.rounded()
        let kept = (account.acceptanceRate * 100).rounded()
        return "\(account.tokens) tokens, \(Int(speed)) per second, \(Int(kept)) % of drafts accepted"
    }
}
