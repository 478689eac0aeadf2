// What the control thread does while the pipeline runs: signals, progress, service notification.

internal import Glibc
internal import Logging
internal import Pipeline
internal import Realtime

/// Waits for the end of a run and keeps user and systemd informed.
struct Watch {
    /// What the run used.
    struct Usage {
        var seconds = 0.0
        var processorSeconds = 0.0
        /// Of resident memory.
        var growth = MemoryGrowth()
        var wasInterrupted = false
    }

    let pipeline: Pipeline
    let options: SessionOptions
    let log: Logger
    let notifier: ServiceNotifier
    let control: SessionControl
    /// Nil in a run that nobody can steer, as the one below.
    let server: ControlServer?
    let configurationWatch: ConfigurationWatch?
    let viewers: ViewerWatch

    /// The figures of a live status are about so many last seconds.
    private static let recentSeconds = 4.0
    private static let tickMilliseconds = 200

    /// Returns when the run is over; the stages have then been asked to stop.
    func run(signals: SignalWaiter) -> Usage {
        let start = MonotonicClock.nowNanoseconds
        let processorAtStart = ProcessStatistics.processorSeconds
        var growth = MemoryGrowth()
        var memoryChanges = control.memoryChanges
        var isReady = false
        var trouble: String?
        var fedTime = start
        var wasInterrupted = false
        var readers = 0
        var progressSeconds = 1.0
        var seconds = 0.0
        let hadTerminal = Self.hasTerminal
        while !pipeline.isFinished {
            waitForEvents(signals, milliseconds: waitMilliseconds(elapsed: seconds))
            let now = MonotonicClock.nowNanoseconds
            seconds = Double(now - start) / 1e9
            viewers.look()
            pipeline.supervise(isWatched: viewers.isWatched, at: now)
            if let signal = signals.wait(milliseconds: 0) {
                // A terminal that was closed says so by the same signal, and ends the run.
                let isReload =
                    signal == SIGHUP && options.source != nil
                    && (!hadTerminal || Self.hasTerminal)
                guard isReload else {
                    log.info("stopping (\(signal == SIGINT ? "Ctrl-C" : "signal \(signal)"))")
                    wasInterrupted = true
                    break
                }
                announceReload(isReady: isReady, seconds) { _ = control.reload(.user) }
            }
            if configurationWatch?.isDue(at: now) == true {
                announceReload(isReady: isReady, seconds) { _ = control.reload(.file) }
            }
            server?.serve(at: now) { request in
                control.answer(request) { status(seconds) }
            }
            if let limit = options.durationSeconds, seconds >= limit { break }
            if !isReady && pipeline.hasWritten {
                isReady = true
                notifier.ready(statusText(seconds))
            }
            feedWatchdog(&fedTime, at: now)
            reportTrouble(&trouble)
            reportReaders(&readers)
            if control.memoryChanges != memoryChanges {
                memoryChanges = control.memoryChanges
                growth.noteChange(
                    at: Double(MonotonicClock.nowNanoseconds - start) / 1e9,
                    fade: control.configuration.transform.fade)
            }
            growth.follow(ProcessStatistics.residentBytes, at: seconds)
            if seconds >= progressSeconds {
                progressSeconds = seconds.rounded(.down) + 1
                showProgress(seconds)
            }
        }
        server?.close()
        viewers.close()
        growth.follow(ProcessStatistics.residentBytes, at: seconds)
        let usage = Usage(
            seconds: seconds,
            processorSeconds: ProcessStatistics.processorSeconds - processorAtStart,
            growth: growth, wasInterrupted: wasInterrupted)
        notifier.stopping()
        pipeline.requestStop()
        // One Ctrl-C may arrive twice, from the terminal and from a parent: only one that comes
        // later is a second wish, and then ends everything at once.
        if wasInterrupted { while signals.wait(milliseconds: 200) != nil {} }
        signals.release()
        if options.showsProgress { writeLine("\r\u{1B}[K") }
        return usage
    }

    /// Whether this process belongs to a terminal, open or not: tty(4).
    private static var hasTerminal: Bool {
        let descriptor = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { return false }
        close(descriptor)
        return true
    }

    /// Sleeps until there is a signal, a changed file, somebody who looks, or something on the control
    /// socket.
    private func waitForEvents(_ signals: SignalWaiter, milliseconds: Int) {
        var descriptors = [pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)]
        if let configurationWatch {
            descriptors.append(
                pollfd(fd: configurationWatch.descriptor, events: Int16(POLLIN), revents: 0))
        }
        descriptors += viewers.descriptors
        if let server { descriptors += server.descriptors }
        let hasWork = server?.hasWork == true
        poll(&descriptors, nfds_t(descriptors.count), hasWork ? 0 : Int32(milliseconds))
    }

    /// Four times in the watchdog's time, if the pipeline does its work: a thread that hangs starves it.
    private func feedWatchdog(_ last: inout Int64, at now: Int64) {
        guard let time = notifier.watchdogNanoseconds, now - last >= time / 4,
            pipeline.provesLife()
        else { return }
        last = now
        notifier.alive()
    }

    /// Before it is ready, systemd is not told of a reload: `ready` would be taken for that.
    private func announceReload(isReady: Bool, _ seconds: Double, _ reload: () -> Void) {
        if isReady { notifier.reloading() }
        reload()
        if isReady { notifier.ready(statusText(seconds)) }
    }

    private func status(_ seconds: Double) -> ControlStatus {
        ControlStatus(
            pipeline: pipeline, recentSeconds: Self.recentSeconds, runSeconds: seconds,
            source: pipeline.counters.sourceName, readers: viewers.count, control: control)
    }

    private func waitMilliseconds(elapsed: Double) -> Int {
        guard let limit = options.durationSeconds else { return Self.tickMilliseconds }
        return max(1, min(Self.tickMilliseconds, Int((limit - elapsed) * 1000)))
    }

    /// Says once that the camera is away or does not deliver, and every time that the reason changes.
    private func reportTrouble(_ last: inout String?) {
        let now = pipeline.troubleText
        // An attempt in between is no news.
        guard now != last, now != nil || pipeline.sourceState != .starting else { return }
        last = now
        if let now {
            log.warning("a card is shown until pictures come: \(now)")
        } else if pipeline.sourceState == .live {
            log.info("pictures come again")
        }
    }

    /// A second app is refused by the driver, and its own message seldom says why: this one does.
    private func reportReaders(_ readers: inout Int) {
        let now = viewers.count ?? 0
        if now > 0 && readers == 0 {
            log.info(
                "an app uses the virtual camera; \(DeviceListing.oneReaderNote)")
        } else if now == 0 && readers > 0 {
            log.info("no app uses the virtual camera now")
        }
        readers = now
    }

    private func showProgress(_ seconds: Double) {
        let text = statusText(seconds)
        notifier.status(text)
        if options.showsProgress { writeLine("\r\u{1B}[K" + text) }
    }

    private func statusText(_ seconds: Double) -> String {
        let counters = pipeline.counters
        let written = pipeline.framesWritten
        let age = (Double(pipeline.latestAgeNanoseconds) / 1e5).rounded() / 10
        let rate = (Double(written) / max(seconds, 0.1) * 10).rounded() / 10
        return "\(pipeline.viewText), "
            + "\(Int(seconds)) s: \(counters.captured) frames in, \(written) out, "
            + "\(rate) fps, age \(age) ms"
            + (control.transform.workShare?.recent.map {
                ", \(Int((100 * $0).rounded())) % of the work"
            }
                ?? "")
    }

    private func writeLine(_ text: String) {
        var text = text
        text.withUTF8 { bytes in _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }
}
