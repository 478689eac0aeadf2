// Why a camera cannot be opened: what the driver says, and who has it. Any thread.

internal import Glibc
internal import Pipeline
internal import V4L2

/// An error of a camera, with the program that uses it where that can be seen.
struct CameraFault: ClassifiedSourceError, CustomStringConvertible {
    let error: V4L2Error
    let user: String?

    init(_ error: V4L2Error) {
        self.error = error
        user =
            error.errno == EBUSY
            ? DeviceUser.all(of: error.device).first { $0.name != "lucida" }?.name : nil
    }

    /// By the error's number: taken, gone, or whatever else the driver refuses.
    var fault: SourceFault {
        switch error.errno {
        case EBUSY: .busy
        case ENODEV, ENXIO, ENOENT: .absent
        default: .failed
        }
    }

    var description: String {
        user.map { "\(error.device): \(printable($0)) films with it" } ?? error.description
    }
}
