/// What was opened. Providers stand as their short names: cpu, xnnpack, coreml, nnapi, qnn, webgpu, cuda.
public struct EngineReport: Sendable, Hashable {
    /// Path of the opened folder.
    public var path: String
    /// Version and build of ONNX Runtime, as it describes itself.
    public var runtime: String
    /// What computes the target.
    public var target: Placement
    /// What computes the drafter, if there is one.
    public var drafter: Placement?
    /// Why there is no drafter, where the folder has one.
    public var drafterMissing: String?
    /// Tokens that a session holds.
    public var contextLength: Int
    /// Bytes of the KV caches of one session.
    public var cacheBytes: Int
    /// Bytes of the opened models' files.
    public var weightBytes: Int
    /// Bytes by which the process grew while models and tokenizer were loaded; absent where the system does not tell.
    public var residentBytes: Int?
    /// What a pass of the target costs: milliseconds by tokens scored in it.
    public var targetPassMs: [Int: Double]
    /// Milliseconds of the drafter's pass over one token.
    public var drafterPassMs: Double?
    /// What was noticed about the folder.
    public var notes: [String]
}

/// What really computes a model, and what was tried before.
public struct Placement: Sendable, Hashable {
    /// The provider that passed its proof.
    public var provider: String
    /// Nodes by provider (the runtime's names) as they really ran.
    public var nodes: [String: Int]
    /// Earlier choices in their order, each with the reason why it was refused.
    public var refused: [Refusal]
    /// Where keys and values live between passes.
    public var cacheLayout: CacheLayout
    /// Tokens per pass of a prefill.
    public var chunkLength: Int
}

/// A provider that could not run the model.
public struct Refusal: Sendable, Hashable {
    /// Its short name.
    public var provider: String
    /// Why.
    public var reason: String
}

/// Where the keys and values of past tokens live between passes.
public enum CacheLayout: Sendable, Hashable, CaseIterable {
    /// One buffer per tensor, input and output at once.
    case shared
    /// A pass copies what it was given and appends.
    case growing
}
