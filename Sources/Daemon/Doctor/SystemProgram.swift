// Runs a program of the system and collects what it prints. Control thread; blocks for seconds at most.

internal import Glibc

/// Milliseconds that a program may take; one that hangs must not hang us.
private let deadlineMilliseconds = 15_000
private let outputBytesMax = 1 << 18

/// What `arguments[0]`, found in the system's folders, prints to standard output; nil if it is not
/// there, cannot be started or takes too long.
func runSystemProgram(_ arguments: [String]) -> String? {
    guard let name = arguments.first,
        let path = ["/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/"].map({ $0 + name })
            .first(where: { access($0, X_OK) == 0 })
    else { return nil }
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return nil }
    let (reading, writing) = (ends[0], ends[1])
    defer { close(reading) }
    _ = fcntl(reading, F_SETFD, FD_CLOEXEC)
    let process = spawn(path, arguments, output: writing)
    close(writing)
    guard let process else { return nil }
    let output = collect(reading)
    // It may go on after closing its output, or be cut off by us.
    if output == nil { kill(process, SIGKILL) }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return output.map { String(decoding: $0, as: UTF8.self) }
}

private func spawn(_ path: String, _ arguments: [String], output: Int32) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_addclose(&actions, output)
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var environment: [UnsafeMutablePointer<CChar>?] = [
        strdup("LC_ALL=C"), strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil,
    ]
    defer { for word in words + environment { free(word) } }
    var process = pid_t()
    return posix_spawn(&process, path, &actions, nil, &words, &environment) == 0 ? process : nil
}

/// All that comes; nil if it is too much or takes too long.
private func collect(_ descriptor: Int32) -> [UInt8]? {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 12)
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let start = now
    while bytes.count < outputBytesMax {
        clock_gettime(CLOCK_MONOTONIC, &now)
        let elapsed = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1_000_000
        guard elapsed < deadlineMilliseconds else { return nil }
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&request, 1, Int32(deadlineMilliseconds - elapsed)) > 0 else { continue }
        let count = read(descriptor, &chunk, chunk.count)
        if count == 0 { return bytes }
        if count > 0 { bytes += chunk[..<count] }
    }
    return nil
}
