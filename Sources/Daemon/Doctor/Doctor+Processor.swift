// Checks of the processor: instructions, threads, quota, priority, and OpenBLAS.

internal import FoundationEssentials
internal import NeuralEngine

extension Doctor {
    /// Is the processor used as well as it could be?
    static func processor(_ machine: Machine) -> [Finding] {
        instructionSet(machine) + threads(machine) + priority(machine)
    }

    private static func instructionSet(_ machine: Machine) -> [Finding] {
        let best = machine.bestInstructionSet
        if let wanted = machine.environment["LUCIDA_ISA"], !wanted.isEmpty {
            guard let set = InstructionSet(rawValue: wanted), set.rank <= best.rank else {
                return [
                    .problem(
                        "cpu.isa", "LUCIDA_ISA=\(wanted) cannot run here",
                        "This processor can run \(best.rawValue).", command: "unset LUCIDA_ISA")
                ]
            }
            if set.rank < best.rank {
                return [
                    .warning(
                        "cpu.isa_held", "LUCIDA_ISA holds the engine to \(wanted)",
                        "This processor could run \(best.rawValue), which is faster.",
                        command: "unset LUCIDA_ISA")
                ]
            }
        }
        guard best != .scalar else { return [slowProcessor(machine)] }
        let extras = machine.dotProducts
        return [
            .ok(
                "cpu.instructions", "the processor has \(best == .avx512 ? "AVX-512" : "AVX2")",
                extras.isEmpty
                    ? "It has no instructions for 8 or 16 bits, so the network runs in f32."
                    : "For reduced precision: \(extras.joined(separator: ", ")).")
        ]
    }

    private static func slowProcessor(_ machine: Machine) -> Finding {
        machine.processorFlags.contains("hypervisor")
            ? .warning(
                "cpu.no_avx2", "the virtual machine hides AVX2",
                "Without it the network is many times slower than a camera. Give the machine the "
                    + "host's processor (QEMU: -cpu host).")
            : .warning(
                "cpu.no_avx2", "the processor has no AVX2",
                "Without it the network is many times slower than a camera.",
                command: "lucida run --size 160x96")
    }

    private static func threads(_ machine: Machine) -> [Finding] {
        let cores = machine.coreCount
        let wanted = machine.settings.performance.threads
        if wanted > cores {
            return [
                .warning(
                    "cpu.threads",
                    "performance.threads is \(wanted), Lucida may use \(cores) cores",
                    "More threads than cores wait for each other. 0 means one for each core.",
                    command: "lucida run --threads 0  # or performance.threads = 0 in "
                        + machine.configurationPath)
            ]
        }
        let count = wanted > 0 ? wanted : cores
        if let quota = machine.quota, quota.processors < Double(count) {
            let share = (quota.processors * 100).rounded() / 100
            return [
                .warning(
                    "cpu.quota", "a quota of \(share) processors holds \(count) threads",
                    "It stops all of them for a part of each period, which frames wait for.",
                    command: quota.unit.map {
                        "sudo systemctl set-property \(shellWord($0)) CPUQuota="
                    }
                        ?? "lucida run --threads \(max(1, Int(quota.processors)))")
            ]
        }
        return [
            .ok(
                "cpu.threads", "the network runs on \(count) threads; Lucida may use \(cores) cores"
            )
        ]
    }

    /// Lucida asks for nothing that RLIMIT_RTPRIO, RLIMIT_NICE or RLIMIT_MEMLOCK would refuse.
    private static func priority(_ machine: Machine) -> [Finding] {
        guard let nice = machine.nice, nice > 0 else {
            return [
                .ok(
                    "priority", "nothing lowers the priority",
                    "Lucida runs as ordinary programs do: it needs no real-time or memory-locking "
                        + "rights.")
            ]
        }
        return [
            .warning(
                "priority.low", "this shell runs at nice \(nice)",
                "What is started from it gives way to everything else, and frames come late.",
                command: "sudo renice -n 0 -p $$")
        ]
    }

    /// Is the library there, and does it use kernels for this processor?
    static func blas(_ machine: Machine) -> [Finding] {
        let core: String
        do throws(EngineError) {
            core = try machine.loadBLAS()
        } catch {
            // What else it may say, `cpu.isa` does.
            guard case .blas(let reason) = error else { return [] }
            return [
                .problem(
                    "blas.missing", "OpenBLAS cannot be used", reason,
                    command: machine.packages.installBLAS)
            ]
        }
        if let wanted = machine.environment["OPENBLAS_CORETYPE"] {
            return [
                .warning(
                    "blas.core_overridden", "OPENBLAS_CORETYPE=\(wanted) is set",
                    "Lucida would choose OpenBLAS's kernels by the processor; now they are "
                        + "\(core)'s.",
                    command: "unset OPENBLAS_CORETYPE")
            ]
        }
        return [.ok("blas", "OpenBLAS uses its kernels for \(core)")]
    }
}

extension InstructionSet {
    fileprivate var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

extension Machine {
    var processorFlags: Set<Substring> {
        // The first processor speaks for all.
        let line = (read("/proc/cpuinfo") ?? "").split(separator: "\n")
            .first { $0.hasPrefix("flags") }
        return Set(line?.split(separator: ":").last?.split(separator: " ") ?? [])
    }

    var bestInstructionSet: InstructionSet {
        let flags = processorFlags
        guard flags.isSuperset(of: ["avx2", "fma", "f16c"]) else { return .scalar }
        return flags.isSuperset(of: ["avx512f", "avx512dq", "avx512bw", "avx512vl"])
            ? .avx512 : .avx2
    }

    /// Instructions that multiply 8 and 16 bits, by name.
    var dotProducts: [String] {
        let flags = processorFlags
        let names: [(Substring, String)] = [
            ("avx512_vnni", "AVX512-VNNI"), ("avx_vnni", "AVX-VNNI"),
            ("avx512_bf16", "AVX512-BF16"),
        ]
        return names.filter { flags.contains($0.0) }.map(\.1)
    }

    var coreCount: Int {
        Processor(
            information: root + "/proc/cpuinfo", system: root + "/sys/devices/system/cpu",
            allowed: processors
        ).threadCount
    }

    /// Of this process.
    var nice: Int? {
        // The second field is a name in brackets that may hold anything; the 17th after it is nice.
        guard let line = read("/proc/self/stat"), let end = line.lastIndex(of: ")") else {
            return nil
        }
        let fields = line[line.index(after: end)...].split(separator: " ")
        return fields.count > 16 ? Int(fields[16]) : nil
    }

    /// The least that a control group leaves to this process or to the service, in processors, and
    /// the unit of systemd that says so.
    var quota: (processors: Double, unit: String?)? {
        let own = (read("/proc/self/cgroup") ?? "").split(separator: "\n")
            .first { $0.hasPrefix("0::/") }.map { String($0.dropFirst(3)) }
        var found: (processors: Double, unit: String?)?
        for path in [own, "/system.slice/lucida.service"].compactMap({ $0 }) {
            var names = path.split(separator: "/")
            while true {
                let folder = (["/sys/fs/cgroup"] + names).joined(separator: "/")
                let words = (read(folder + "/cpu.max") ?? "").split(separator: " ")
                if words.count == 2, let time = Double(words[0]), let period = Double(words[1]),
                    period > 0, time / period < found?.processors ?? .infinity
                {
                    let unit = names.last.map(String.init) ?? ""
                    let isUnit = [".service", ".scope", ".slice"].contains(where: unit.hasSuffix)
                    found = (time / period, isUnit ? unit : nil)
                }
                if names.isEmpty { break }
                names.removeLast()
            }
        }
        return found
    }
}
