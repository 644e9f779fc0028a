/// A generation whose calls block, as the native library offers it.
package protocol BlockingGeneration: AnyObject, Sendable {
    /// Blocks for one event; `nil` after the last.
    func next() throws -> GenerationEvent?
    /// Asks the generation to stop, from any thread, and returns at once.
    func cancel()
    /// Cancels, waits until idle, and releases; any number of times.
    func close()
}

/// One generation, from the first event asked for to the last, on a thread of its own.
///
/// It pulls: the native loop runs only while somebody waits for an event. Releasing it closes the generation.
package final class GenerationRun: @unchecked Sendable {
    private let begin: @Sendable () throws -> any BlockingGeneration
    private let thread = WorkerThread(name: "drafthorse.generation")
    private let handle = Locked(Handle())
    /// Events that were fetched before they were asked for; touched only on the thread.
    private var waiting: [GenerationEvent] = []

    /// What other threads may reach.
    private struct Handle {
        var native: (any BlockingGeneration)?
        var isCancelled = false
        var hasEnded = false
    }

    /// A run that calls `begin`, which may block, when the first event is asked for.
    package init(_ begin: @escaping @Sendable () throws -> any BlockingGeneration) {
        self.begin = begin
    }

    deinit {
        // Nobody waits for an event here, so the generation is idle and this does not block.
        handle.withLock { $0.native }?.close()
    }

    /// The next event; cancelling the task interrupts the forward pass under way.
    package func next() async throws -> GenerationEvent? {
        try await withTaskCancellationHandler {
            try await thread.run { try self.step() }
        } onCancel: {
            requestCancel()
        }
    }

    /// Ends the generation even if nobody asks for its events any more; those that are left can still be asked for.
    package func cancel() {
        requestCancel()
        thread.start { self.drain() }
    }

    private func requestCancel() {
        let native = handle.withLock {
            $0.isCancelled = true
            return $0.native
        }
        native?.cancel()
    }

    // From here on: on the thread.

    private func step() throws -> GenerationEvent? {
        if !waiting.isEmpty { return waiting.removeFirst() }
        guard let native = try running() else { return nil }
        do {
            let event = try native.next()
            if event == nil || event?.isLast == true { end() }
            return event
        } catch {
            end()
            throw error
        }
    }

    /// The generation, begun if it has not been; `nil` if it has ended or was cancelled before it began.
    private func running() throws -> (any BlockingGeneration)? {
        let (native, isOver) = handle.withLock { ($0.native, $0.hasEnded || ($0.native == nil && $0.isCancelled)) }
        if isOver { return nil }
        if let native { return native }
        let begun: any BlockingGeneration
        do {
            begun = try begin()
        } catch {
            end()
            throw error
        }
        let isCancelled = handle.withLock {
            $0.native = begun
            return $0.isCancelled
        }
        if isCancelled { begun.cancel() }
        return begun
    }

    private func end() {
        let native = handle.withLock { handle in
            handle.hasEnded = true
            return handle.native.take()
        }
        native?.close()
    }

    /// After a cancel, which leaves few events and no forward pass.
    private func drain() {
        guard let native = handle.withLock({ $0.native }) else { return }
        while let event = try? native.next() {
            waiting.append(event)
            if event.isLast { break }
        }
        end()
    }
}

extension GenerationEvent {
    /// True for the event after which nothing follows.
    fileprivate var isLast: Bool {
        if case .finished = self { true } else { false }
    }
}

/// The generations of one session that may be running.
package final class GenerationRuns: Sendable {
    private struct Weak {
        weak var run: GenerationRun?
    }

    private let runs = Locked<[Weak]>([])

    package init() {}

    /// A stream that begins a generation when its first event is asked for.
    package func stream(
        _ begin: @escaping @Sendable () throws -> any BlockingGeneration
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        let run = GenerationRun(begin)
        runs.withLock { runs in
            runs.removeAll { $0.run == nil }
            runs.append(Weak(run: run))
        }
        return AsyncThrowingStream(unfolding: { try await run.next() })
    }

    /// Cancels all of them.
    package func cancel() {
        for weak in runs.withLock({ $0 }) {
            weak.run?.cancel()
        }
    }
}
