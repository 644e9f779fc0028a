/// How a session is started.
public struct SessionOptions: Sendable, Hashable {
    /// Where drafts come from.
    public var drafting: Drafting
    /// What happens when a conversation outgrows the context.
    public var contextPolicy: ContextPolicy

    /// Options; everything that is not named keeps its default.
    public init(drafting: Drafting = .automatic, contextPolicy: ContextPolicy = .fail) {
        self.drafting = drafting
        self.contextPolicy = contextPolicy
    }
}

/// Where a session's drafts come from.
public enum Drafting: Sendable, Hashable, CaseIterable {
    /// The pack's drafter if it has one, prompt lookup otherwise.
    case automatic
    /// Nowhere: the target runs alone.
    case targetAlone
    /// The drafter model.
    case model
    /// Prompt lookup: what followed the last tokens when they occurred before.
    case lookup
    /// Prompt lookup where its match is long, the drafter model elsewhere.
    case both
}

/// What happens when a conversation outgrows the context.
public enum ContextPolicy: Sendable, Hashable, CaseIterable {
    /// ``EngineError/contextFull(_:)``.
    case fail
    /// Leave out the oldest turns after the system prompt until the rest fits with room for an answer: `maxTokens`, or a
    /// quarter of the context, never more than half of it. For ``Prompt/messages(_:)`` only.
    case dropOldestTurns
}
