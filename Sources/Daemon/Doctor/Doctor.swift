// What `lucida doctor` looks at, in the order in which things depend on each other. Control thread.

internal import FoundationEssentials

/// Examines the set-up without changing it.
///
/// Every check is a function of a `Machine` alone; each file of this folder holds those of a theme.
public enum Doctor {
    /// Looks at this machine now.
    ///
    /// - Parameters:
    ///   - configPath: the argument of `--config`.
    ///   - environment: the process's environment.
    public static func examine(configPath: String?, environment: [String: String]) -> Diagnosis {
        examine(Machine.current(configPath: configPath, environment: environment))
    }

    static func examine(_ machine: Machine) -> Diagnosis {
        var machine = machine
        machine.serviceState = machine.askSystemd("lucida")
        machine.holderState = machine.askSystemd("lucida-device")
        return Diagnosis(
            findings: driver(machine) + moduleOptions(machine) + permissions(machine)
                + loopback(machine) + camera(machine) + processor(machine) + blas(machine)
                + configuration(machine) + model(machine) + folders(machine) + service(machine)
                + holder(machine))
    }
}
