import Foundation

/// A thread of its own for calls that block: they never occupy the threads that Swift's tasks share.
///
/// Calls run one after another. The thread starts with the first call and ends when this is released.
package final class WorkerThread: Sendable {
    private let queue = WorkQueue()
    private let name: String

    package init(name: String) {
        self.name = name
    }

    deinit {
        queue.close()
    }

    /// Runs `body` on the thread. It is not interrupted by cancelling the task.
    package func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            submit {
                let outcome = Result(catching: body)
                return { continuation.resume(with: outcome) }
            }
        }
    }

    /// Runs `body` on the thread and does not wait for it.
    package func start(_ body: @escaping @Sendable () -> Void) {
        submit {
            body()
            return {}
        }
    }

    private func submit(_ work: @escaping WorkQueue.Work) {
        guard queue.push(work) else { return }
        let thread = Thread { [queue] in
            while let tellCaller = queue.runNext() {
                tellCaller()
            }
        }
        thread.name = name
        thread.qualityOfService = .userInitiated
        // Forward passes use the calling thread too, and the default of 512 KiB on Apple's systems is not theirs.
        thread.stackSize = 4 << 20
        thread.start()
    }
}

/// Runs `body` on a thread made for it.
package func onOwnThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await WorkerThread(name: "drafthorse.call").run(body)
}

/// What waits for a worker thread.
private final class WorkQueue: @unchecked Sendable {
    /// Does something and returns how to tell the caller. They are apart so that whatever the work holds is released
    /// before its caller goes on: the caller may be about to drop the last reference and expect it to be the last.
    typealias Work = @Sendable () -> @Sendable () -> Void

    private let condition = NSCondition()
    private var waiting: [Work] = []
    private var hasThread = false
    private var isClosed = false

    /// Returns true if a thread has to be started.
    func push(_ work: @escaping Work) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        waiting.append(work)
        condition.signal()
        defer { hasThread = true }
        return !hasThread
    }

    /// Waits for work and does it; `nil` when there will be no more.
    func runNext() -> (@Sendable () -> Void)? {
        guard let work = pop() else { return nil }
        return work()
    }

    private func pop() -> Work? {
        condition.lock()
        defer { condition.unlock() }
        while waiting.isEmpty {
            if isClosed { return nil }
            condition.wait()
        }
        return waiting.removeFirst()
    }

    func close() {
        condition.lock()
        defer { condition.unlock() }
        isClosed = true
        condition.signal()
    }
}
