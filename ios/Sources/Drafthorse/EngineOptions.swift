import Foundation

/// How a pack is opened. Absent values take the pack's settings, then the library's.
public struct EngineOptions: Sendable, Hashable {
    /// Execution providers for the target, best first; empty means what the pack asks for, then the CPU.
    public var targetProviders: [ProviderChoice]
    /// The same for the drafter.
    public var drafterProviders: [ProviderChoice]
    /// Threads within an operator of the target; absent leaves it to the pack, then to the runtime.
    public var targetThreads: Int?
    /// The same for the drafter.
    public var drafterThreads: Int?
    /// What worker threads of both models do while they wait.
    public var spinning: Spinning
    /// Tokens that a session must hold, no more than the target was made for; absent takes what models and budget allow,
    /// 256 to 4,096.
    public var contextLength: Int?
    /// Most bytes for the KV caches of one session, target's and drafter's together; absent is 1 GiB.
    public var cacheBytesMax: Int?
    /// What to do with a drafter that does not fit the budget.
    public var drafterMisfit: DrafterMisfit
    /// Do not open the drafter model, even if there is one.
    public var withoutDrafter: Bool
    /// Compare every file with the pack's digests before anything is loaded.
    public var checkDigests: Bool
    /// Which of several models of a Hugging Face folder: "q4", "fp16".
    public var variant: String?
    /// A drafter from elsewhere: a folder, or an ONNX file.
    public var drafter: URL?
    /// As `variant`, for `drafter`.
    public var drafterVariant: String?
    /// Further folders that links inside the pack may lead into.
    public var allowedRoots: [URL]
    /// The ONNX Runtime library; absent is the one that the app links, or what is found on this machine.
    public var runtimeLibrary: URL?
    /// Where measured costs, compiled graphs and which files are intact are kept between starts; absent is `drafthorse`
    /// in the app's folder for caches. Without it the first opening's price, many times a later one's, is paid each time.
    public var cacheFolder: URL?
    /// The device and its drivers in any words that change when they do, since graphs are compiled for one of them;
    /// absent is the system's version, `ProcessInfo.processInfo.operatingSystemVersionString`.
    public var device: String?

    /// Options; everything that is not named keeps its default.
    public init(
        targetProviders: [ProviderChoice] = [],
        drafterProviders: [ProviderChoice] = [],
        targetThreads: Int? = nil,
        drafterThreads: Int? = nil,
        spinning: Spinning = .withinPass,
        contextLength: Int? = nil,
        cacheBytesMax: Int? = nil,
        drafterMisfit: DrafterMisfit = .runWithout,
        withoutDrafter: Bool = false,
        checkDigests: Bool = true,
        variant: String? = nil,
        drafter: URL? = nil,
        drafterVariant: String? = nil,
        allowedRoots: [URL] = [],
        runtimeLibrary: URL? = nil,
        cacheFolder: URL? = nil,
        device: String? = nil
    ) {
        self.targetProviders = targetProviders
        self.drafterProviders = drafterProviders
        self.targetThreads = targetThreads
        self.drafterThreads = drafterThreads
        self.spinning = spinning
        self.contextLength = contextLength
        self.cacheBytesMax = cacheBytesMax
        self.drafterMisfit = drafterMisfit
        self.withoutDrafter = withoutDrafter
        self.checkDigests = checkDigests
        self.variant = variant
        self.drafter = drafter
        self.drafterVariant = drafterVariant
        self.allowedRoots = allowedRoots
        self.runtimeLibrary = runtimeLibrary
        self.cacheFolder = cacheFolder
        self.device = device
    }
}

extension EngineOptions {
    /// ``cacheFolder`` where none is named. The system may empty it.
    static var cacheFolderDefault: URL? {
        let caches = FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask).first
        return caches?.appendingPathComponent("drafthorse")
    }
}

/// What worker threads do while they wait for work.
public enum Spinning: Sendable, Hashable, CaseIterable {
    /// Sleep: least energy, slowest start of an operator.
    case never
    /// Spin while a pass is under way, so that two models take turns without fighting for cores.
    case withinPass
    /// Spin between passes too: only for a model that runs alone.
    case always
}

/// What to do with a drafter that does not fit the memory budget.
public enum DrafterMisfit: Sendable, Hashable, CaseIterable {
    /// Open without it, and say so in the report.
    case runWithout
    /// ``DrafthorseAPI/EngineError/outOfMemoryBudget(_:)``.
    case fail
}

/// Something that computes a graph, or a part of it.
public enum Provider: Sendable, Hashable, CaseIterable {
    /// The CPU: everywhere, every operator.
    case cpu
    /// Google's floating-point kernels.
    case xnnpack
    /// Apple's Core ML.
    case coreML
    /// Android's neural-network API.
    case nnapi
    /// Qualcomm's neural processor.
    case qnn
    /// WebGPU over Vulkan, Metal or Direct3D 12.
    case webGPU
    /// NVIDIA's GPUs.
    case cuda
}

/// One entry of an ordered preference of execution providers.
///
/// Each is proved with a dummy run; on failure the next is tried, and the report says why.
public struct ProviderChoice: Sendable, Hashable {
    /// Which provider.
    public var provider: Provider
    /// Options in the provider's own words.
    public var options: [String: String]
    /// Refuse the provider unless it runs every node.
    public var strict: Bool
    /// Library of a provider that is a plug-in.
    public var library: URL?

    /// An entry.
    public init(_ provider: Provider, options: [String: String] = [:], strict: Bool = false, library: URL? = nil) {
        self.provider = provider
        self.options = options
        self.strict = strict
        self.library = library
    }
}
